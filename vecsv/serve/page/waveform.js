// Waveforms on canvases, in the canvas's own text colour.

const BAR = 3;
const GAP = 2;

/** The largest magnitude in each of `count` equal stretches. */
export function peaks(samples, count) {
  const found = new Float32Array(count);
  for (let place = 0; place < count; place += 1) {
    const from = Math.floor((place * samples.length) / count);
    const to = Math.floor(((place + 1) * samples.length) / count);
    for (let at = from; at < to; at += 1) found[place] = Math.max(found[place], Math.abs(samples[at]));
  }
  return found;
}

/** Fit a canvas to its place on the screen; gives its context and size in CSS pixels. */
function fitted(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = getComputedStyle(canvas).color;
  return { context, width, height };
}

function bar(context, at, height, magnitude) {
  // The square root shows quiet speech too.
  const size = Math.max(BAR, Math.sqrt(Math.min(1, magnitude)) * height);
  context.beginPath();
  context.roundRect(at, (height - size) / 2, BAR, size, BAR / 2);
  context.fill();
}

/** A whole recording; what has been played is drawn full, the rest faint. */
export function drawWhole(canvas, magnitudes, played = 1) {
  const { context, width, height } = fitted(canvas);
  const count = Math.max(1, Math.floor(width / (BAR + GAP)));
  const loudest = magnitudes.reduce((most, one) => Math.max(most, one), 0.05);
  for (let place = 0; place < count; place += 1) {
    const from = Math.floor((place * magnitudes.length) / count);
    const to = Math.max(from + 1, Math.floor(((place + 1) * magnitudes.length) / count));
    let most = 0;
    for (let at = from; at < to && at < magnitudes.length; at += 1) most = Math.max(most, magnitudes[at]);
    context.globalAlpha = (place + 0.5) / count <= played ? 1 : 0.35;
    bar(context, place * (BAR + GAP), height, most / loudest);
  }
}

/** The last few seconds of a recording under way, newest at the right. */
export class LiveWaveform {
  constructor(canvas) {
    this.canvas = canvas;
    this.magnitudes = [];
    this.waiting = false;
  }

  push(samples) {
    // Two bars a block, some 20 ms each.
    const half = samples.length >> 1;
    this.magnitudes.push(...peaks(samples.subarray(0, half), 1), ...peaks(samples.subarray(half), 1));
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.waiting = false;
    const { context, width, height } = fitted(this.canvas);
    const count = Math.floor(width / (BAR + GAP));
    const shown = this.magnitudes.slice(-count);
    this.magnitudes = shown;
    shown.forEach((magnitude, place) => {
      const at = width - (shown.length - place) * (BAR + GAP);
      // Older sound fades towards the left edge.
      context.globalAlpha = Math.min(1, 0.15 + (2 * (at + BAR)) / width);
      bar(context, at, height, magnitude);
    });
  }
}
