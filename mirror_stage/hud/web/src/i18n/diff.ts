/** The words of the comparison of two moments, loaded with it. */

import type { Kind } from '../store/diff';
import { i18n } from './index.svelte';

export const en = {
  kinds: { came: 'Came', went: 'Went', moved: 'Moved', changed: 'Changed' } satisfies Record<Kind, string>,
  with: (moment: string) => `Compared with ${moment}`,
  loading: 'Comparing…',
  same: 'The two moments are the same. Go to another one on the timeline.',
  nothing: 'Nothing came, went, moved or changed.',
  nothingFound: 'No host that differs matches the search.',
  list: 'List',
  swap: 'Swap the two moments',
  end: 'End',
  choose: 'Compare the moment on show with:',
  spans: { '1h': '1 h earlier', '24h': '24 h earlier', '7d': '7 d earlier' },
  other: 'Another moment',
  what: 'What',
  there: 'there',
  absent: 'not there',
  position: 'Place',
  caption: 'What is different between the two moments',
  first: (shown: string, all: string) => `The first ${shown} of ${all} differences. Search for hosts to see the others.`,
  rule: 'A metric is listed if it changed a lot: CPU by more than 20 points, memory by more than 10.',
};

export const ko: typeof en = {
  kinds: { came: '추가', went: '제거', moved: '이동', changed: '변경' },
  with: (moment) => `${moment} 시점과 비교`,
  loading: '비교하는 중…',
  same: '두 시점이 같습니다. 타임라인에서 다른 시점으로 이동하세요.',
  nothing: '추가, 제거, 이동, 변경된 호스트가 없습니다.',
  nothingFound: '달라진 호스트 중 검색과 일치하는 것이 없습니다.',
  list: '목록',
  swap: '두 시점 바꾸기',
  end: '끝내기',
  choose: '표시 중인 시점과 비교할 시점:',
  spans: { '1h': '1시간 전', '24h': '24시간 전', '7d': '7일 전' },
  other: '다른 시점',
  what: '항목',
  there: '있음',
  absent: '없음',
  position: '위치',
  caption: '두 시점의 차이',
  first: (shown, all) => `차이 ${all}건 중 처음 ${shown}건입니다. 나머지는 호스트를 검색해서 확인하세요.`,
  rule: '지표는 크게 변한 것만 표시합니다. 예: CPU는 20%p, 메모리는 10%p를 넘게 변한 경우.',
};

export const diffWords = (): typeof en => (i18n.language === 'ko' ? ko : en);
