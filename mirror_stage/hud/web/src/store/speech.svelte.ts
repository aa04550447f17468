/** What is said to who cannot see it: one polite region for what the person did, one for alerts, at most one in 5 s. */

const ALERT_PAUSE_MS = 5_000;

class Speech {
  said = $state('');
  alerted = $state('');
  private alertedAt = -Infinity;
  private waiting: string[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;

  say(text: string): void {
    this.said = text;
  }

  /** Say it now, or 5 s after the last one; what came meanwhile is then summed up by `sum`. */
  alert(text: string, sum: (count: number) => string): void {
    this.waiting.push(text);
    const wait = Math.max(0, this.alertedAt + ALERT_PAUSE_MS - performance.now());
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.alertedAt = performance.now();
      this.alerted = this.waiting.length === 1 ? (this.waiting[0] as string) : sum(this.waiting.length);
      this.waiting = [];
    }, wait);
  }
}

export const speech = new Speech();
