// The microphone: samples as the browser gives them, without echo cancelling, noise suppression or gain control, which
// change a voice.

import { Meter } from "./level.js";
import { joined, wav } from "./wav.js";

export const LONGEST_S = 60;

let current = null;

/** Why there can be no recording, known before anybody is asked; or null. */
export function hindrance() {
  if (!window.isSecureContext) return "insecure";
  return navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode ? null : "unsupported";
}

/** A key of the words for what went wrong when the microphone was asked for. */
export function reasonOf(error) {
  const reasons = {
    NotAllowedError: "denied",
    SecurityError: "denied",
    NotFoundError: "missing",
    OverconstrainedError: "missing",
    NotReadableError: "busy",
    AbortError: "busy",
  };
  return reasons[error.name] ?? "failed";
}

/** One recording under way. `onSamples(samples, meter)` is called with every block. */
export class Recording {
  constructor(onSamples) {
    this.onSamples = onSamples;
    this.blocks = [];
    this.meter = null;
  }

  /** Ask for the microphone and begin. Another recording of the page is finished first. */
  async start() {
    if (current) await current.onOusted();
    current = this;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
      this.context = new AudioContext();
      await this.context.audioWorklet.addModule(new URL("recorder-worklet.js", import.meta.url));
      this.meter = new Meter(this.context.sampleRate);
      this.source = this.context.createMediaStreamSource(this.stream);
      this.node = new AudioWorkletNode(this.context, "vecsv-recorder", { numberOfOutputs: 0 });
      this.ended = new Promise((resolve) => {
        this.node.port.onmessage = ({ data }) => (data === null ? resolve() : this.take(data));
      });
      this.source.connect(this.node);
      await this.context.resume();
    } catch (error) {
      await this.release();
      throw error;
    }
  }

  /** What to do when another recording begins; whoever started this one says. */
  async onOusted() {
    await this.discard();
  }

  get seconds() {
    return this.meter ? this.meter.samples / this.context.sampleRate : 0;
  }

  take(samples) {
    if (!samples.length) return;
    this.blocks.push(samples);
    this.meter.push(samples);
    this.onSamples(samples, this.meter);
  }

  /** End it; gives the samples, the rate and the WAV file. */
  async finish() {
    this.node.port.postMessage(null);
    await this.ended;
    const rate = this.context.sampleRate;
    await this.release();
    const samples = joined(this.blocks);
    return { samples, rate, blob: new Blob([wav(samples, rate)], { type: "audio/wav" }) };
  }

  /** End it and keep nothing. */
  async discard() {
    await this.release();
    this.blocks = [];
  }

  async release() {
    if (current === this) current = null;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}
