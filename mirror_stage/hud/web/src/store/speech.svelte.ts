/** What is said to who cannot see it: one polite region for what the person did, one for alerts, at most one in 5 s. */

const ALERT_PAUSE_MS = 5_000;

class Speech {
  said = $state('');
  alerted = $state('');
  private alertedAt = -Infinity;

  say(text: string): void {
    this.said = text;
  }

  /** Whether it was said: within 5 s of the last one it is not. */
  alert(text: string): boolean {
    if (performance.now() - this.alertedAt < ALERT_PAUSE_MS) return false;
    this.alertedAt = performance.now();
    this.alerted = text;
    return true;
  }
}

export const speech = new Speech();
