import { expect, test } from 'vitest';
import type { Agent, Audit } from '../../src/net/openapi';
import { changes, filled, found, foundRows, isLoopback, joined, labelText, noLabels, pinOf } from '../../src/ui/enrolment';

test('labels without a value are left out', () => {
  expect(filled({ ...noLabels(), rack: ' R1 ', tier: '  ' })).toEqual({ rack: 'R1' });
  expect(labelText({ rack: 'R1', room: 'A' })).toBe('rack=R1 room=A');
});

test('the pin is read from the line to paste', () => {
  expect(pinOf("{ echo code=x; curl -fsSk --pinnedpubkey sha256//AbC+/9= https://10.0.0.1:3000/enroll.sh; } | sudo sh")).toBe('sha256//AbC+/9=');
  expect(pinOf('{ echo code=x; curl -fsS http://10.0.0.1:3000/enroll.sh; } | sudo sh')).toBeNull();
});

test.each([['127.0.0.1', true], ['localhost', true], ['[::1]', true], ['10.0.0.100', false], ['ego.internal', false]])('%s is loopback: %s', (name, is) => {
  expect(isLoopback(name)).toBe(is);
});

test('only the fields that were changed are sent, and an emptied one takes its label away', () => {
  const before = { rack: 'R1', room: 'A', zone: 'north' };
  expect(changes(before, { rack: 'R1', room: ' ', tier: 'db', role: '' })).toEqual({ room: null, tier: 'db' });
  expect(changes(before, { rack: 'R1', room: 'A', tier: '', role: '' })).toEqual({});
});

const agent = (hostname: string, state: Agent['state'], labels = {}): Agent => ({ hostname, state, labels, address: null, fingerprint: null }) as Agent;

test('suspended agents come first, waiting ones are not among them, and a search looks at name and labels', () => {
  const agents = [agent('b', 'enrolled', { rack: 'R7' }), agent('w', 'waiting'), agent('z', 'suspended'), agent('a', 'enrolled'), agent('r', 'revoked')];
  expect(found(agents, '').map(({ hostname }) => hostname)).toEqual(['z', 'a', 'b', 'r']);
  expect(found(agents, 'RACK=r7 b').map(({ hostname }) => hostname)).toEqual(['b']);
});

const row = (seq: number, what: string): Audit => ({ seq, what, actor: 'ada', peer: null, subject: null, detail: null }) as Audit;

test('pages of the audit are joined newest first, each row once', () => {
  expect(joined([row(4, 'read'), row(3, 'read')], [row(5, 'read'), row(3, 'read'), row(2, 'read')]).map(({ seq }) => seq)).toEqual([5, 4, 3, 2]);
});

test('the audit is searched by the words that are shown', () => {
  expect(foundRows([row(1, 'sign-in'), row(2, 'read')], 'signed ada', { 'sign-in': 'signed in' }).map(({ seq }) => seq)).toEqual([1]);
});
