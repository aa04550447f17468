/** REST: JSON in and out, and every refusal as one kind of error that says what EGO said. */

import { address } from './base';
import type { ProblemBody } from './wire';

const PATIENCE_MS = 15_000;

type Query = Record<string, string | number | undefined>;

/** EGO, or the way to it, said no. `status` 0: nobody answered. */
export class Refusal extends Error {
  override name = 'Refusal';
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly requestId: string | null = null,
    readonly errors: NonNullable<ProblemBody['errors']> = [],
    readonly retryAfterSeconds: number | null = null,
  ) {
    super(detail || title);
  }
}

interface Options {
  query?: Query | undefined;
  signal?: AbortSignal | undefined;
  headers?: Record<string, string> | undefined;
}

/** The value of `GET path`. Throws Refusal; an AbortError if `signal` ended it. */
export function get<Value>(path: string, options: Options = {}): Promise<Value> {
  return ask<Value>('GET', path, undefined, options);
}

export function post<Value>(path: string, body: unknown, options: Options = {}): Promise<Value> {
  return ask<Value>('POST', path, body, options);
}

export async function remove(path: string, options: Options = {}): Promise<void> {
  await ask<unknown>('DELETE', path, undefined, options);
}

async function ask<Value>(method: string, path: string, body: unknown, options: Options): Promise<Value> {
  const deadline = AbortSignal.timeout(PATIENCE_MS);
  const headers: Record<string, string> = { Accept: 'application/json', ...options.headers };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let answer: Response;
  try {
    answer = await fetch(address(path, options.query), {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: options.signal ? AbortSignal.any([options.signal, deadline]) : deadline,
    });
    if (answer.ok) return (answer.status === 204 ? undefined : await answer.json()) as Value; // the body, too, may never come
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refusal(0, deadline.aborted ? 'timeout' : 'unreachable', '');
  }
  throw await refusalOf(answer);
}

async function refusalOf(answer: Response): Promise<Refusal> {
  const requestId = answer.headers.get('X-Request-Id');
  const wait = Number(answer.headers.get('Retry-After'));
  const retryAfter = Number.isFinite(wait) && wait > 0 ? wait : null;
  try {
    const problem = (await answer.json()) as ProblemBody;
    return new Refusal(answer.status, problem.title, problem.detail, requestId, problem.errors, retryAfter);
  } catch {
    // A proxy answered in a form of its own: its status is all that can be believed.
    return new Refusal(answer.status, answer.statusText || `HTTP ${answer.status}`, '', requestId, [], retryAfter);
  }
}
