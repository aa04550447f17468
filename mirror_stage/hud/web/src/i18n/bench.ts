/** The words of `?bench=5000`, loaded with it. */

import { i18n } from './index.svelte';

export const en = {
  title: 'How fast this browser draws',
  running: (hosts: string, seconds: string) => `Drawing ${hosts} made-up hosts for ${seconds} s. Leave this tab in front.`,
  none: 'Nothing was drawn: the tab was hidden, there is no WebGL, or motion is reduced.',
  said: (median: string, p99: string, calls: string) => `Frame time: median ${median} ms, p99 ${p99} ms. Draw calls: ${calls}.`,
};

export const ko: typeof en = {
  title: '이 브라우저의 그리기 속도',
  running: (hosts, seconds) => `가상 호스트 ${hosts}대를 ${seconds}초 동안 그립니다. 이 탭을 앞에 두세요.`,
  none: '아무것도 그리지 않았습니다. 탭이 가려져 있거나, WebGL이 없거나, 동작 줄이기가 켜져 있습니다.',
  said: (median, p99, calls) => `프레임 시간: 중앙값 ${median} ms, p99 ${p99} ms. 그리기 호출: ${calls}회.`,
};

export const benchWords = (): typeof en => (i18n.language === 'ko' ? ko : en);
