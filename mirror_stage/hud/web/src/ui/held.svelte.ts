/** Rows whose order rests while somebody points at them or goes through them by key: nothing moves under the pointer. */

/** `now` in the order of `before`. What is gone keeps its place as it was; what is new comes last. */
export function held<Row>(before: readonly Row[], now: readonly Row[], keyOf: (row: Row) => unknown): Row[] {
  const fresh = new Map(now.map((row) => [keyOf(row), row]));
  const kept = before.map((row) => fresh.get(keyOf(row)) ?? row);
  const known = new Set(before.map(keyOf));
  return [...kept, ...now.filter((row) => !known.has(keyOf(row)))];
}

export class Held<Row> {
  isHeld = $state(false);
  private shown: readonly Row[] = [];
  readonly rows = $derived.by(() => (this.shown = this.isHeld ? held(this.shown, this.now(), this.keyOf) : this.now()));

  /** `now` is read again whenever what it depends on changes. */
  constructor(private readonly now: () => readonly Row[], private readonly keyOf: (row: Row) => unknown) {}
}

/** Hold the rows of an element while a mouse is on it, or a key has put the focus into it. */
export function hold(element: HTMLElement, rows: { isHeld: boolean }): { destroy(): void } {
  const ends = new AbortController();
  let [isPointed, hasFocus] = [false, false];
  const on = (name: 'pointerenter' | 'pointerleave' | 'focusin' | 'focusout', then: (event: Event) => void): void =>
    element.addEventListener(name, (event) => {
      then(event);
      queueMicrotask(() => (rows.isHeld = isPointed || hasFocus)); // a row that is taken away loses the focus while the page is being changed
    }, { signal: ends.signal });
  on('pointerenter', (event) => (isPointed = (event as PointerEvent).pointerType === 'mouse'));
  on('pointerleave', () => (isPointed = false));
  on('focusin', (event) => (hasFocus = (event.target as Element).matches(':focus-visible')));
  on('focusout', () => (hasFocus = false));
  return { destroy: () => ends.abort() };
}
