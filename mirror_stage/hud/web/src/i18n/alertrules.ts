/** The words of the tabs of alerts, and of the rules. They are loaded with these. */

import { i18n } from './index.svelte';

export const en = {
  tabs: { now: 'Now', rules: 'Rules', silences: 'Silences', deliveries: 'Deliveries', settings: 'Settings' },
};

export const ko: typeof en = {
  tabs: { now: '현재', rules: '규칙', silences: '알림 중지', deliveries: '발송', settings: '설정' },
};

export const ruleWords = (): typeof en => (i18n.language === 'ko' ? ko : en);
