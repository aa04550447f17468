import { describe, expect, test } from 'vitest';
import { parse, toggled } from '../../src/store/search';
import { Twin } from '../../src/store/twin';
import { AT, delta, host, link, snapshot } from './frames';

const twin = new Twin();
twin.take(
  snapshot(
    [
      host('web-01', 1, { rack: 'R09', tier: 'edge', displayName: '웹 서버 1' }),
      host('web-02', 2, { rack: 'R10', severity: 'warning', agentVersion: '1+simulated' }),
      host('db-01', 3, { rack: 'R09', room: 'Hall B', severity: 'critical', uplink: 'web-01' }),
      host('old', 4, { rack: null, ip: null }),
      host('core-switch', 0, { role: 'hub', isSynthetic: true, rack: null }),
    ],
    { links: [link('db-01', { utilization: 0.91, rxGbps: 6, txGbps: 3 })] },
  ),
);
twin.apply(delta([[1, 0, { cpuLoad: 12, memoryUsedPercent: 50 }], [2, 0, { cpuLoad: 85.5 }], [3, 0, { cpuLoad: 80, rxGbps: 6, txGbps: 3, utilization: 0.91 }], [4, 2]]));

function found(text: string): string[] {
  const matches = parse(text).compile?.(twin, Date.parse(AT) + 61_000);
  return [...twin.seats()].filter((seat) => matches?.(seat) ?? true).map((seat) => twin.entries[seat]?.hostname ?? '');
}

const ALL_NAMES = ['web-01', 'web-02', 'db-01', 'old', 'core-switch'];
const ALL = ['web-01', 'web-02', 'db-01', 'old', 'core-switch'];

test.each([
  ['', ALL],
  ['   ', ALL],
  ['web', ['web-01', 'web-02']],
  ['WEB 02', ['web-02']],
  ['서버', ['web-01']],
  ['10.0.0.3', ['db-01']],
  ['rack:r09', ['web-01', 'db-01']],
  ['rack:R09 -db', ['web-01']],
  ['room:"hall b"', ['db-01']],
  ['tier:edge', ['web-01']],
  ['role:hub', ['core-switch']],
  ['cpu>80', ['web-02']],
  ['cpu>=80', ['web-02', 'db-01']],
  ['cpu>80%', ['web-02']],
  ['cpu<=12', ['web-01', 'core-switch']],
  ['mem=50', ['web-01']],
  ['net>8 util>90', ['db-01']],
  ['is:offline', ['old']],
  ['is:warning', ['web-02']],
  ['IS:Critical', ['db-01']],
  ['is:problem', ['web-02', 'db-01', 'old']],
  ['is:online', ['web-01', 'web-02', 'db-01', 'core-switch']],
  ['is:simulated', ['web-02']],
  ['agent:*+simulated', ['web-02']],
  ['uplink:web-01', ['db-01']],
  ['uplink:web', []],
  ['rack:R1', []],
  ['rack:r1*', ['web-02']],
  ['name:web-0?', ['web-01', 'web-02']],
  ['name:"웹 서버 1"', ['web-01']],
  ['web-0', ['web-01', 'web-02']],
  ['web*1', ['web-01']],
  ['*', ALL_NAMES],
  ['10.0.0.?', ['web-01', 'web-02', 'db-01', 'core-switch']],
  ['name:web.01', []],
  ['-is:ok', ['web-02', 'db-01', 'old']],
  ['is:virtual', ['core-switch']],
  ['age>60', ['web-01', 'web-02', 'db-01', 'old', 'core-switch']],
  ['nobody', []],
])('%s finds %j', (text, expected) => {
  expect(found(text)).toEqual(expected);
});

describe('what means nothing', () => {
  test.each(['cpu>', 'cpu>high', 'colour:red', 'is:happy', 'speed>3'])('%s is told, and hides no host', (text) => {
    expect(parse(text).unknown).toEqual([text]);
    expect(found(text)).toEqual(ALL);
  });

  test('leaves the other conditions standing', () => {
    expect(found('web cpu>nonsense')).toEqual(['web-01', 'web-02']);
  });
});

test('an unknown number matches no comparison', () => {
  expect(found('temp<1000')).not.toContain('old');
  expect(found('-temp<1000')).toContain('old');
});

test('text composed of jamo and text composed as syllables are the same', () => {
  expect(found('서버'.normalize('NFD'))).toEqual(['web-01']);
});

test('a counter adds its condition, and takes out its own and no other', () => {
  expect(toggled('web', 'is:offline')).toBe('web is:offline');
  expect(toggled('web is:offline cpu>3', 'is:offline')).toBe('web cpu>3');
  expect(toggled('IS:Offline', 'is:offline')).toBe('');
});
