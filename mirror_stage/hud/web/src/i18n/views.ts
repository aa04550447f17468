/** The words of saved views, loaded with them. */

import { i18n } from './index.svelte';

export const en = {
  title: 'Saved views',
  hint: 'A view is a name for the address of this page: screen, search, selection and moment. Everybody who uses this EGO sees it.',
  name: 'Name',
  save: 'Save this page',
  none: 'Nobody has saved a view yet.',
  loading: 'Loading …',
  by: (who: string, when: string) => (who ? `${who}, ${when}` : when),
  rename: 'Rename',
  renameThis: (name: string) => `Rename ${name}`,
  newName: (name: string) => `New name of ${name}`,
  remove: 'Delete',
  removeThis: (name: string) => `Delete ${name}`,
  sure: (name: string) => `Delete ${name}?`,
  cancel: 'Cancel',
  replace: (name: string) => `There is a view ${name}. Save again to replace it.`,
};

export const ko: typeof en = {
  title: '저장된 보기',
  hint: '보기는 이 페이지의 주소(화면, 검색, 선택, 시점)에 붙인 이름입니다. 이 EGO를 쓰는 모든 사람이 함께 봅니다.',
  name: '이름',
  save: '이 페이지 저장',
  none: '저장된 보기가 아직 없습니다.',
  loading: '불러오는 중…',
  by: (who, when) => (who ? `${who}, ${when}` : when),
  rename: '이름 변경',
  renameThis: (name) => `${name} 이름 변경`,
  newName: (name) => `${name}의 새 이름`,
  remove: '삭제',
  removeThis: (name) => `${name} 삭제`,
  sure: (name) => `${name} 보기를 삭제할까요?`,
  cancel: '취소',
  replace: (name) => `${name} 보기가 이미 있습니다. 다시 저장하면 바뀝니다.`,
};

export const viewWords = (): typeof en => (i18n.language === 'ko' ? ko : en);
