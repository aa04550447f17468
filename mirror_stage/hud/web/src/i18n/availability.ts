/** The words of a host's availability, loaded with its page. */

import { i18n } from './index.svelte';

export const en = {
  title: 'Availability',
  periods: { '24h': '24 h', '7d': '7 d', '30d': '30 d' },
  offline: (length: string, outages: string) => `offline ${length}, outages: ${outages}`,
  unknown: (length: string) => `not known ${length}`,
  nothing: 'not known',
};

export const ko: typeof en = {
  title: '가용성',
  periods: { '24h': '24시간', '7d': '7일', '30d': '30일' },
  offline: (length, outages) => `오프라인 ${length}, 장애 ${outages}회`,
  unknown: (length) => `알 수 없음 ${length}`,
  nothing: '알 수 없음',
};

export const availabilityWords = (): typeof en => (i18n.language === 'ko' ? ko : en);
