/** The short tone of a new critical alert: two notes, made here, so that no file is loaded. */

let context: AudioContext | undefined;
let chimedAt = -Infinity;
const PAUSE_MS = 2_000;

/** Play it, at most once in 2 s. Browsers keep silent until the person has done something on the page. */
export function chime(): void {
  if (performance.now() - chimedAt < PAUSE_MS) return;
  chimedAt = performance.now();
  context ??= new AudioContext();
  const { currentTime, destination } = context;
  void context.resume();
  [660, 880].forEach((pitch, place) => {
    const tone = new OscillatorNode(context as AudioContext, { frequency: pitch, type: 'sine' });
    const loudness = new GainNode(context as AudioContext, { gain: 0 });
    const start = currentTime + place * 0.16;
    loudness.gain.setValueAtTime(0, start);
    loudness.gain.linearRampToValueAtTime(0.18, start + 0.02);
    loudness.gain.exponentialRampToValueAtTime(0.0005, start + 0.32);
    tone.connect(loudness).connect(destination);
    tone.start(start);
    tone.stop(start + 0.34);
  });
}
