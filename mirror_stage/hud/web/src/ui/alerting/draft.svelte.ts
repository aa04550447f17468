/** The rule that is being written. It is kept while one looks at other tabs and screens; only what would lose it asks. */

import type { Written } from '../alertrules';
import { cloned, differences } from '../alertrules';

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
  readonly isUnsaved = $derived(this.rule !== null && this.base !== null && (this.rule.name !== this.base.name || differences(this.rule, this.base).length > 0));

  open(rule: Written, etag: string | null, isAsBuiltIn = false): void {
    this.count++;
    this.isAsBuiltIn = isAsBuiltIn;
    this.base = rule;
    this.rule = cloned(rule);
    this.etag = etag;
  }

  close(): void {
    this.rule = this.base = this.etag = null;
  }
}

export const draft = new Draft();
addEventListener('beforeunload', (event) => {
  if (draft.isUnsaved) event.preventDefault();
});
