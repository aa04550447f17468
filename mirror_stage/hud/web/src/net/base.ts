/** Where EGO is: beside this document, also under a path prefix of a reverse proxy. */

const base = new URL('.', document.baseURI);

/** Names and values; a list is the same name several times. */
export type Query = Record<string, string | number | undefined | readonly (string | number)[]>;

/** The address of something EGO serves: `address('api/info')`. */
export function address(path: string, query: Query = {}): string {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) url.searchParams.append(name, String(one));
  }
  return url.href;
}

/** Scheme, name, port and prefix, without a slash at the end: what an agent is told. */
export const egoAddress = base.href.replace(/\/$/, '');
/** The path under which this EGO is: '/', or that of a reverse proxy */
export const prefix = base.pathname;
export const socketOrigin = base.origin;
export const socketPath = `${prefix}socket.io`;
