/** Where EGO is: beside this document, also under a path prefix of a reverse proxy. */

const base = new URL('.', document.baseURI);

/** The address of something EGO serves: `address('api/info')`. */
export function address(path: string, query: Record<string, string | number | undefined> = {}): string {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  return url.href;
}

/** Scheme, name, port and prefix, without a slash at the end: what an agent is told. */
export const egoAddress = base.href.replace(/\/$/, '');
export const socketOrigin = base.origin;
export const socketPath = `${base.pathname}socket.io`;
