import { describe, expect, test } from 'vitest';
import { isName, misread, resolved, saidOf, suggested, targetsOf, type Target } from '../../src/store/targets';
import { Twin } from '../../src/store/twin';
import { host, snapshot } from './frames';

const twin = new Twin();
twin.take(
  snapshot([
    host('core-switch', 0, { isSynthetic: true, rack: 'A' }),
    host('web-2', 2, { rack: 'A' }),
    host('web-1', 1, { rack: 'A', severity: 'critical' }),
    host('db', 3, { rack: 'Rack, two: b' }),
  ]),
);

describe('targets', () => {
  test('survive the address bar, whatever their names are', () => {
    const targets: Target[] = [{ kind: 'host', value: 'a,b:c' }, { kind: 'rack', value: 'Rack, two: b' }, { kind: 'filter', value: 'cpu>80 -is:offline 한글' }];
    expect(targetsOf(saidOf(targets))).toEqual(targets);
  });

  test('that a damaged link does not say are left out', () => {
    expect(targetsOf('host:a,nonsense:b,host:,,rack:%E0%A4%A,filter')).toEqual([{ kind: 'host', value: 'a' }]);
    expect(targetsOf(undefined)).toEqual([]);
  });

  test('become hosts, each once, none of them virtual', () => {
    const all: Target[] = [{ kind: 'filter', value: 'is:critical' }, { kind: 'rack', value: 'A' }, { kind: 'host', value: 'not-yet' }];
    expect(resolved(all, twin, 0, () => true)).toEqual({ hosts: ['web-1', 'web-2', 'not-yet'], leftOut: [] });
  });

  test('of a rack or a search leave out who cannot run a command; who is named is meant', () => {
    const canRun = (hostname: string): boolean => hostname === 'web-1';
    expect(resolved([{ kind: 'rack', value: 'A' }], twin, 0, canRun)).toEqual({ hosts: ['web-1'], leftOut: ['web-2'] });
    expect(resolved([{ kind: 'rack', value: 'A' }, { kind: 'host', value: 'web-2' }], twin, 0, canRun)).toEqual({ hosts: ['web-1', 'web-2'], leftOut: [] });
  });

  test('that are searched with nonsense are nobody, not everybody', () => {
    for (const value of ['cpu>much', 'rak:A web', 'web cpu>>80', ' ', '-', '"']) expect(resolved([{ kind: 'filter', value }], twin, 0, () => true).hosts).toEqual([]);
    expect(misread({ kind: 'filter', value: 'rak:A web' })).toEqual(['rak:A']);
    expect(misread({ kind: 'filter', value: 'rack:A web' })).toEqual([]);
  });

  test('that are typed are names, or searches that went wrong', () => {
    expect(['web-9', '10.0.0.9', '서버-1'].filter(isName)).toHaveLength(3);
    expect(['rak:B1 web', 'web cpu>>80', 'net>1G', 'two words'].filter(isName)).toEqual([]);
  });

  test('are suggested by what is typed: names first, a search last', () => {
    const said = (text: string, taken: Target[] = []): string[] => suggested(text, twin, taken).map((one) => `${one.kind} ${one.value}`);
    expect(said('web-2')).toEqual(['host web-2', 'filter web-2']);
    expect(said('web')).toEqual(['host web-1', 'host web-2', 'filter web']);
    expect(said('')).toEqual(['rack A', 'rack Rack, two: b']);
    expect(said('cpu>80')).toEqual(['filter cpu>80']);
    expect(said('cpu>much')).toEqual([]);
    expect(said('web', [{ kind: 'host', value: 'web-1' }])).toEqual(['host web-2', 'filter web']);
  });
});
