/** The rule that is being written. It is kept while one looks at other tabs and screens; only what would lose it asks. */

import type { BackTest } from '../../net/openapi';
import type { Written } from '../alertrules';
import { cloned, differences } from '../alertrules';

/** What EGO said of the past: `of` this rule as a text, with this `for`, of so many days */
interface Told {
  readonly of: string;
  readonly wait: string;
  readonly days: '7' | '30';
  readonly answer: BackTest;
}

class Draft {
  rule = $state<Written | null>(null);
  /** The rule as EGO had it when the writing began; a new one: as it was offered */
  base = $state.raw<Written | null>(null);
  /** For If-Match; null: EGO has no such rule yet */
  etag = $state.raw<string | null>(null);
  /** How often one was opened: another one is another form */
  count = $state(0);
  /** Nobody has changed this built-in rule yet */
  isAsBuiltIn = $state.raw(false);
  /** Kept, so that whoever comes back from a moment of the past finds it again; null: nobody has asked */
  told = $state.raw<Told | null>(null);
  readonly isUnsaved = $derived(this.rule !== null && this.base !== null && (this.rule.name !== this.base.name || differences(this.rule, this.base).length > 0));

  open(rule: Written, etag: string | null, isAsBuiltIn = false): void {
    this.count++;
    this.isAsBuiltIn = isAsBuiltIn;
    this.told = null;
    this.base = rule;
    this.rule = cloned(rule);
    this.etag = etag;
  }

  close(): void {
    this.rule = this.base = this.etag = this.told = null;
  }
}

export const draft = new Draft();
addEventListener('beforeunload', (event) => {
  if (draft.isUnsaved) event.preventDefault();
});
