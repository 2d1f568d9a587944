// Runs on the audio thread: gathers samples of the microphone, mixed to one channel, and hands them over in blocks.

const BLOCK = 2048;

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.filled = 0;
    this.going = true;
    this.port.onmessage = () => {
      this.handOver();
      this.port.postMessage(null);
      this.going = false;
    };
  }

  process([channels]) {
    if (!this.going) return false;
    const length = channels.length ? channels[0].length : 0;
    for (let sample = 0; sample < length; sample += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[sample];
      this.block[this.filled] = sum / channels.length;
      this.filled += 1;
      if (this.filled === BLOCK) this.handOver();
    }
    return true;
  }

  handOver() {
    const samples = this.block.slice(0, this.filled);
    this.filled = 0;
    this.port.postMessage(samples, [samples.buffer]);
  }
}

registerProcessor("vecsv-recorder", Recorder);
