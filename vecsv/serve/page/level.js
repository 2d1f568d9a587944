// How loud a recording is while it is made, and roughly how much of it is speech. Only a hint: the service measures.

const FRAME_S = 0.03;
const QUIETEST_SPEECH_DB = -50;
const ABOVE_NOISE_DB = 9;
/** A room is no louder than this; where everything is, somebody speaks without a pause. */
const LOUDEST_NOISE_DB = -40;
const FULL_SCALE = 0.985;
const RECENT_FRAMES = 66;
const TOO_QUIET_DB = -40;
const CLIPPED_SHARE = 0.001;

/** Level of samples in decibels relative to full scale. */
export function decibels(power) {
  return 10 * Math.log10(Math.max(power, 1e-10));
}

export class Meter {
  constructor(rate) {
    this.frame = Math.round(rate * FRAME_S);
    this.sum = 0;
    this.held = 0;
    this.frames = [];
    this.samples = 0;
    this.clipped = 0;
    this.recentlyClipped = 0;
    this.level = 0;
  }

  /** Take samples into account. */
  push(samples) {
    let clipped = 0;
    for (const sample of samples) {
      if (Math.abs(sample) >= FULL_SCALE) clipped += 1;
      this.sum += sample * sample;
      this.held += 1;
      if (this.held === this.frame) {
        this.frames.push(decibels(this.sum / this.frame));
        this.sum = 0;
        this.held = 0;
      }
    }
    this.samples += samples.length;
    this.clipped += clipped;
    // Half of what was is forgotten every second or so.
    this.recentlyClipped = this.recentlyClipped * 0.97 + clipped / samples.length;
    const newest = this.frames.length ? this.frames.at(-1) : -100;
    // -60 dB is an empty meter and 0 dB a full one; it falls more slowly than it rises.
    this.level = Math.max(Math.min(1, Math.max(0, (newest + 60) / 60)), this.level * 0.9);
  }

  /** Seconds that are clearly louder than the room. */
  get speech() {
    if (!this.frames.length) return 0;
    const sorted = [...this.frames].sort((one, other) => one - other);
    const room = Math.min(sorted[Math.floor(sorted.length * 0.1)], LOUDEST_NOISE_DB);
    const limit = Math.max(QUIETEST_SPEECH_DB, room + ABOVE_NOISE_DB);
    return this.frames.filter((level) => level > limit).length * FRAME_S;
  }

  /** What to tell the speaker: "quiet", "loud", or null. */
  get trouble() {
    if (this.recentlyClipped > CLIPPED_SHARE * 10) return "loud";
    const recent = this.frames.slice(-RECENT_FRAMES);
    if (recent.length < RECENT_FRAMES / 2) return null;
    recent.sort((one, other) => one - other);
    return recent[Math.floor(recent.length * 0.9)] < TOO_QUIET_DB ? "quiet" : null;
  }

  /** Share of samples at full scale. */
  get clippedShare() {
    return this.samples ? this.clipped / this.samples : 0;
  }
}

/** Speech, clipping and level of a whole recording. */
export function measure(samples, rate) {
  const meter = new Meter(rate);
  if (samples.length) meter.push(samples);
  return { speech: meter.speech, clippedShare: meter.clippedShare };
}
