/** The way in: a link, the page's half of a session, and what requests do while somebody has to sign in. */

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { browserOf, tokenState } from '../../src/ui/access';

class Tab {
  static all: Tab[] = [];
  onmessage: ((event: { data: unknown }) => void) | null = null;
  constructor() {
    Tab.all.push(this);
  }
  postMessage(data: unknown): void {
    for (const other of Tab.all) if (other !== this) queueMicrotask(() => other.onmessage?.({ data }));
  }
}

function storage(): Storage {
  const kept = new Map<string, string>();
  return {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, value: string) => void kept.set(name, value),
    removeItem: (name: string) => void kept.delete(name),
  } as Storage;
}

let server: Server;
let answers: number[] = [];
const asked: { method: string; page: string | undefined }[] = [];

beforeAll(async () => {
  server = createServer((request, answer) => {
    asked.push({ method: request.method ?? '', page: request.headers['x-mirror-stage-page'] as string | undefined });
    answer.writeHead(answers.shift() ?? 200).end('{"title": "no", "detail": "no"}');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
});

beforeEach(() => {
  vi.resetModules();
  vi.stubGlobal('document', { baseURI: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
  vi.stubGlobal('BroadcastChannel', Tab);
  vi.stubGlobal('sessionStorage', storage());
  Tab.all = [];
  answers = [];
  asked.length = 0;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
  vi.unstubAllGlobals();
});

/** A page with its own copy of the modules, as a tab has it. */
async function page(half: string | null, isGood: boolean) {
  vi.resetModules();
  vi.stubGlobal('sessionStorage', storage());
  const { pageHalf } = await import('../../src/net/pagehalf');
  const changed = vi.fn();
  if (half !== null) pageHalf.keep(half);
  pageHalf.open({ isGood: () => isGood, changed });
  return { pageHalf, changed };
}

test('a new tab gets the half of a tab that is signed in', async () => {
  await page('old', true);
  const fresh = await page(null, true);
  expect(await fresh.pageHalf.askOthers()).toBe(true);
  expect(fresh.pageHalf.headers).toEqual({ 'X-Mirror-Stage-Page': 'old' });
});

test('a tab whose session has ended tells nobody its half', async () => {
  await page('dead', false);
  const fresh = await page(null, true);
  expect(await fresh.pageHalf.askOthers()).toBe(false);
  expect(fresh.pageHalf.headers).toEqual({});
});

test('a tab that signs in tells those that wait or were signed in, and not those that need none', async () => {
  const waiting = await page(null, false);
  const before = await page('old', true);
  const local = await page(null, true);
  const entered = await page('new', true);
  entered.pageHalf.tell();
  await new Promise((done) => setTimeout(done));
  expect([waiting, before, local].map((one) => one.pageHalf.value)).toEqual(['new', 'new', null]);
  expect([waiting, before, local].map((one) => one.changed.mock.calls.length)).toEqual([1, 1, 0]);
});

test('a link leaves the address at once, also one that is opened later in the same page', async () => {
  const address = { hash: '#k=first', pathname: '/deep/', search: '?probe=1' };
  const replaced: string[] = [];
  let changed: (event: { oldURL: string }) => void = () => undefined;
  vi.stubGlobal('location', address);
  vi.stubGlobal('history', { replaceState: (_state: null, _title: string, to: string) => replaced.push(to) });
  vi.stubGlobal('addEventListener', (_name: string, listener: typeof changed) => (changed = listener));
  const { onLink, takenLink } = await import('../../src/net/door');
  expect(replaced).toEqual(['/deep/?probe=1']);
  expect([takenLink(), takenLink()]).toEqual(['first', null]);
  const heard: string[] = [];
  onLink((secret) => heard.push(secret));
  address.hash = '#k=second';
  changed({ oldURL: 'http://127.0.0.1/deep/?probe=1#/table' });
  address.hash = '#/alerts';
  changed({ oldURL: 'http://127.0.0.1/deep/?probe=1#/table' });
  expect(heard).toEqual(['second']);
  expect(replaced[1]).toBe('/deep/?probe=1#/table');
});

/** `get`, `post` and a door: `enter` is somebody who signs in. */
async function requests() {
  const rest = await import('../../src/net/rest');
  let enter = (): void => undefined;
  const door = { opening: null as Promise<void> | null, refused: vi.fn(async (): Promise<void> => undefined) };
  const close = (): void => void (door.opening = new Promise((resolve) => (enter = resolve)));
  rest.standAt(door);
  type Ask = (path: string, body?: unknown) => Promise<unknown>;
  return { get: rest.get as unknown as Ask, post: rest.post as unknown as Ask, door, close, enter: () => enter() };
}

test('a reading request that nobody may make waits for the sign-in, and is made again', async () => {
  const { get, door, close, enter } = await requests();
  door.refused.mockImplementation(async () => close());
  answers = [401];
  const answer = get('api/hosts');
  await vi.waitFor(() => expect(door.refused).toHaveBeenCalled());
  const another = get('api/alerts');
  await new Promise((done) => setTimeout(done, 20));
  expect(asked.length).toBe(1);
  enter();
  await Promise.all([answer, another]);
  expect(asked.length).toBe(3);
});

test('a request is made again once, not for ever', async () => {
  const { get } = await requests();
  answers = [401, 401];
  await expect(get('api/hosts')).rejects.toMatchObject({ status: 401 });
  expect(asked.length).toBe(2);
});

test('what changes something is never made again by itself', async () => {
  const { post, door } = await requests();
  answers = [401];
  await expect(post('api/commands', {})).rejects.toMatchObject({ status: 401 });
  expect(door.refused).toHaveBeenCalledOnce();
  expect(asked.map((one) => one.method)).toEqual(['POST']);
});

test('a role that has become too small is asked for again, and the refusal is told', async () => {
  const { get, door } = await requests();
  answers = [403];
  await expect(get('api/commands')).rejects.toMatchObject({ status: 403 });
  expect(door.refused).toHaveBeenCalledOnce();
});

test.each([
  ['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0 Safari/537.36', ['Chrome', 'Linux']],
  ['Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0', ['Edge', 'Windows']],
  ['Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1', ['Safari', 'iOS']],
  ['Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0 Mobile Safari/537.36', ['Samsung Internet', 'Android']],
  ['Mozilla/5.0 (Macintosh; Intel Mac OS X 15.0; rv:140.0) Gecko/20100101 Firefox/140.0', ['Firefox', 'macOS']],
  ['curl/8.5', [null, null]],
  [null, [null, null]],
])('a browser that says %j is %j', (said, known) => {
  expect(browserOf(said)).toEqual(known);
});

test('a token is good, expired or revoked', () => {
  const at = '2026-01-01T00:00:00Z';
  const now = Date.parse(at);
  expect(tokenState({ revokedAt: null, expiresAt: null }, now)).toBe('good');
  expect(tokenState({ revokedAt: null, expiresAt: at }, now - 1)).toBe('good');
  expect(tokenState({ revokedAt: null, expiresAt: at }, now)).toBe('expired');
  expect(tokenState({ revokedAt: at, expiresAt: at }, now)).toBe('revoked');
});
