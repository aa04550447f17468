/** The words of groups that are compared, loaded with the history. */

import type { GroupKind } from '../store/subject';
import { i18n } from './index.svelte';

export const en = {
  side: 'Side by side',
  each: { rack: 'Racks compared', room: 'Rooms compared', tier: 'Tiers compared' } satisfies Record<GroupKind, string>,
  highest: (shown: string, all: string, metric: string) => `${shown} of ${all}, those with the highest ${metric}`,
};

export const ko: typeof en = {
  side: '나란히 비교',
  each: { rack: '랙 비교', room: '전산실 비교', tier: '계층 비교' },
  highest: (shown, all, metric) => `${all}개 중 ${shown}개, 다음 값이 가장 높은 순: ${metric}`,
};

export const comparedWords = (): typeof en => (i18n.language === 'ko' ? ko : en);
