/** The words of a host's processes, loaded with them. */

import { i18n } from './index.svelte';

export const en = {
  hours: (hours: string) => `Last ${hours} h`,
  /** What stands before the time, and after it */
  since: ['since ', ''],
  atLeast: ['at least since ', ''],
  sinceNote: 'Since when it has used at least half of what it uses now. Select it to see that moment.',
  line: (name: string, most: string) => `${name}: up to ${most}`,
  none: 'No processes are known of this moment. EGO keeps them for as long as samples, usually a day.',
  loading: 'Asking for processes …',
};

export const ko: typeof en = {
  hours: (hours) => `최근 ${hours}시간`,
  since: ['', '부터'],
  atLeast: ['늦어도 ', '부터'],
  sinceNote: '지금 사용량의 절반 이상을 쓰기 시작한 시점입니다. 선택하면 그 시점으로 이동합니다.',
  line: (name, most) => `${name}: 최대 ${most}`,
  none: '이 시점의 프로세스 기록이 없습니다. 프로세스는 샘플과 같은 기간, 보통 하루 동안 보관됩니다.',
  loading: '프로세스를 불러오는 중…',
};

export const processWords = (): typeof en => (i18n.language === 'ko' ? ko : en);
