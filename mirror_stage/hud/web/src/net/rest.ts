/** REST: JSON in and out, typed by EGO's OpenAPI document, and every refusal as one kind of error that says what EGO said. */

import { address, type Query } from './base';
import type { paths, Problem } from './openapi';
import { pageHalf } from './pagehalf';

const PATIENCE_MS = 15_000;

/** EGO, or the way to it, said no. `status` 0: nobody answered. */
export class Refusal extends Error {
  override name = 'Refusal';
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly requestId: string | null = null,
    readonly errors: NonNullable<Problem['errors']> = [],
    readonly retryAfterSeconds: number | null = null,
  ) {
    super(detail || title);
  }
}

/** Who signs people in, as the requests see it. */
export interface Door {
  /** Requests that only read wait for it: somebody has to sign in first. null: they go at once. */
  readonly opening: Promise<void> | null;
  /** EGO answered 401 or 403. Resolved when EGO has said who this is; `opening` says then whether to wait. */
  refused(): Promise<void>;
}
let door: Door | null = null;

/** Ask `it` about requests from now on. Call it once. */
export function standAt(it: Door): void {
  door = it;
}

type Method = 'get' | 'post' | 'put' | 'delete';
/** The routes that have a method, as the document writes them: `/api/hosts/{hostname}` */
type Route<Has extends Method> = { [Path in keyof paths]: paths[Path] extends Record<Has, object> ? Path : never }[keyof paths];
type Operation<Path extends keyof paths, Has extends Method> = NonNullable<paths[Path][Has]>;
type Json<Part> = Part extends { content: { 'application/json': infer Value } } ? Value : never;
type Answer<Of> = Of extends { responses: infer All } ? Json<All[keyof All & (200 | 201 | 202)]> : never;
type Body<Of> = Of extends { requestBody: infer Sent } ? Json<Sent> : Of extends { requestBody?: infer Sent } ? Json<NonNullable<Sent>> | undefined : undefined;
type QueryOf<Of> = Of extends { parameters: { query?: infer Asked } } ? Asked : undefined;

interface Options<Of = unknown> {
  /** What stands for the names in braces */
  path?: Record<string, string> | undefined;
  query?: QueryOf<Of> | undefined;
  signal?: AbortSignal | undefined;
  headers?: Record<string, string> | undefined;
  /** How long to wait for an answer, if it is not the usual time */
  patienceMs?: number;
  /** It asks who this is, or signs in: it does not wait at the door */
  atDoor?: boolean;
}

/** The answer of `GET path`. Throws Refusal; an AbortError if `signal` ended it. */
export function get<Path extends Route<'get'>>(path: Path, options: Options<Operation<Path, 'get'>> = {}): Promise<Answer<Operation<Path, 'get'>>> {
  return ask('GET', path, undefined, options);
}

export function post<Path extends Route<'post'>>(
  path: Path,
  body: Body<Operation<Path, 'post'>>,
  options: Options<Operation<Path, 'post'>> = {},
): Promise<Answer<Operation<Path, 'post'>>> {
  return ask('POST', path, body, options);
}

export function put<Path extends Route<'put'>>(
  path: Path,
  body: Body<Operation<Path, 'put'>>,
  options: Options<Operation<Path, 'put'>> = {},
): Promise<Answer<Operation<Path, 'put'>>> {
  return ask('PUT', path, body, options);
}

/** `DELETE path`, which has no answer but a refusal. */
export async function remove<Path extends Route<'delete'>>(path: Path, options: Options<Operation<Path, 'delete'>> = {}): Promise<void> {
  await ask('DELETE', path, undefined, options);
}

async function ask<Value>(method: string, path: string, body: unknown, options: Options): Promise<Value> {
  const waits = door !== null && !options.atDoor;
  if (waits && method === 'GET') await door?.opening;
  try {
    return await once(method, path, body, options);
  } catch (error) {
    if (!waits || !(error instanceof Refusal) || (error.status !== 401 && error.status !== 403)) throw error;
    const known = door?.refused();
    // What changes something is never sent by itself a second time: by then it may be another person who signed in.
    if (error.status === 403 || method !== 'GET') throw error;
    await known;
    await door?.opening;
    return once(method, path, body, options);
  }
}

async function once<Value>(method: string, path: string, body: unknown, options: Options): Promise<Value> {
  const deadline = AbortSignal.timeout(options.patienceMs ?? PATIENCE_MS);
  const headers: Record<string, string> = { Accept: 'application/json', ...pageHalf.headers, ...options.headers };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const place = path.replace(/^\//, '').replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(options.path?.[name] ?? ''));
  let answer: Response;
  try {
    answer = await fetch(address(place, options.query as Query | undefined), {
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
    const problem = (await answer.json()) as Problem;
    return new Refusal(answer.status, problem.title, problem.detail, requestId, problem.errors, retryAfter);
  } catch {
    // A proxy answered in a form of its own: its status is all that can be believed.
    return new Refusal(answer.status, answer.statusText || `HTTP ${answer.status}`, '', requestId, [], retryAfter);
  }
}
