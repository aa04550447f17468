/** The theme, and the tokens of app.css as colours for what is drawn on a canvas, where no style sheet reaches. */

import { untrack } from 'svelte';
import { settings } from './settings.svelte';

const QUERIES = ['(prefers-color-scheme: light)', '(forced-colors: active)', '(prefers-contrast: more)'];

class Theme {
  /** How often the colours have changed: whoever draws them depends on it */
  changes = $state(0);
  private readonly known = new Map<string, string>();
  private readonly swatch = document.createElement('i');

  /** Follow the system and what the person chose. Call it once, before anything is shown. */
  start(): void {
    this.swatch.hidden = true;
    this.swatch.style.setProperty('forced-color-adjust', 'none'); // it says our colours, also where others are shown
    document.documentElement.append(this.swatch);
    for (const query of QUERIES) matchMedia(query).addEventListener('change', () => this.renew());
    $effect.root(() => {
      $effect(() => {
        document.documentElement.dataset.theme = settings.theme;
        untrack(() => this.renew());
      });
    });
  }

  /** What a token is now: '#rrggbb', or with its transparency as CSS writes it. */
  colour(token: string): string {
    void this.changes;
    const known = this.known.get(token);
    if (known !== undefined) return known;
    this.swatch.style.color = `var(--${token})`;
    const said = getComputedStyle(this.swatch).color;
    const parts = said.match(/^rgb\((\d+), (\d+), (\d+)\)$/)?.slice(1);
    const colour = parts ? `#${parts.map((part) => Number(part).toString(16).padStart(2, '0')).join('')}` : said;
    this.known.set(token, colour);
    return colour;
  }

  private renew(): void {
    this.known.clear();
    document.querySelector('meta[name="theme-color"]')?.setAttribute('content', this.colour('floor'));
    this.changes++;
  }
}

export const theme = new Theme();
