/**
 * The page's half of a session. The cookie alone is worth nothing: browsers send it to every service of EGO's machine,
 * whatever the port. This half stays in `sessionStorage`, which is for this page's origin alone.
 *
 * A new tab starts without it and asks the other tabs of this EGO. They tell each other of a new one, because all tabs
 * have one cookie.
 */

import { prefix } from './base';

const KEY = `mirror-stage-page ${prefix}`;
const ANSWER_MS = 250;

type Said = { asks: true } | { half: string };

interface Tab {
  /** Whether this tab's half is good: then it is told to a tab that asks. */
  isGood(): boolean;
  /** Another tab signed in: its half is kept here. */
  changed(): void;
}

class PageHalf {
  private kept = stored();
  private tabs: BroadcastChannel | undefined;
  private heard: (() => void) | undefined;

  get value(): string | null {
    return this.kept;
  }

  /** What a request says of it */
  get headers(): Record<string, string> {
    return this.kept === null ? {} : { 'X-Mirror-Stage-Page': this.kept };
  }

  /** Talk with the other tabs from now on. Call it once. */
  open(tab: Tab): void {
    this.tabs = new BroadcastChannel(KEY);
    this.tabs.onmessage = ({ data }: MessageEvent<Said>) => {
      if ('asks' in data) {
        if (this.kept !== null && tab.isGood()) this.tell();
      } else if (data.half !== this.kept && (this.heard || this.kept !== null || !tab.isGood())) {
        this.keep(data.half);
        if (this.heard) this.heard();
        else tab.changed();
      }
    };
  }

  keep(half: string | null): void {
    this.kept = half;
    try {
      if (half === null) sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, half);
    } catch {
      // Storage is blocked: it lasts as long as the page.
    }
  }

  /** Tell the other tabs. */
  tell(): void {
    if (this.kept !== null) this.tabs?.postMessage({ half: this.kept } satisfies Said);
  }

  /** Ask the other tabs; whether one of them had another half, which is kept now. */
  askOthers(): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (isFound: boolean): void => {
        clearTimeout(timer);
        this.heard = undefined;
        resolve(isFound);
      };
      const timer = setTimeout(() => done(false), ANSWER_MS);
      this.heard = () => done(true);
      this.tabs?.postMessage({ asks: true } satisfies Said);
    });
  }
}

function stored(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export const pageHalf = new PageHalf();
