/** What the screen of sessions and tokens works out. */

const BROWSERS: readonly [RegExp, string][] = [
  [/\bEdg/, 'Edge'],
  [/\bOPR\//, 'Opera'],
  [/\bSamsungBrowser\//, 'Samsung Internet'],
  [/\b(Firefox|FxiOS)\//, 'Firefox'],
  [/\b(Chrome|Chromium|CriOS|HeadlessChrome)\//, 'Chrome'],
  [/\bSafari\//, 'Safari'],
];
const SYSTEMS: readonly [RegExp, string][] = [
  [/\bWindows\b/, 'Windows'],
  [/\bAndroid\b/, 'Android'],
  [/\b(iPhone|iPad)\b/, 'iOS'],
  [/\bMac OS X\b/, 'macOS'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\bLinux\b/, 'Linux'],
];

/** [browser, system] as a browser describes itself; null where it says nothing that is known. */
export function browserOf(userAgent: string | null): [browser: string | null, system: string | null] {
  const first = (known: readonly [RegExp, string][]): string | null => known.find(([pattern]) => pattern.test(userAgent ?? ''))?.[1] ?? null;
  return [first(BROWSERS), first(SYSTEMS)];
}

export type TokenState = 'good' | 'revoked' | 'expired';

export function tokenState(token: { revokedAt: string | null; expiresAt: string | null }, now: number): TokenState {
  if (token.revokedAt !== null) return 'revoked';
  return token.expiresAt !== null && Date.parse(token.expiresAt) <= now ? 'expired' : 'good';
}

/** `use:focused`: what has just appeared takes the focus. */
export function focused(element: HTMLElement): void {
  element.focus();
}
