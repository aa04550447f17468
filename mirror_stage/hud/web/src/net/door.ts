/**
 * A sign-in link: `…/#k=<one-time secret>`. The secret leaves the address and the history of the browser as soon as this
 * file runs, and it runs before the others: `main.ts` imports it first.
 */

const LINK = /^#k=(.+)$/;
const listeners = new Set<(secret: string) => void>();

let taken = take('');
addEventListener('hashchange', (event) => {
  const secret = take(new URL(event.oldURL).hash);
  if (secret !== null) for (const listener of listeners) listener(secret);
});

/** Take the secret out of the address; `hash` stands there instead. */
function take(hash: string): string | null {
  const secret = LINK.exec(location.hash)?.[1];
  if (secret === undefined) return null;
  history.replaceState(null, '', location.pathname + location.search + hash);
  return secret;
}

/** The secret that the page was opened with, once. */
export function takenLink(): string | null {
  const secret = taken;
  taken = null;
  return secret;
}

/** Call `listener` when a link is opened in this page later. */
export function onLink(listener: (secret: string) => void): void {
  listeners.add(listener);
}
