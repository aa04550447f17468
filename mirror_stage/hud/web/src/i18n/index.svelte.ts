/** The language in use: from the address, the person's choice, the browser, else English. */

import { settings, type Language } from '../store/settings.svelte';
import { view } from '../store/view.svelte';
import { en, type Dictionary } from './en';
import { formatIn } from './format';
import { ko } from './ko';

const DICTIONARIES: Record<Language, Dictionary> = { en, ko };

function preferred(): Language {
  const known = (navigator.languages ?? [navigator.language]).map((tag) => tag.slice(0, 2).toLowerCase());
  return (known.find((tag) => tag in DICTIONARIES) as Language | undefined) ?? 'en';
}

class I18n {
  readonly language = $derived<Language>(
    view.language ?? (settings.language === 'auto' ? preferred() : settings.language),
  );
  /** Every word: `i18n.t.screens.table` */
  readonly t = $derived(DICTIONARIES[this.language]);
  /** Every value: `i18n.f.percent(42.5)` */
  readonly f = $derived(formatIn(this.language, this.t, settings.bitRates));

  /** The other language, remembered. */
  toggle(): void {
    const next = this.language === 'en' ? 'ko' : 'en';
    if (view.language) view.set({ language: null });
    settings.language = next;
  }
}

export const i18n = new I18n();
