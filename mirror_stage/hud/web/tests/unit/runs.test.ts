import { describe, expect, test } from 'vitest';
import type { Command } from '../../src/net/openapi';
import { agreement, asItWas, deathOf, folded, following, pastCommands, printed, runsOf, standingOf, tally, transcript } from '../../src/store/runs';

let made = 0;
function command(hostname: string, more: Partial<Command> = {}): Command {
  made++;
  return {
    id: `c${made}`, hostname, command: 'uptime', timeoutSeconds: 30, status: 'succeeded', reason: null,
    requestedAt: '2025-11-01T00:00:00.000Z', startedAt: null, completedAt: null, expiresAt: '', leaseUntil: null,
    exitCode: 0, signal: null, stdout: 'ok\n', stderr: '', stdoutBytes: 3, stderrBytes: 0, truncated: false, late: false, durationSeconds: 1,
    cancelRequested: false, deliverable: true, metadata: null, requestedBy: null, retryOf: null, version: 1, updatedAt: '', ...more,
  };
}
const inRun = (run: string, hostname: string, more: Partial<Command> = {}): Command => command(hostname, { metadata: { run }, ...more });

describe('runs', () => {
  test('hold what was created together, the newest run first, hosts by name', () => {
    const runs = runsOf([
      inRun('a', 'web-10'), inRun('a', 'web-9'),
      command('lone', { id: 'x', requestedAt: '2025-11-01T00:00:05.000Z', command: 'df' }),
      inRun('b', 'db', { requestedAt: '2025-11-01T00:00:09.000Z' }),
    ]);
    expect(runs.map((run) => [run.id, run.commands.map((one) => one.hostname)])).toEqual([['b', ['db']], ['x', ['lone']], ['a', ['web-9', 'web-10']]]);
  });

  test('of one name but other commands are two', () => {
    expect(runsOf([inRun('a', 'h1'), inRun('a', 'h2', { command: 'rm -r /' })])).toHaveLength(2);
  });

  test('with metadata of somebody else stand alone', () => {
    for (const metadata of [{ run: 7 }, { run: '' }, { other: 'a' }]) expect(runsOf([command('h', { id: 'me', metadata })])[0]?.id).toBe('me');
  });

  test('say for how many hosts they were, also while some of them are not here', () => {
    const some = ['h1', 'h2'].map((name) => command(name, { metadata: { run: 'a', hosts: 41 } }));
    expect(runsOf(some)[0]?.size).toBe(41);
    expect(runsOf([...some, command('h3', { metadata: { run: 'b', hosts: 'many' } })]).map((run) => run.size).sort()).toEqual([1, 41]);
  });

  test('give back each command once, the newest first', () => {
    const at = (second: number): string => `2025-11-01T00:00:0${second}.000Z`;
    const runs = runsOf([command('h', { requestedAt: at(1) }), command('h', { command: 'df', requestedAt: at(2) }), command('h', { requestedAt: at(3) })]);
    expect(pastCommands(runs)).toEqual(['uptime', 'df']);
  });
});

test.each([
  [{ status: 'pending' }, 'pending'],
  [{ status: 'pending', deliverable: false }, 'undeliverable'],
  [{ status: 'running' }, 'running'],
  [{ status: 'running', cancelRequested: true }, 'cancelling'],
  [{ status: 'succeeded' }, 'succeeded'],
  [{ status: 'failed' }, 'failed'],
  [{ status: 'failed', reason: 'cancelled' }, 'cancelled'],
  [{ status: 'failed', reason: 'rejected' }, 'rejected'],
  [{ status: 'failed', reason: 'agent_restarted' }, 'agentRestarted'],
  [{ status: 'timeout', reason: 'exec_timeout' }, 'timeout'],
  [{ status: 'timeout', reason: 'expired' }, 'expired'],
  [{ status: 'timeout', reason: 'lost' }, 'lost'],
] as const)('%j stands as %s', (more, standing) => {
  expect(standingOf(command('h', more))).toBe(standing);
});

test.each([
  [{ exitCode: 0 }, null],
  [{ exitCode: null }, null],
  [{ exitCode: 3 }, { exitCode: 3 }],
  [{ exitCode: 137 }, { exitCode: 137 }],
  [{ exitCode: -9, signal: 'SIGKILL' }, { signal: 'SIGKILL' }],
  [{ exitCode: null, signal: 'SIGTERM' }, { signal: 'SIGTERM' }],
  [{ exitCode: -7 }, { signal: 7 }],
  [{ exitCode: -1073741819 }, { exitCode: -1073741819 }],
])('%j ended by %j', (more, death) => {
  expect(deathOf(command('h', more))).toEqual(death);
});

describe('folding', () => {
  const same = Array.from({ length: 37 }, (_, number) => command(`web-${number}`));
  const others = [
    command('odd', { stdout: 'other\n' }),
    command('bad', { status: 'failed', exitCode: 1, stdout: '', stderr: 'no\n' }),
    command('code', { status: 'failed', exitCode: 2, stdout: '', stderr: 'no\n' }),
  ];

  test('puts equal outputs together: what differs stands before what is usual, what went wrong first', () => {
    const folds = folded([...same, ...others]);
    expect(folds.map((fold) => [fold.standing, fold.commands.length])).toEqual([['failed', 1], ['failed', 1], ['succeeded', 1], ['succeeded', 37]]);
    expect(agreement(folds)).toEqual({ same: 37, differ: 3 });
  });

  test('shows a few of those that run one by one and the others together', () => {
    const running = Array.from({ length: 9 }, (_, number) => command(`r${number}`, { status: 'running', stdout: null }));
    expect(folded(running.slice(0, 5)).map((fold) => fold.commands.length)).toEqual([1, 1, 1, 1, 1]);
    expect(folded(running).map((fold) => fold.commands.length)).toEqual([1, 1, 1, 1, 5]);
  });

  test('keeps those that wait together', () => {
    const waiting = ['a', 'b'].map((name) => command(name, { status: 'pending' }));
    const running = ['c', 'd'].map((name) => command(name, { status: 'running', stdout: null }));
    const folds = folded([...waiting, ...running]);
    expect(folds.map((fold) => [fold.standing, fold.commands.length])).toEqual([['running', 1], ['running', 1], ['pending', 2]]);
    expect(agreement(folds)).toBeNull();
  });

  test('says how many stand how', () => {
    expect(tally([...same, ...others])).toEqual([['succeeded', 38], ['failed', 2]]);
  });
});

describe('what was printed', () => {
  const chunk = (seq: number, stream: 'stdout' | 'stderr', data: string) => ({ id: 'c', seq, stream, data });
  const chunks = [chunk(0, 'stdout', 'a\n'), chunk(1, 'stderr', 'warn\n'), chunk(2, 'stdout', 'b\n')];

  const unmarked = (bytes: number): string => `[${bytes} somewhere]`;

  test('stands in the order in which it came', () => {
    const over = command('h', { stdout: 'a\nb\n', stderr: 'warn\n' });
    expect(printed(over, chunks, unmarked).map((piece) => piece.text)).toEqual(['a\n', 'warn\n', 'b\n']);
  });

  test('is the result once that knows more', () => {
    const over = command('h', { stdout: 'a\nb\nc\n', stderr: 'warn\n' });
    expect(printed(over, chunks, unmarked)).toEqual([{ stream: 'stdout', text: 'a\nb\nc\n' }, { stream: 'stderr', text: 'warn\n' }]);
    expect(printed(over, [], unmarked)).toHaveLength(2);
  });

  test('is what was heard as long as there is no result', () => {
    expect(printed(command('h', { status: 'running', stdout: null, stderr: null }), chunks, unmarked)).toHaveLength(3);
    expect(printed(command('h', { status: 'timeout', reason: 'lost', stdout: null, stderr: null }), chunks, unmarked)).toHaveLength(3);
  });

  test('says at its end what is left out where the agent has left no mark', () => {
    const over = command('h', { stdout: 'some', stdoutBytes: 100, stderr: '[90 bytes are left out here]\nend\n', stderrBytes: 94, truncated: true });
    expect(printed(over, [], unmarked).map((piece) => piece.text)).toEqual(['some\n[96 somewhere]\n', '[90 bytes are left out here]\nend\n']);
    const silent = command('h', { stdout: null, stdoutBytes: 7, stderr: '', truncated: true });
    expect(printed(silent, [], unmarked)).toEqual([{ stream: 'stdout', text: '[7 somewhere]\n' }]);
    const binary = command('h', { stdout: '\ufffd'.repeat(9), stdoutBytes: 9, truncated: true });
    expect(printed(binary, [], unmarked)[0]?.text).toBe('\ufffd'.repeat(9));
  });

  test('has a mark of what was missed while nobody listened, between whole lines, with what is known not counted', () => {
    const mark = chunk(9, 'stdout', '[100 bytes are left out here]\n');
    expect(following([], mark)).toEqual(mark);
    expect(following(chunks, mark).data).toBe('[96 bytes are left out here]\n');
    expect(following([chunk(0, 'stdout', 'half a')], mark).data).toBe('\n[94 bytes are left out here]\n');
    expect(following([chunk(0, 'stdout', '[60 bytes are left out here]\nend\n')], mark).data).toBe('[36 bytes are left out here]\n');
    expect(following([chunk(0, 'stderr', 'warn\n')], mark)).toEqual(mark);
    expect(following(chunks, chunk(9, 'stdout', 'c\n')).data).toBe('c\n');
  });

  test('becomes a text that says whose it is, unless it is of one host', () => {
    const stdout = (one: Command): string => one.stdout ?? '';
    const head = (fold: { commands: readonly Command[] }): string => fold.commands.map((one) => one.hostname).join(', ');
    expect(transcript(folded([command('a')]), stdout, head)).toBe('ok\n');
    expect(transcript(folded([command('a'), command('b'), command('c', { stdout: 'no' })]), stdout, head)).toBe('==> c <==\nno\n\n==> a, b <==\nok\n');
  });
});

describe('a command in the past', () => {
  const done = { requestedAt: '2026-11-24T12:00:00.000Z', startedAt: '2026-11-24T12:00:10.000Z', completedAt: '2026-11-24T12:01:00.000Z', status: 'failed', exitCode: 1, stdout: 'later', deliverable: true } as Command;
  const at = (text: string): Command | null => asItWas(done, Date.parse(`2026-11-24T${text}Z`));

  test('is as it stood then, and does not tell what it came to', () => {
    expect(at('11:59:59')).toBeNull();
    expect(at('12:00:05')).toMatchObject({ status: 'pending', startedAt: null, completedAt: null, exitCode: null, stdout: null });
    expect(at('12:00:30')).toMatchObject({ status: 'running', startedAt: done.startedAt, exitCode: null, stdout: null });
    expect(at('12:01:00')).toBe(done);
  });
});
