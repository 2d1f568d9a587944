// Where a recording is made, dropped or chosen.

import { ofFile, ofRecording } from "./clip.js";
import { announce, freshId, h, icon } from "./dom.js";
import { onLanguage, seconds, t } from "./i18n.js";
import { hindrance, LONGEST_S, reasonOf, Recording } from "./recorder.js";
import { LiveWaveform } from "./waveform.js";

const MICROPHONE = "M12 14.5a3.5 3.5 0 0 0 3.5-3.5V6a3.5 3.5 0 1 0-7 0v5a3.5 3.5 0 0 0 3.5 3.5zm6-3.7a.9.9 0 1 0-1.8 0 4.2 4.2 0 0 1-8.4 0 .9.9 0 1 0-1.8 0 6 6 0 0 0 5.1 5.9v2.4H8.6a.9.9 0 1 0 0 1.8h6.8a.9.9 0 1 0 0-1.8h-2.5v-2.4A6 6 0 0 0 18 10.800z";
const SQUARE = "M8.2 6.500h7.6a1.7 1.7 0 0 1 1.700 1.700v7.600a1.7 1.7 0 0 1-1.700 1.700H8.200a1.7 1.7 0 0 1-1.700-1.700V8.200a1.7 1.7 0 0 1 1.700-1.700z";
const SHORTEST_S = 0.3;

export class Taker {
  /**
   * @param onClip called with each clip
   * @param several whether more than one file may be dropped at once
   * @param enough seconds of speech at which the page says that it is enough
   * @param label names the button, for those who do not see where it stands
   */
  constructor({ onClip, several = false, enough = 3, label }) {
    Object.assign(this, { onClip, several, enough, label });
    this.recording = null;
    this.starting = false;
    this.hintKey = null;
    this.button = h(
      "button", { type: "button", class: "record", onclick: () => this.toggle() }, icon(MICROPHONE, "start"), icon(SQUARE, "stop"),
    );
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.meter = h("div", { class: "level", "aria-hidden": "true" }, h("span"));
    this.clock = h("p", { class: "clock", role: "timer", "aria-live": "off" });
    this.live = h("div", { class: "live" }, this.clock, this.canvas, this.meter);
    this.hint = h("p", { class: "hint soft", id: freshId("hint") });
    this.button.setAttribute("aria-describedby", this.hint.id);
    this.problem = h("p", { class: "notice", role: "alert", hidden: true });
    this.file = h("input", {
      type: "file", class: "unseen", tabindex: "-1", "aria-hidden": "true", accept: "audio/*,.wav,.flac,.ogg,.opus,.mp3,.m4a",
      multiple: several, onchange: () => this.files(this.file.files),
    });
    this.choose = h("button", { type: "button", class: "link", onclick: () => this.file.click() });
    this.or = h("span", { class: "soft" });
    this.element = h(
      "div", {
        class: "taker", ondragover: (event) => this.over(event), ondragleave: () => this.element.classList.remove("over"),
        ondrop: (event) => this.dropped(event), onkeydown: (event) => this.pressed(event),
      },
      this.button, this.hint, this.live, this.problem, h("p", { class: "small elsewhere" }, this.or, " ", this.choose), this.file,
    );
    onLanguage(() => this.say());
    this.say();
  }

  say() {
    const going = this.recording !== null;
    this.element.classList.toggle("recording", going);
    this.button.setAttribute("aria-label", t(going ? "record.stop" : "record.start", { what: this.label() }));
    this.button.disabled = hindrance() !== null;
    this.choose.textContent = t(this.several ? "file.several" : "file.one");
    this.or.textContent = t("file.drop");
    if (this.problemKey) this.problem.textContent = t(this.problemKey, this.problemValues);
    this.problem.hidden = !this.problemKey;
    if (!going) this.hint.textContent = hindrance() === "unsupported" ? t("microphone.unsupported") : t("record.idle");
  }

  fail(key, values = {}) {
    this.problemKey = key;
    this.problemValues = values;
    this.say();
  }

  async toggle() {
    if (this.starting) return undefined;
    if (this.recording) return this.finish();
    this.fail(null);
    const recording = new Recording((samples, meter) => this.heard(samples, meter));
    recording.onOusted = () => this.finish();
    this.starting = true;
    try {
      await recording.start();
    } catch (error) {
      this.fail(`microphone.${reasonOf(error)}`);
      return undefined;
    } finally {
      this.starting = false;
    }
    this.recording = recording;
    this.waveform = new LiveWaveform(this.canvas);
    this.hintKey = null;
    this.clock.textContent = t("clip.seconds", { seconds: seconds(0) });
    this.say();
    this.advise("record.speak");
    return undefined;
  }

  heard(samples, meter) {
    if (!this.recording) return;
    this.waveform.push(samples);
    this.element.style.setProperty("--level", meter.level.toFixed(3));
    const trouble = meter.trouble;
    this.meter.classList.toggle("loud", trouble === "loud");
    this.meter.classList.toggle("low", trouble === "quiet");
    this.clock.textContent = t("clip.seconds", { seconds: seconds(this.recording.seconds) });
    if (trouble) this.advise(`record.${trouble}`);
    else if (meter.speech >= this.enough) this.advise("record.enough");
    else if (this.recording.seconds > 1.5) this.advise("record.more", { seconds: seconds(this.enough - meter.speech) });
    if (this.recording.seconds >= LONGEST_S) this.finish();
  }

  /** Show a hint; it is read out only when it is another one than before, not each time its number changes. */
  advise(key, values = {}) {
    this.hint.textContent = t(key, values);
    if (key === this.hintKey) return;
    this.hintKey = key;
    announce(t(key, values));
  }

  async finish() {
    const recording = this.recording;
    if (!recording) return;
    this.recording = null;
    const made = await recording.finish();
    this.element.style.setProperty("--level", "0");
    this.say();
    if (made.samples.length < SHORTEST_S * made.rate) {
      this.fail("record.tooShort");
      return;
    }
    const one = ofRecording(made);
    announce(t("record.done", { seconds: seconds(one.seconds) }));
    this.onClip(one);
  }

  /** Escape ends a recording and keeps nothing of it. */
  async pressed(event) {
    if (event.key !== "Escape" || !this.recording) return;
    event.preventDefault();
    const recording = this.recording;
    this.recording = null;
    await recording.discard();
    this.element.style.setProperty("--level", "0");
    this.say();
    announce(t("record.discarded"));
  }

  over(event) {
    event.preventDefault();
    this.element.classList.add("over");
  }

  dropped(event) {
    event.preventDefault();
    this.element.classList.remove("over");
    this.files(event.dataTransfer.files);
  }

  async files(list) {
    // Read before the field is emptied, so that the same file can be chosen again.
    const files = [...list].slice(0, this.several ? 20 : 1);
    this.file.value = "";
    this.fail(null);
    for (const file of files) {
      if (file.size === 0) this.fail("file.empty", { name: file.name });
      else this.onClip(await ofFile(file));
    }
  }
}
