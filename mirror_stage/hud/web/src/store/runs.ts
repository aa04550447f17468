/**
 * A *run* is what one press of the button created: the same command for some hosts. EGO keeps commands one by one; the
 * name of their run stands in each one's `metadata`, so that every browser sees the same runs. Pure.
 */

import type { Command } from '../net/openapi';
import type { CommandOutput } from '../net/wire';

export interface Run {
  /** The run's name, or the command's id where it was created without one */
  readonly id: string;
  readonly command: string;
  readonly requestedAt: string;
  readonly requestedBy: string | null;
  /** How many hosts it was for; more than `commands` while the older ones are not here yet */
  readonly size: number;
  /** By name of the host */
  readonly commands: readonly Command[];
}

/** How a command stands, in one word: its status, or its reason where that says more. */
export const STANDINGS = [
  'pending', 'undeliverable', 'running', 'cancelling',
  'succeeded', 'failed', 'timeout', 'cancelled', 'rejected', 'agentRestarted', 'expired', 'lost',
] as const;
export type Standing = (typeof STANDINGS)[number];

/** The place in STATES of a standing's glyph: ok, warning, critical, stale (still open), offline (never ran: shown without its colour). */
export const GLYPHS: Record<Standing, number> = {
  pending: 3, undeliverable: 4, running: 3, cancelling: 3,
  succeeded: 0, failed: 2, timeout: 1, cancelled: 4, rejected: 2, agentRestarted: 1, expired: 4, lost: 1,
};

const BY_REASON: Record<string, Standing> = {
  cancelled: 'cancelled', rejected: 'rejected', agent_restarted: 'agentRestarted', expired: 'expired', lost: 'lost',
};

export function standingOf(command: Command): Standing {
  const { status, reason } = command;
  if (status === 'pending') return command.deliverable ? 'pending' : 'undeliverable';
  if (status === 'running') return command.cancelRequested ? 'cancelling' : 'running';
  return status === 'succeeded' ? 'succeeded' : (BY_REASON[reason ?? ''] ?? status);
}

export function isOpen(command: Command): boolean {
  return command.status === 'pending' || command.status === 'running';
}

/** Whether running it again may help: it is over, and it did not succeed. */
export function isRetryable(command: Command): boolean {
  return !isOpen(command) && command.status !== 'succeeded';
}

/** The lowest exit code that stands for a signal: below are the error codes of Windows. */
const LAST_SIGNAL = 64;

/** What ended a process: the name or the number of a signal, or an exit code that is not 0; null: nothing of that. */
export function deathOf({ exitCode, signal }: Command): { signal: string | number } | { exitCode: number } | null {
  if (signal !== null) return { signal };
  if (exitCode === null || exitCode === 0) return null;
  return exitCode < 0 && exitCode >= -LAST_SIGNAL ? { signal: -exitCode } : { exitCode };
}

/** A command as it stood at a moment, milliseconds; null: nobody had asked for it yet. What it came to later is not told. */
export function asItWas(command: Command, at: number): Command | null {
  const isBy = (instant: string | null): boolean => instant !== null && Date.parse(instant) <= at;
  if (!isBy(command.requestedAt)) return null;
  if (isBy(command.completedAt)) return command;
  const hasStarted = isBy(command.startedAt);
  const open = { reason: null, completedAt: null, exitCode: null, signal: null, stdout: null, stderr: null, stdoutBytes: null, stderrBytes: null, durationSeconds: null };
  return { ...command, ...open, status: hasStarted ? 'running' : 'pending', startedAt: hasStarted ? command.startedAt : null, deliverable: true, truncated: false, late: false, cancelRequested: false };
}

export function runIdOf(command: Command): string {
  const run = command.metadata?.run;
  return typeof run === 'string' && run !== '' ? run : command.id;
}

function sizeOf(command: Command): number {
  const hosts = command.metadata?.hosts;
  return typeof hosts === 'number' && Number.isInteger(hosts) ? hosts : 1;
}

/** Runs of commands in any order, the newest first. */
export function runsOf(commands: Iterable<Command>): Run[] {
  const byRun = new Map<string, Command[]>();
  for (const command of commands) {
    // Somebody else may have used the same name for another command: that is another run.
    const key = `${runIdOf(command)}\n${command.command}`;
    const run = byRun.get(key);
    if (run) run.push(command);
    else byRun.set(key, [command]);
  }
  return [...byRun.values()]
    .map((all): Run => {
      const commands = all.sort((one, other) => compareNames(one.hostname, other.hostname) || one.requestedAt.localeCompare(other.requestedAt));
      const first = commands.reduce((least, one) => (one.requestedAt < least.requestedAt ? one : least));
      return { id: runIdOf(first), command: first.command, requestedAt: first.requestedAt, requestedBy: first.requestedBy, size: Math.max(commands.length, sizeOf(first)), commands };
    })
    .sort((one, other) => other.requestedAt.localeCompare(one.requestedAt) || one.id.localeCompare(other.id));
}

const collator = new Intl.Collator('en', { numeric: true });
export const compareNames = (one: string, other: string): number => collator.compare(one, other);

/** How many commands stand how, in the order of STANDINGS, without those that are not there. */
export function tally(commands: readonly Command[]): [Standing, number][] {
  const counts = new Map<Standing, number>();
  for (const command of commands) {
    const standing = standingOf(command);
    counts.set(standing, (counts.get(standing) ?? 0) + 1);
  }
  return STANDINGS.flatMap((standing) => (counts.has(standing) ? [[standing, counts.get(standing) as number]] : []));
}

/** Commands that came to the same: same standing, same exit code and signal, same output to the letter. */
export interface Fold {
  readonly key: string;
  readonly standing: Standing;
  readonly commands: readonly Command[];
}

/** So many of those that run are shown one by one, since each has a stream of its own */
const SINGLES_MOST = 4;

/**
 * The commands of a run folded by what came of them. First some that run, then the others that run as one, then what
 * waits and what went wrong; the largest of the ended ones comes last, as what is usual, before it what differs.
 */
export function folded(commands: readonly Command[]): Fold[] {
  const byKey = new Map<string, Command[]>();
  const running = commands.filter((command) => command.status === 'running');
  const singles = new Set(running.slice(0, running.length <= SINGLES_MOST + 1 ? running.length : SINGLES_MOST));
  for (const command of commands) {
    const key = singles.has(command) ? command.id : keyOf(command);
    const same = byKey.get(key);
    if (same) same.push(command);
    else byKey.set(key, [command]);
  }
  const folds = [...byKey].map(([key, same]): Fold => ({ key, standing: standingOf(same[0] as Command), commands: same }));
  const usual = folds.reduce<Fold | null>((most, fold) => (isEnded(fold) && fold.commands.length > (most?.commands.length ?? 1) ? fold : most), null);
  const weight = (fold: Fold): number => (fold === usual ? 3 : fold.commands[0]?.status === 'running' ? (fold.commands.length === 1 ? -1 : 0) : fold.standing === 'succeeded' ? 2 : 1);
  return folds.sort((one, other) => weight(one) - weight(other) || other.commands.length - one.commands.length);
}

const isEnded = (fold: Fold): boolean => !isOpen(fold.commands[0] as Command);

function keyOf(command: Command): string {
  const standing = standingOf(command);
  if (isOpen(command)) return standing;
  return JSON.stringify([standing, command.exitCode, command.signal, command.stdout ?? '', command.stderr ?? '', command.truncated]);
}

/** `37 same, 3 differ`: of what has ended, the largest equal part and the rest; null while fewer than two have ended. */
export function agreement(folds: readonly Fold[]): { same: number; differ: number } | null {
  const sizes = folds.filter(isEnded).map((fold) => fold.commands.length);
  const ended = sizes.reduce((sum, size) => sum + size, 0);
  const same = Math.max(0, ...sizes);
  return ended < 2 ? null : { same, differ: ended - same };
}

/** A piece of one of the two streams. */
export interface Piece {
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
}

/** The line of EGO and of its agents where bytes of a stream are left out */
const MARK = /^\[(\d{1,15}) bytes are left out here\]\n/gm;

/** How many bytes a text had before parts of it were left out. */
function fullSize(text: string): number {
  const hidden = [...text.matchAll(MARK)].reduce((sum, [mark, bytes]) => sum + Number(bytes) - mark.length, 0);
  return new TextEncoder().encode(text).length + hidden;
}

/** A chunk as it follows those that were heard: EGO's mark counts from the beginning, of which some is known here. */
export function following(heard: readonly CommandOutput[], chunk: CommandOutput): CommandOutput {
  const bytes = chunk.data.replace(MARK, '') === '' ? fullSize(chunk.data) : 0;
  const before = heard.filter(({ stream }) => stream === chunk.stream).map(({ data }) => data).join('');
  const leftOut = bytes - fullSize(before);
  if (before === '' || leftOut <= 0) return chunk;
  return { ...chunk, data: `${before.endsWith('\n') ? '' : '\n'}[${leftOut} bytes are left out here]\n` };
}

/**
 * What a command has printed: the chunks as they came, so that the two streams stand as they were written; once it is
 * over its result instead, unless the chunks say the very same. `unmarked` is the line for bytes of a result that its
 * agent has left out without a mark.
 */
export function printed(command: Command, chunks: readonly CommandOutput[], unmarked: (bytes: number) => string): readonly Piece[] {
  const live = chunks.map(({ stream, data }): Piece => ({ stream, text: data }));
  if (isOpen(command) || (command.stdout === null && command.stderr === null)) return live;
  const joined = (stream: Piece['stream']): string => live.filter((piece) => piece.stream === stream).map((piece) => piece.text).join('');
  if (!command.truncated && joined('stdout') === (command.stdout ?? '') && joined('stderr') === (command.stderr ?? '')) return live;
  return (['stdout', 'stderr'] as const).flatMap((stream): Piece[] => {
    const text = command[stream] ?? '';
    const leftOut = (command[`${stream}Bytes`] ?? 0) - fullSize(text);
    if (!command.truncated || leftOut <= 0 || text.search(MARK) >= 0) return text ? [{ stream, text }] : [];
    return [{ stream, text: `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${unmarked(leftOut)}\n` }];
  });
}

/** Commands that were run before, the newest first, each once: what the arrow keys bring back. */
export function pastCommands(runs: readonly Run[]): string[] {
  return [...new Set(runs.map((run) => run.command))];
}

/** The output of folds as one text. A single host's is as it was printed; of several each part says whose it is. */
export function transcript(folds: readonly Fold[], textOf: (command: Command) => string, headOf: (fold: Fold) => string): string {
  const [only] = folds;
  if (only && folds.length === 1 && only.commands.length === 1) return textOf(only.commands[0] as Command);
  return folds.map((fold) => `==> ${headOf(fold)} <==\n${textOf(fold.commands[0] as Command).replace(/\n?$/, '\n')}`).join('\n');
}
