/** REST against a real server: whatever goes wrong on the way is a Refusal, and only the caller's own end is not. */

import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

let server: Server;
let get: (path: string, options?: { path?: Record<string, string>; query?: Record<string, unknown>; signal?: AbortSignal }) => Promise<unknown>;

const ANSWERS: Record<string, (answer: ServerResponse) => void> = {
  '/hosts/a%2Fb?metrics=x&hostname=a&hostname=%26': (answer) => answer.end('"found"'),
  '/whole': (answer) => answer.end('{"a": 1}'),
  '/nothing': (answer) => answer.writeHead(204).end(),
  '/cut': (answer) => {
    answer.writeHead(200, { 'Content-Length': '100' });
    answer.write('{"a": ', () => answer.destroy());
  },
  '/page': (answer) => answer.end('<html>a proxy</html>'),
  '/problem': (answer) =>
    answer.writeHead(503, { 'Retry-After': '7' }).end('{"title": "Unavailable", "detail": "come back", "errors": []}'),
  '/error-page': (answer) => answer.writeHead(502, 'Bad Gateway').end('<html>'),
  '/silence': () => undefined,
};

beforeAll(async () => {
  server = createServer((asked, answer) => ANSWERS[asked.url ?? '']?.(answer));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  vi.stubGlobal('document', { baseURI: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
  get = (await import('../../src/net/rest')).get as unknown as typeof get; // routes of this test, not of EGO
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
  vi.unstubAllGlobals();
});

test('a whole answer is its value, and 204 is none', async () => {
  expect(await get('whole')).toEqual({ a: 1 });
  expect(await get('nothing')).toBeUndefined();
});

test('names in braces and queries are written so that no name can become a part of the address', async () => {
  expect(await get('/hosts/{hostname}', { path: { hostname: 'a/b' }, query: { metrics: 'x', none: undefined, hostname: ['a', '&'] } })).toBe('found');
});

test.each(['cut', 'page'])('an answer that is none (%s) is a refusal by nobody', async (path) => {
  await expect(get(path)).rejects.toMatchObject({ name: 'Refusal', status: 0, title: 'unreachable' });
});

test('a refusal says what EGO said, or at least its status', async () => {
  await expect(get('problem')).rejects.toMatchObject({ status: 503, detail: 'come back', retryAfterSeconds: 7 });
  await expect(get('error-page')).rejects.toMatchObject({ status: 502, title: 'Bad Gateway', detail: '' });
});

test('who asked may end it', async () => {
  const asking = new AbortController();
  const answer = get('silence', { signal: asking.signal });
  asking.abort();
  await expect(answer).rejects.toMatchObject({ name: 'AbortError' });
});
