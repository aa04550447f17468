/** Where the focus goes when what had it goes away: to where it was, else to the content; never to the page itself, whose keys are shortcuts. */

/** Note what has the focus now; the returned function gives it back, unless something else has it meanwhile. */
export function keepFocus(): () => void {
  const before = document.activeElement;
  return () => {
    if (document.activeElement !== null && document.activeElement !== document.body) return;
    const isThere = before instanceof HTMLElement && before.isConnected && before !== document.body;
    (isThere ? before : document.getElementById('content'))?.focus({ preventScroll: true });
  };
}

/** The keys of a list: arrows, Home and End move the focus among the elements that `selector` finds in it. */
export function arrows(list: HTMLElement, selector = 'button, a'): { destroy(): void } {
  function key(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const stops = [...list.querySelectorAll<HTMLElement>(selector)].filter((one) => one.offsetParent !== null);
    const here = stops.findIndex((one) => one.contains(event.target as Node));
    const there = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: stops.length - 1 }[event.key];
    if (here === -1 || there === undefined) return;
    event.preventDefault();
    stops[Math.min(Math.max(there, 0), stops.length - 1)]?.focus();
  }
  list.addEventListener('keydown', key);
  return { destroy: () => list.removeEventListener('keydown', key) };
}
