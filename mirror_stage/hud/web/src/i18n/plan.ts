/** The words of the flat plan, loaded with it. */

import { i18n } from './index.svelte';

export const en = {
  label: (hosts: string, grouping: string) => `Flat plan of ${hosts}, grouped by: ${grouping}. Arrow keys move, Enter selects.`,
  host: (name: string, state: string, place: string, value: string) => [name, state, place, value].filter(Boolean).join(', '),
  sizeBy: 'Size by',
  sameSize: 'All the same',
  most: (value: string) => `largest: ${value}`,
};

export const ko: typeof en = {
  label: (hosts, grouping) => `${hosts} 평면도, 그룹 기준: ${grouping}. 화살표 키로 이동하고 Enter 키로 선택합니다.`,
  host: (name, state, place, value) => [name, state, place, value].filter(Boolean).join(', '),
  sizeBy: '크기 기준',
  sameSize: '모두 같은 크기',
  most: (value) => `최댓값: ${value}`,
};

export const planWords = (): typeof en => (i18n.language === 'ko' ? ko : en);
