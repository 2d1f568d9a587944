// 16-bit PCM WAV: what any decoder reads, so that no service needs ffmpeg for the page's recordings.

const HEADER = 44;

/** Samples in [-1, 1] as the bytes of a mono WAV file; what lies outside is cut off. */
export function wav(samples, rate) {
  const bytes = new ArrayBuffer(HEADER + 2 * samples.length);
  const view = new DataView(bytes);
  const word = (at, text) => [...text].forEach((letter, place) => view.setUint8(at + place, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, HEADER - 8 + 2 * samples.length, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // length of the format
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true); // bytes a second
  view.setUint16(32, 2, true); // bytes a frame
  view.setUint16(34, 16, true); // bits a sample
  word(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  for (let place = 0; place < samples.length; place += 1) {
    const scaled = Math.round(samples[place] * 32768);
    view.setInt16(HEADER + 2 * place, Math.max(-32768, Math.min(32767, scaled)), true);
  }
  return bytes;
}

/** Blocks of samples as one. */
export function joined(blocks) {
  const whole = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    whole.set(block, at);
    at += block.length;
  }
  return whole;
}
