import { describe, expect, test } from 'vitest';
import { CRITICAL, OFFLINE, OK, STALE } from '../../src/store/status';
import { Twin, type Changes } from '../../src/store/twin';
import { delta, host, link, snapshot } from './frames';

function twinOf(...names: string[]): Twin {
  const twin = new Twin();
  twin.take(snapshot(names.map((name, slot) => host(name, slot + 10))));
  return twin;
}

const seat = (twin: Twin, name: string): number => twin.seatsByHostname.get(name) as number;

test('whoever acts on a host reads its hostname before the name that it gives itself', () => {
  const twin = new Twin();
  twin.take(snapshot([host('web-01', 1), host('web-02', 2, { displayName: 'web-01 (main)' })]));
  expect(['web-01', 'web-02', 'gone'].map((name) => twin.fullName(name))).toEqual(['web-01', 'web-02 (web-01 (main))', 'gone']);
});

describe('a snapshot', () => {
  test('fills the columns, and what is unknown is NaN', () => {
    const twin = twinOf('a', 'b');
    expect(twin.size).toBe(2);
    expect(twin.columns.cpuLoad[seat(twin, 'b')]).toBe(10);
    expect(twin.columns.gpuTemperature[seat(twin, 'b')]).toBeNaN();
    expect(twin.columns.rxGbps[seat(twin, 'b')]).toBe(2);
  });

  test('leaves every host in its seat, also after a restart of EGO with other slots', () => {
    const twin = twinOf('a', 'b', 'c');
    const before = new Map(twin.seatsByHostname);
    twin.take(snapshot([host('c', 1), host('new', 2), host('a', 3), host('b', 4)], { epoch: 'e2', revision: 7 }));
    for (const [name, place] of before) expect(seat(twin, name)).toBe(place);
    expect(twin.apply(delta([[3, 2]], { epoch: 'e2', previous: 7, revision: 8 }))).toBe('applied');
    expect(twin.columns.status[seat(twin, 'a')]).toBe(2);
  });

  test('removes who is not in it', () => {
    const twin = twinOf('a', 'b');
    twin.take(snapshot([host('b', 11)]));
    expect(twin.size).toBe(1);
    expect(twin.host('a')).toBeUndefined();
  });

  test('of the older stream, without slots, keeps the order of hosts that stay', () => {
    const twin = new Twin();
    const bare = (name: string) => ({ ...host(name, 0), slot: undefined as never });
    twin.take(snapshot([bare('a'), bare('b'), bare('c')]));
    const slotOfC = twin.columns.slot[seat(twin, 'c')];
    twin.take(snapshot([bare('a'), bare('c'), bare('d')]));
    expect(twin.columns.slot[seat(twin, 'c')]).toBe(slotOfC);
    expect(twin.columns.slot[seat(twin, 'd')]).toBeGreaterThan(slotOfC as number);
  });

  test('does not show an unmeasured link as a measured nothing', () => {
    const twin = new Twin();
    twin.take(snapshot([host('a', 1)], { links: [link('a', { measured: false, rxGbps: 0, txGbps: 0, utilization: 0 })] }));
    expect(twin.columns.rxGbps[seat(twin, 'a')]).toBeNaN();
    expect(twin.columns.utilization[seat(twin, 'a')]).toBeNaN();
  });
});

describe('a delta', () => {
  test('changes the hosts it names and no other', () => {
    const twin = twinOf('a', 'b');
    expect(twin.apply(delta([[11, 1, { cpuLoad: 95 }]]))).toBe('applied');
    expect(twin.columns.cpuLoad[seat(twin, 'b')]).toBe(95);
    expect(twin.columns.state[seat(twin, 'b')]).toBe(STALE);
    expect(twin.columns.memoryUsedPercent[seat(twin, 'b')]).toBeNaN();
    expect(twin.columns.cpuLoad[seat(twin, 'a')]).toBe(10);
    expect(twin.columns.lastSeenAt[seat(twin, 'b')]).toBe(Date.parse('2026-11-24T12:00:00.500Z'));
  });

  test.each([
    ['skips a revision', { previous: 5, revision: 6 }],
    ['is of another epoch', { epoch: 'e2' }],
    ['comes twice', { previous: 0, revision: 1 }],
  ])('that %s is a gap and changes nothing', (_why, head) => {
    const twin = twinOf('a');
    expect(twin.apply(delta([[10, 2, { cpuLoad: 99 }]], head))).toBe('gap');
    expect(twin.columns.cpuLoad[seat(twin, 'a')]).toBe(10);
    expect(twin.revision).toBe(1);
  });

  test('removes, adds and moves numbers in that order, and the others keep their seats', () => {
    const twin = twinOf('a', 'b', 'c');
    const [ofA, ofB, ofC] = ['a', 'b', 'c'].map((name) => seat(twin, name));
    const told: Changes[] = [];
    twin.listen((changes) => told.push(changes));
    twin.apply(delta([[20, 0, { cpuLoad: 55 }]], { removed: [11], upserted: { hosts: [host('new', 20)], links: [link('new')] } }));
    expect(twin.host('b')).toBeUndefined();
    expect([seat(twin, 'a'), seat(twin, 'c')]).toEqual([ofA, ofC]);
    expect(seat(twin, 'new')).toBe(ofB); // a seat that was left is taken again, so the columns stay dense
    expect(twin.columns.cpuLoad[ofB as number]).toBe(55);
    expect(told).toEqual([{ whole: false, removed: [ofB], upserted: [ofB], touched: [ofB] }]);
    expect(twin.size).toBe(3);
  });

  test('leaves nothing of a host in the seat that it gave up', () => {
    const twin = twinOf('a');
    twin.apply(delta([], { removed: [10] }));
    expect(twin.columns.cpuLoad[0]).toBeNaN();
    expect(twin.columns.state[0]).toBe(OK);
    expect([...twin.seats()]).toEqual([]);
  });

  test('lets a severity count until the host falls silent', () => {
    const twin = twinOf('a');
    twin.apply(delta([[10, 0]], { upserted: { hosts: [host('a', 10, { severity: 'critical' })], links: [] } }));
    expect(twin.columns.state[0]).toBe(CRITICAL);
    twin.apply(delta([[10, 2]], { previous: 2, revision: 3 }));
    expect(twin.columns.state[0]).toBe(OFFLINE);
  });

  test('may give a host another name without giving it another seat', () => {
    const twin = twinOf('a', 'b');
    twin.apply(delta([], { upserted: { hosts: [host('renamed', 10)], links: [] } }));
    expect(seat(twin, 'renamed')).toBe(0);
    expect(twin.host('a')).toBeUndefined();
    expect(twin.size).toBe(2);
  });
});

test('a twin grows past its first columns and keeps what is in them', () => {
  const twin = new Twin();
  const first = twin.capacity;
  twin.take(snapshot(Array.from({ length: first + 500 }, (_, slot) => host(`h${slot}`, slot))));
  expect(twin.capacity).toBe(2 * first);
  expect(twin.size).toBe(first + 500);
  for (const at of [0, first - 1, first, first + 499]) {
    expect(twin.columns.cpuLoad[at]).toBe(10);
    expect(twin.columns.slot[at]).toBe(at);
  }
});

test('a host that comes and goes for ever takes no more room', () => {
  const twin = twinOf('a', 'b');
  for (let round = 0; round < 5_000; round++) {
    const [goes, comes] = [round + 99, round + 100];
    twin.apply(delta([], { previous: round + 1, revision: round + 2, removed: [goes], upserted: { hosts: [host(`h${comes}`, comes)], links: [] } }));
  }
  expect(twin.end).toBe(3);
  expect(twin.size).toBe(3);
});

test('a full delta of 5,000 hosts is applied in a few milliseconds', () => {
  const twin = new Twin();
  twin.take(snapshot(Array.from({ length: 5_000 }, (_, slot) => host(`h${slot}`, slot))));
  const frames = Array.from({ length: 20 }, (_, round) =>
    delta(Array.from({ length: 5_000 }, (_unused, slot) => [slot, 0, { cpuLoad: round }]), { previous: round + 1, revision: round + 2 }),
  );
  const spent = frames.map((frame) => {
    const started = performance.now();
    twin.apply(frame);
    return performance.now() - started;
  });
  expect(Math.min(...spent)).toBeLessThan(15); // 1 ms alone; the quickest of 20 counts, because the machine may be busy
});
