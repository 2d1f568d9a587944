// Enrolling a person from several clips, with how much speech is still wanted.

import * as api from "./api.js";
import { Problem } from "./api.js";
import { warningList } from "./answer.js";
import { ClipCard } from "./clip.js";
import { announce, freshId, h, lead } from "./dom.js";
import { counted, onLanguage, seconds, spoken, t } from "./i18n.js";
import { Ring } from "./ring.js";
import { Taker } from "./taker.js";
import { Work } from "./work.js";

const SENTENCES = 5;
const ENOUGH_A_CLIP_S = 4;
const USUALLY_WANTED_S = 10;
const PAUSE_IN_TYPING_MS = 400;
const NAMES_LOOKED_THROUGH = 1000;

export class Enrol {
  /** @param onVerify called with a speaker whom the user wants to try */
  constructor(panel, onVerify) {
    this.onVerify = onVerify;
    this.cards = [];
    this.sentence = 1;
    this.known = null;
    this.wanted = USUALLY_WANTED_S;
    this.answer = null;
    this.title = h("h2", {});
    this.lead = h("p", { class: "lead" });
    this.name = h("input", { type: "text", id: freshId("name"), autocomplete: "off", spellcheck: "false", maxlength: 200, oninput: () => this.named() });
    this.nameLabel = h("label", { for: this.name.id });
    this.knownLine = h("p", { class: "soft small", hidden: true });
    this.readLabel = h("p", { class: "soft small" });
    this.prompt = h("p", { class: "prompt" });
    this.another = h("button", { type: "button", class: "link small", onclick: () => this.nextSentence() });
    this.taker = new Taker({ onClip: (one) => this.add(one), several: true, enough: ENOUGH_A_CLIP_S, label: () => t("enrol.what") });
    this.ring = new Ring();
    this.wantedLine = h("p", { class: "words" });
    this.list = h("ul", { class: "clips" });
    this.work = new Work("enrol.go", () => this.enrol());
    this.progress = h("div", { class: "progress" }, this.ring.element, this.wantedLine);
    this.form = h(
      "div", { class: "stack" },
      h("div", { class: "card stack" }, h("div", {}, this.nameLabel, this.name), this.knownLine),
      h("div", { class: "card stack centre" }, h("div", { class: "stack reading" }, this.readLabel, this.prompt, h("p", {}, this.another)), this.taker.element),
      h("div", { class: "card stack" }, this.progress, this.list),
      this.work.form,
    );
    this.result = h("div", { class: "card stack", hidden: true });
    panel.append(h("div", {}, this.title, this.lead), this.form, this.result);
    onLanguage(() => this.say());
    this.say();
  }

  say() {
    this.title.textContent = t("enrol.title");
    this.lead.textContent = t("enrol.lead");
    this.nameLabel.textContent = t("enrol.name");
    this.readLabel.textContent = t("enrol.read");
    this.prompt.textContent = t(`enrol.sentence.${this.sentence}`);
    this.another.textContent = t("enrol.another");
    this.list.setAttribute("aria-label", t("enrol.clips"));
    this.count();
    this.show();
  }

  nextSentence() {
    this.sentence = (this.sentence % SENTENCES) + 1;
    this.prompt.textContent = t(`enrol.sentence.${this.sentence}`);
  }

  named() {
    this.work.clear();
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.lookUp(), PAUSE_IN_TYPING_MS);
  }

  /** Find out how much is known of whoever has this name. */
  async lookUp() {
    const name = this.name.value.trim();
    let known = null;
    try {
      if (name) known = await this.find(name);
    } catch {
      // Without this the progress starts from nothing; enrolling will say what is wrong.
    }
    if (name !== this.name.value.trim()) return;
    this.known = known;
    this.count();
  }

  async find(name) {
    const { speakers, wanted_speech_s: wanted } = await api.people(0, NAMES_LOOKED_THROUGH);
    this.wanted = wanted;
    return speakers.find(({ speaker }) => speaker === name) ?? null;
  }

  add(one) {
    const item = h("li", {});
    const card = new ClipCard(one, () => this.drop(card));
    card.item = item;
    item.append(card.element);
    this.cards.push(card);
    this.list.append(item);
    this.nextSentence();
    this.work.clear();
    this.count();
    card.draw();
  }

  drop(card) {
    card.close();
    card.item.remove();
    this.cards = this.cards.filter((other) => other !== card);
    this.work.clear();
    this.count();
    (this.cards.at(-1)?.remove ?? this.taker.button).focus();
  }

  /** Bring the ring and its words up to date. */
  count() {
    const before = this.known?.speech_s ?? 0;
    const recorded = this.cards.reduce((sum, { clip }) => sum + (clip.reasons.length ? 0 : (clip.speech ?? clip.seconds ?? 0)), 0);
    const missing = this.wanted - before - recorded;
    this.ring.show(before / this.wanted, (before + recorded) / this.wanted);
    this.wantedLine.textContent = missing > 0.05
      ? t("enrol.missing", { seconds: seconds(missing) })
      : t("enrol.pending");
    this.knownLine.hidden = !this.known;
    if (this.known) this.knownLine.textContent = t("enrol.known", { name: this.known.speaker });
  }

  async enrol() {
    const name = this.name.value.trim();
    if (!name) {
      this.name.focus();
      throw new Problem({ type: "incomplete", detail: t("enrol.needName") });
    }
    if (!this.cards.length) throw new Problem({ type: "incomplete", detail: t("record.idle") });
    const form = new FormData();
    for (const { clip } of this.cards) form.append("clips", clip.blob, clip.name);
    try {
      this.answer = await api.enrol(name, form);
    } catch (problem) {
      this.blame(problem.clips ?? []);
      throw problem;
    }
    this.wanted = this.answer.wanted_speech_s;
    for (const card of this.cards) {
      card.close();
      card.item.remove();
    }
    this.cards = [];
    this.show();
    announce(`${t("enrol.done", { name })}. ${this.state()}`);
    lead(this.result);
    this.result.querySelector("button").focus();
  }

  /** Show with each clip what is wrong with it; the answer lists them in the order they were sent. */
  blame(clips) {
    this.cards.forEach((card, place) => {
      card.clip.reasons = clips[place]?.reasons ?? [];
      card.say();
    });
    this.count();
  }

  state() {
    const { complete, speech_s: speech, wanted_speech_s: wanted } = this.answer;
    return t(complete ? "enrol.complete" : "enrol.incomplete", { speech: seconds(speech), wanted: seconds(wanted) });
  }

  show() {
    this.form.hidden = this.answer !== null;
    this.result.hidden = this.answer === null;
    if (this.answer === null) return;
    const { speaker, added, already, percent, warnings } = this.answer;
    const ring = new Ring();
    ring.show(0, 0);
    // Drawn empty first, so that it is seen to fill.
    requestAnimationFrame(() => requestAnimationFrame(() => ring.show(percent / 100)));
    const counts = [counted("enrol.added", added)];
    if (already) counts.push(counted("enrol.already", already));
    this.result.replaceChildren(
      h("h3", { class: "verdict same" }, t("enrol.done", { name: speaker })),
      h(
        "div", { class: "progress" }, ring.element,
        h("div", {}, h("p", { class: "words" }, this.state()), h("p", { class: "soft" }, counts.join(spoken() === "zh" ? "，" : ", "))),
      ),
      ...[warningList(warnings)].filter(Boolean),
      h(
        "div", { class: "row" },
        h("button", { type: "button", class: "primary", onclick: () => this.onVerify(speaker) }, t("enrol.try", { name: speaker })),
        h("button", { type: "button", class: "plain", onclick: () => this.again(speaker) }, t("enrol.more")),
        h("button", { type: "button", class: "plain", onclick: () => this.again("") }, t("enrol.next")),
      ),
    );
  }

  /** Back to recording, for the same person or another. */
  again(name) {
    this.answer = null;
    this.known = null;
    this.name.value = name;
    this.show();
    this.count();
    this.lookUp();
    (name ? this.taker.button : this.name).focus();
  }
}
