/** The language in use: from the address, the person's choice, the browser, else English. Only its words are loaded. */

import { settings, type Language } from '../store/settings.svelte';
import { view } from '../store/view.svelte';
import type { Dictionary } from './en';
import { formatIn } from './format';

const DICTIONARIES: Record<Language, () => Promise<Dictionary>> = {
  en: async () => (await import('./en')).en,
  ko: async () => (await import('./ko')).ko,
};

function preferred(): Language {
  const known = (navigator.languages ?? [navigator.language]).map((tag) => tag.slice(0, 2).toLowerCase());
  return (known.find((tag) => tag in DICTIONARIES) as Language | undefined) ?? 'en';
}

class I18n {
  private readonly wanted = $derived<Language>(
    view.language ?? (settings.language === 'auto' ? preferred() : settings.language),
  );
  private shown = $state.raw({} as { language: Language; words: Dictionary });
  readonly language = $derived(this.shown.language);
  /** Every word: `i18n.t.screens.table` */
  readonly t = $derived(this.shown.words);
  /** Every value: `i18n.f.percent(42.5)` */
  readonly f = $derived(formatIn(this.language, this.t, settings.bitRates));

  /** Load the words, and others whenever another language is wanted. Await it before anything is shown; call it once. */
  async start(): Promise<void> {
    await this.load(this.wanted);
    $effect.root(() => {
      $effect(() => {
        this.load(this.wanted).catch(() => undefined); // EGO cannot be reached: the language stays
      });
    });
  }

  /** The other language, remembered. */
  toggle(): void {
    const next = this.language === 'en' ? 'ko' : 'en';
    if (view.language) view.set({ language: null });
    settings.language = next;
  }

  private async load(language: Language): Promise<void> {
    const words = await DICTIONARIES[language]();
    if (language === this.wanted) this.shown = { language, words };
  }
}

export const i18n = new I18n();
