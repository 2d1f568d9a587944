// A recording in the page: what it holds, and the card that shows and plays it.

import { freshId, h, icon } from "./dom.js";
import { known, onLanguage, seconds, t } from "./i18n.js";
import { measure } from "./level.js";
import { drawWhole, peaks } from "./waveform.js";

const SHOWN_PEAKS = 400;
const LITTLE_SPEECH_S = 1.5;
const MUCH_CLIPPING = 0.01;
const GO = "M8 5.5v13a.8.8 0 0 0 1.2.7l10.4-6.5a.8.8 0 0 0 0-1.4L9.2 4.8A.8.8 0 0 0 8 5.5z";
const PAUSE = "M7 5h3.4v14H7zM13.6 5H17v14h-3.4z";

let taken = 0;

/** A recording just made. */
export function ofRecording({ samples, rate, blob }) {
  taken += 1;
  const stamp = new Date().toISOString().slice(0, 19).replace(/[:.]/g, "-");
  return clip({ blob, name: `recording-${stamp}-${taken}.wav`, number: taken, samples, rate });
}

/** A file that was dropped or chosen; one that the browser cannot read still goes to the service. */
export async function ofFile(file) {
  const rate = 16000;
  try {
    const decoder = new OfflineAudioContext(1, 1, rate);
    const sound = await decoder.decodeAudioData(await file.arrayBuffer());
    return clip({ blob: file, name: file.name, samples: sound.getChannelData(0), rate });
  } catch {
    return clip({ blob: file, name: file.name, samples: null, rate });
  }
}

function clip({ blob, name, number = null, samples, rate }) {
  const measured = samples ? measure(samples, rate) : { speech: null, clippedShare: 0 };
  return {
    blob,
    name,
    number,
    seconds: samples ? samples.length / rate : null,
    magnitudes: samples ? peaks(samples, SHOWN_PEAKS) : null,
    ...measured,
    reasons: [],
  };
}

/** What a recording is called on the page. */
export function titleOf(one) {
  return one.number === null ? one.name : t("clip.recording", { number: one.number });
}

/** Words for a reason of the service's; a reason the page has no words for stands as it is. */
function reasonWords(code) {
  return known(`reason.${code}`) ? t(`reason.${code}`) : code;
}

/** Words for several reasons: that there is little speech goes without saying where there is none. */
export function reasonsInWords(codes) {
  const telling = codes.filter((code) => code !== "too-short");
  return (telling.length ? telling : codes).map(reasonWords).join(" ");
}

function adviceOn(one) {
  if (one.reasons.length) return null;
  if (one.speech !== null && one.speech < LITTLE_SPEECH_S) return t("clip.short", { seconds: seconds(one.speech) });
  if (one.clippedShare > MUCH_CLIPPING) return t("clip.distorted");
  return null;
}

let playing = null;

/** The card of a recording, with a waveform to see, a button to hear it and one to take it away. */
export class ClipCard {
  constructor(one, onRemove) {
    this.clip = one;
    this.sound = new Audio();
    this.address = URL.createObjectURL(one.blob);
    this.sound.src = this.address;
    this.play = h("button", { type: "button", class: "play", onclick: () => this.toggle() }, icon(GO, "go"), icon(PAUSE, "pause"));
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.name = h("span", { class: "name", id: freshId("clip") });
    this.length = h("span", { class: "numbers" });
    this.note = h("p", {});
    this.remove = h("button", { type: "button", class: "link", onclick: onRemove });
    const about = h("div", { class: "about" }, this.name, this.length);
    this.element = h(
      "div", { class: "clip", role: "group", "aria-labelledby": this.name.id },
      this.play, this.canvas, this.remove, about, this.note,
    );
    for (const event of ["play", "pause", "ended"]) this.sound.addEventListener(event, () => this.say());
    this.sound.addEventListener("play", () => this.follow());
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.canvas);
    this.palette = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.draw();
    this.palette.addEventListener("change", this.redraw);
    document.addEventListener("vecsv-theme", this.redraw);
    this.forgetLanguage = onLanguage(() => this.say());
    this.say();
  }

  say() {
    const one = this.clip;
    const going = !this.sound.paused && !this.sound.ended;
    this.element.classList.toggle("playing", going);
    this.name.textContent = titleOf(one);
    this.length.textContent = one.seconds === null ? "" : t("clip.seconds", { seconds: seconds(one.seconds) });
    this.play.setAttribute("aria-label", t(going ? "clip.pause" : "clip.play", { name: titleOf(one) }));
    this.remove.textContent = t("clip.remove");
    this.remove.setAttribute("aria-label", t("clip.removeNamed", { name: titleOf(one) }));
    const advice = adviceOn(one);
    this.note.hidden = !one.reasons.length && !advice;
    this.note.className = one.reasons.length ? "wrong" : "advice";
    this.note.textContent = one.reasons.length ? reasonsInWords(one.reasons) : (advice ?? "");
    this.draw();
  }

  async toggle() {
    if (!this.sound.paused) return this.sound.pause();
    if (playing && playing !== this) playing.sound.pause();
    playing = this;
    try {
      await this.sound.play();
    } catch {
      // A format the browser does not play: the service may still read it.
      this.play.disabled = true;
    }
  }

  follow() {
    this.draw();
    if (!this.sound.paused && !this.sound.ended) requestAnimationFrame(() => this.follow());
  }

  draw() {
    if (!this.clip.magnitudes || !this.canvas.isConnected) return;
    const length = this.sound.duration || this.clip.seconds;
    const begun = this.sound.currentTime > 0 && !this.sound.ended;
    drawWhole(this.canvas, this.clip.magnitudes, begun ? this.sound.currentTime / length : 1);
  }

  /** Let go of the sound and take the card out of the page. */
  close() {
    this.sound.pause();
    URL.revokeObjectURL(this.address);
    this.resized.disconnect();
    this.palette.removeEventListener("change", this.redraw);
    document.removeEventListener("vecsv-theme", this.redraw);
    this.forgetLanguage();
    this.element.remove();
  }
}
