import { describe, expect, test } from 'vitest';
import type { Alert } from '../../src/net/openapi';
import { incidentsOf, repeated, type Standing } from '../../src/store/incidents';
import { CRITICAL, OFFLINE, WARNING } from '../../src/store/status';

/** Two halls of two racks of four hosts below a switch: a1-sw, a1-1, a1-2, a1-3, … */
const HOSTS: Standing[] = ['a1', 'a2', 'b1', 'b2'].flatMap((rack) =>
  ['sw', '1', '2', '3'].map((unit) => ({ hostname: `${rack}-${unit}`, rack: rack.toUpperCase(), room: `Hall ${rack[0]}`, uplink: unit === 'sw' ? 'core' : `${rack}-sw` })));

function alert(hostname: string, metric = 'cpu_temperature_high', more: Partial<Alert> = {}): Alert {
  return {
    id: `${hostname} ${metric} ${more.subject ?? ''}`, hostname, metric, severity: 'warning', subject: null, suppressedBy: [], message: '', threshold: 80, currentValue: 90, peakValue: 90, status: 'active',
    createdAt: '2026-11-24T12:00:00Z', updatedAt: '2026-11-24T12:00:00Z', resolvedAt: null, resolvedReason: null,
    rule: metric, measure: metric, unit: '', state: 'firing', unknownSince: null, ack: null, cause: null, groupId: null, ...more,
  };
}

const stateOf = ({ metric, severity }: Alert) => (metric === 'host_offline' ? OFFLINE : severity === 'critical' ? CRITICAL : WARNING);
const said = (alerts: readonly Alert[], hosts = HOSTS) =>
  incidentsOf(alerts, hosts, { stateOf, isSilence: ({ metric }) => metric === 'host_offline' }).map(({ kind, name, cause, hostnames, of }) => `${cause === null ? kind : 'behind'} ${name}: ${hostnames.length}/${of}`);

describe('incidents', () => {
  test.each<[string, string[], string[]]>([
    ['one host', ['a1-1'], ['host a1-1: 1/1']],
    ['most of a rack', ['a1-1', 'a1-2', 'a1-3'], ['rack A1: 3/4']],
    ['a rack and one elsewhere', ['a1-1', 'a1-2', 'b2-3'], ['rack A1: 2/4', 'host b2-3: 1/1']],
    ['both racks of a hall', ['a1-1', 'a1-2', 'a2-1', 'a2-2', 'a2-3'], ['room Hall a: 5/8']],
    ['everything', HOSTS.map(({ hostname }) => hostname), ['all : 16/16']],
    ['four here and there', ['a1-1', 'a2-1', 'b1-1', 'b2-1'], ['all : 4/16']],
    ['a few here and there', ['a1-1', 'b1-1'], ['host a1-1: 1/1', 'host b1-1: 1/1']],
    ['a host that is gone', ['away'], ['host away: 1/1']],
  ])('%s', (_what, hostnames, expected) => {
    expect(said(hostnames.map((hostname) => alert(hostname)))).toEqual(expected);
  });

  test('what is silent behind a silent switch is one incident, also if there is more above it', () => {
    const silent = ['a1-sw', 'a1-1', 'a1-2', 'b1-2'].map((hostname) => alert(hostname, 'host_offline'));
    expect(said(silent)).toEqual(['behind a1-sw: 3/3', 'host b1-2: 1/1']);
    const above = HOSTS.map((one) => (one.hostname.endsWith('sw') ? { ...one, uplink: 'agg' } : one)).concat({ hostname: 'agg', rack: 'A1', room: 'Hall a', uplink: 'core' });
    expect(said([...silent, alert('agg', 'host_offline')], above)).toEqual(['behind agg: 4/4', 'host b1-2: 1/1']);
  });

  test('a rack that is silent although its switch is heard is a rack', () => {
    expect(said(['a1-1', 'a1-2', 'a1-3'].map((hostname) => alert(hostname, 'host_offline')))).toEqual(['rack A1: 3/4']);
  });

  test('a cause that EGO names counts; a ring of uplinks ends', () => {
    const because = (kind: 'host' | 'rack' | 'ego', name: string) => ['a1-1', 'b1-1'].map((hostname) =>
      alert(hostname, 'host_offline', { cause: { kind, name, why: 'uplink', since: '2026-11-24T12:00:00Z', hides: 2 } }));
    expect(said(because('host', 'power-1'))).toEqual(['behind power-1: 2/2']);
    expect(said(because('rack', 'A1'))).toEqual(['rack A1: 2/2']);
    const isolated = alert('ego', 'ego_isolated', { cause: because('ego', 'core')[0]?.cause ?? null });
    expect(said([...because('ego', 'core'), isolated])).toEqual(['behind core: 3/3']);
    const ring = [{ hostname: 'x', rack: null, room: null, uplink: 'y' }, { hostname: 'y', rack: null, room: null, uplink: 'x' }];
    expect(said([alert('x', 'host_offline'), alert('y', 'host_offline')], ring)).toHaveLength(2);
  });

  test('racks of one name in two halls are two places', () => {
    const hosts = HOSTS.map((one) => ({ ...one, rack: one.rack?.replace('B', 'A') ?? null }));
    const four = ['a1-1', 'a1-2', 'b1-1', 'b1-2'].map((hostname) => alert(hostname));
    expect(said(four, hosts)).toEqual(['rack A1: 2/4', 'rack A1: 2/4']);
    expect(new Set(incidentsOf(four, hosts, { stateOf, isSilence: () => false }).map(({ key }) => key)).size).toBe(2);
  });

  test('every alert stands in one incident, with the first time, the worst value and the worst state', () => {
    const alerts = [
      alert('a1-1', 'disk_full', { subject: '/' }), alert('a1-1', 'disk_full', { subject: '/var', severity: 'critical' }),
      alert('a1-2', 'cpu_temperature_high', { createdAt: '2026-11-24T11:00:00Z' }), alert('a1-3', 'cpu_temperature_high', { currentValue: 99 }),
    ];
    const found = incidentsOf(alerts, HOSTS, { stateOf, isSilence: () => false });
    expect(found.flatMap((one) => one.alerts.map(({ id }) => id)).sort()).toEqual(alerts.map(({ id }) => id).sort());
    expect(new Set(found.map(({ key }) => key)).size).toBe(found.length);
    expect(found[0]?.state).toBe(CRITICAL);
    const hot = found.find(({ rule }) => rule === 'cpu_temperature_high');
    expect([hot?.since, hot?.worst.currentValue]).toEqual(['2026-11-24T11:00:00Z', 99]);
  });
});

test('alerts that came again are one, the newest in front', () => {
  const again = repeated([alert('a', 'cpu', { id: '3' }), alert('b', 'cpu', { id: '2' }), alert('a', 'cpu', { id: '1' }), alert('a', 'disk', { id: '0' })]);
  expect(again.map((some) => some.map(({ id }) => id))).toEqual([['3', '1'], ['2'], ['0']]);
});
