/**
 * Who uses this page, by what EGO says of them, and how they sign in and out.
 *
 * Nothing waits for it: on EGO's own machine nobody has to sign in, so the page asks who this is beside all else. Where
 * somebody has to, `isNeeded` is true, the requests that read wait, and the sockets hang up until they are in.
 */

import { onLink, takenLink } from '../net/door';
import { pageHalf } from '../net/pagehalf';
import type { Me } from '../net/openapi';
import { get, post, Refusal, remove, standAt } from '../net/rest';

type Proof = { link: string } | { name: string; password: string };

export type Permission = Me['permissions'][number];

interface Doors {
  /** Somebody is in, perhaps as somebody else than before */
  opened(): void;
  closed(): void;
}

class Session {
  /** null: EGO has not said yet, or cannot be asked */
  me = $state.raw<Me | null>(null);
  /** Somebody has to sign in before EGO tells this page anything */
  isNeeded = $state(false);
  isEntering = $state(false);
  /** Why the last try to sign in failed */
  refusal = $state.raw<Refusal | null>(null);
  /** A link that may still be good: EGO could not be asked about it */
  link = $state.raw<string | null>(null);
  /** The last try was with a link */
  wasLink = $state(false);
  /** A link is being tried: nobody has to do anything yet */
  readonly isByLink = $derived(this.isEntering && this.wasLink);

  private doors: Doors = { opened: () => undefined, closed: () => undefined };
  private opening: { promise: Promise<void>; resolve: () => void } | null = null;
  private asking: Promise<void> | null = null;

  /** Find out who this is; `doors` hears of it. Answers whether nothing has to be waited for. Call it once. */
  start(doors: Doors): boolean {
    this.doors = doors;
    const session = this;
    standAt({
      get opening() {
        return session.opening?.promise ?? null;
      },
      refused: () => this.ask(),
    });
    pageHalf.open({ isGood: () => !this.isNeeded, changed: () => void this.ask() });
    onLink((link) => void this.enter({ link }));
    const link = takenLink();
    if (link === null) {
      void this.ask();
      return true;
    }
    this.close();
    void this.enter({ link });
    return false;
  }

  /** Whether EGO allows this person something. Before EGO has said so, nothing is hidden: EGO itself refuses. */
  may(permission: Permission): boolean {
    return this.me?.permissions.includes(permission) ?? true;
  }

  /** Ask EGO who this is, one question at a time. If nobody answers, everything stays as it is. */
  ask(): Promise<void> {
    this.asking ??= this.look().finally(() => (this.asking = null));
    return this.asking;
  }

  async enter(proof: Proof): Promise<void> {
    this.isEntering = true;
    this.refusal = null;
    this.wasLink = 'link' in proof;
    this.link = null;
    try {
      const { page, me } = await post('/api/session', proof, { atDoor: true });
      pageHalf.keep(page);
      pageHalf.tell();
      this.me = me;
      if (this.isNeeded) this.open();
      else this.doors.opened();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.refusal = error;
      const mayPass = error.status === 0 || error.status === 429 || error.status >= 500;
      if ('link' in proof && mayPass) this.link = proof.link;
      await this.ask(); // perhaps this person needs none
    } finally {
      this.isEntering = false;
    }
  }

  /** End this session, or all of this person's; the page begins anew. A refusal is thrown. */
  async leave(everywhere: boolean): Promise<void> {
    if (everywhere) {
      const { items } = await get('/api/sessions'); // an admin sees those of others, too
      const own = items.filter((one) => one.name === this.me?.name && !one.isThis);
      for (const { id } of own) await remove('/api/sessions/{id}', { path: { id } });
    }
    await remove('/api/session');
    pageHalf.keep(null);
    location.reload(); // nothing that was shown stays in the page
  }

  private async look(): Promise<void> {
    const asked = pageHalf.value;
    try {
      let me = await get('/api/me', { atDoor: true });
      if (!sees(me) && (await pageHalf.askOthers())) me = await get('/api/me', { atDoor: true });
      else if (pageHalf.value !== asked) return this.look(); // somebody signed in meanwhile
      this.me = me;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return;
    }
    if (!sees(this.me)) this.close();
    else if (this.isNeeded) this.open();
  }

  private close(): void {
    if (this.isNeeded) return;
    this.isNeeded = true;
    let resolve = (): void => undefined;
    const promise = new Promise<void>((done) => (resolve = done));
    this.opening = { promise, resolve };
    this.doors.closed();
  }

  private open(): void {
    this.isNeeded = false;
    this.opening?.resolve();
    this.opening = null;
    this.doors.opened();
  }
}

const sees = (me: Me): boolean => me.permissions.includes('view');

export const session = new Session();
