/** REST against a real server: whatever goes wrong on the way is a Refusal, and only the caller's own end is not. */

import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

let server: Server;
let rest: typeof import('../../src/net/rest');

const ANSWERS: Record<string, (answer: ServerResponse) => void> = {
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
  rest = await import('../../src/net/rest');
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
  vi.unstubAllGlobals();
});

test('a whole answer is its value, and 204 is none', async () => {
  expect(await rest.get('whole')).toEqual({ a: 1 });
  expect(await rest.get('nothing')).toBeUndefined();
});

test.each(['cut', 'page'])('an answer that is none (%s) is a refusal by nobody', async (path) => {
  await expect(rest.get(path)).rejects.toMatchObject({ name: 'Refusal', status: 0, title: 'unreachable' });
});

test('a refusal says what EGO said, or at least its status', async () => {
  await expect(rest.get('problem')).rejects.toMatchObject({ status: 503, detail: 'come back', retryAfterSeconds: 7 });
  await expect(rest.get('error-page')).rejects.toMatchObject({ status: 502, title: 'Bad Gateway', detail: '' });
});

test('who asked may end it', async () => {
  const asking = new AbortController();
  const answer = rest.get('silence', { signal: asking.signal });
  asking.abort();
  await expect(answer).rejects.toMatchObject({ name: 'AbortError' });
});
