// "Is this the same person?": two recordings, or a recording and somebody who is enrolled.

import * as api from "./api.js";
import { clipFacts, details, facts, HEADING, likelihoodWords, meaning, originWords, replayLine, scaleOf, warningList } from "./answer.js";
import { announce, freshId, h, lead } from "./dom.js";
import { number, onLanguage, percent, score, spoken, t } from "./i18n.js";
import { Problem } from "./api.js";
import { likelihood } from "./scale.js";
import { Slot } from "./slot.js";
import { Work } from "./work.js";

const NAMES_OFFERED = 200;

export class Verify {
  constructor(panel) {
    this.answer = null;
    const changed = () => this.forget();
    this.first = new Slot({ onChange: changed, label: () => t("verify.first") });
    this.second = new Slot({ onChange: changed, label: () => t("verify.second") });
    this.title = h("h2", {});
    this.lead = h("p", { class: "lead" });
    this.firstName = h("h3", {});
    this.secondName = h("h3", {});
    this.names = h("datalist", { id: freshId("names") });
    this.name = h("input", {
      type: "text", id: freshId("name"), list: this.names.id, autocomplete: "off", spellcheck: "false", maxlength: 200, oninput: changed,
    });
    this.nameLabel = h("label", { for: this.name.id });
    this.person = h("div", { hidden: true }, this.nameLabel, this.name, this.names);
    this.choices = ["recording", "person"].map((value) => {
      const input = h("input", { type: "radio", name: "against", value, checked: value === "recording", onchange: () => this.choose(value) });
      return { value, input, words: h("span", {}) };
    });
    this.choice = h(
      "div", { class: "choice", role: "radiogroup" }, this.choices.map(({ input, words }) => h("label", {}, input, words)),
    );
    this.work = new Work("verify.go", () => this.compare());
    this.result = h("div", { class: "stack", hidden: true });
    panel.append(
      h("div", {}, this.title, this.lead),
      h(
        "div", { class: "pair" },
        h("div", { class: "card stack" }, h("div", { class: "row head" }, this.firstName), this.first.element),
        h("div", { class: "card stack" }, h("div", { class: "row head" }, this.secondName, this.choice), this.second.element, this.person),
      ),
      this.work.form, this.result,
    );
    onLanguage(() => this.say());
    this.say();
  }

  say() {
    this.title.textContent = t("verify.title");
    this.lead.textContent = t("verify.lead");
    this.firstName.textContent = t("verify.first");
    this.secondName.textContent = t("verify.second");
    this.nameLabel.textContent = t("verify.name");
    this.choice.setAttribute("aria-label", t("verify.with"));
    for (const { value, words } of this.choices) words.textContent = t(`verify.${value}`);
    this.show();
  }

  choose(value) {
    const isPerson = value === "person";
    for (const one of this.choices) one.input.checked = one.value === value;
    this.person.hidden = !isPerson;
    this.second.element.hidden = isPerson;
    if (isPerson) this.offerNames();
    this.forget();
  }

  /** Compare with a person, as the other tabs propose. */
  against(speaker) {
    this.name.value = speaker;
    this.choose("person");
  }

  async offerNames() {
    try {
      const { speakers } = await api.people(0, NAMES_OFFERED);
      this.names.replaceChildren(...speakers.map(({ speaker }) => h("option", { value: speaker })));
    } catch {
      // The names are a help in typing; the comparison itself will say what is wrong.
    }
  }

  forget() {
    this.answer = null;
    this.work.clear();
    this.show();
  }

  async compare() {
    const first = this.first.clip;
    const speaker = this.person.hidden ? null : this.name.value.trim();
    const second = speaker === null ? this.second.clip : speaker;
    if (!first || !second) throw new Problem({ type: "incomplete", detail: t("verify.need") });
    const form = new FormData();
    form.append("first", first.blob, first.name);
    if (speaker === null) form.append("second", second.blob, second.name);
    else form.append("speaker", speaker);
    const [answer, calibration] = await Promise.all([api.verify(form), api.calibration()]);
    this.answer = { ...answer, calibration };
    this.show();
    announce(`${t(this.verdict())}. ${this.sentences().join(" ")}`);
    lead(this.result);
  }

  verdict() {
    const { decision, agree, answers } = this.answer;
    if (decision) return `verify.${decision}`;
    const undecided = Object.values(answers).some((one) => one.decision === null);
    return undecided || agree ? "verify.undecided" : "verify.split";
  }

  /** The answer in words. */
  sentences() {
    const answers = Object.entries(this.answer.answers);
    const verdict = this.verdict();
    if (verdict === "verify.split") {
      const named = (decision) => answers.filter(([, one]) => one.decision === decision).map(([store]) => store).join(", ");
      return [t("verify.splitWhy", { same: named("same"), different: named("different") })];
    }
    if (verdict === "verify.undecided") return [t("verify.undecidedWhy")];
    if (answers.length > 1) return [t("verify.agreeWhy")];
    return [this.scoreSentence(answers[0][1])];
  }

  scoreSentence(one) {
    if (one.threshold === null) return t("verify.scoreOnly", { score: score(one.score) });
    return t(one.decision === "same" ? "verify.above" : "verify.below", { score: score(one.score), threshold: score(one.threshold) });
  }

  show() {
    this.result.hidden = this.answer === null;
    if (this.answer === null) return this.result.replaceChildren();
    const { decision, answers } = this.answer;
    const several = Object.keys(answers).length > 1;
    const head = h(
      "div", { class: "card stack" },
      h("h3", { class: `verdict ${decision ?? ""}`, tabindex: "-1" }, t(this.verdict())),
      this.sentences().map((words) => h("p", { class: "words" }, words)),
      several ? null : this.storeAnswer(...Object.entries(answers)[0]),
    );
    const beside = several
      ? h("div", { class: "pair" }, Object.entries(answers).map(([store, one]) => h("div", { class: "card stack" }, this.headOf(store, one), this.storeAnswer(store, one))))
      : null;
    const warnings = warningList(Object.values(answers).flatMap((one) => one.warnings));
    const end = h("div", { class: "card stack" }, warnings, replayLine(this.answer.replay), this.details());
    this.result.replaceChildren(...[head, beside, end].filter(Boolean));
    return undefined;
  }

  headOf(store, one) {
    const kind = { same: "good", different: "bad" }[one.decision] ?? "";
    const words = t(one.decision ? `verify.${one.decision}` : "verify.undecided");
    return h("div", { class: "stack" }, h("div", { class: "row" }, h("h3", {}, store), h("span", { class: `badge ${kind}` }, words)), h("p", {}, this.scoreSentence(one)));
  }

  storeAnswer(store, one) {
    const calibration = this.answer.calibration[store];
    const meant = meaning(calibration, one.score);
    return h(
      "div", { class: "answer", "data-store": store },
      scaleOf(calibration, one.threshold, [one.score]),
      one.llr === null ? null : h("p", {}, this.likelihood(one, calibration)),
      meant ? h("p", { class: "soft small" }, meant) : null,
    );
  }

  /** How likely the score is; and, where the threshold decides otherwise, why. */
  likelihood(one, calibration) {
    const words = [likelihoodWords(one.llr, calibration)];
    const { side } = likelihood(one.llr);
    if (one.decision === "different" && side === "same") words.push(t("likelihood.stricter"));
    if (one.decision === "same" && side === "different") words.push(t("likelihood.laxer"));
    return words.join(spoken() === "zh" ? "" : " ");
  }

  details() {
    const { answers, first, second, request_id: request } = this.answer;
    const pairs = Object.entries(answers).flatMap(([store, one]) => [
      [store, HEADING],
      [t("facts.score"), one.normalised ? `${score(one.score)} (${t("facts.normalised")})` : score(one.score)],
      [t("facts.llr"), one.llr === null ? null : number(one.llr, { maximumFractionDigits: 1, minimumFractionDigits: 1 })],
      [t("facts.cosine"), one.normalised ? score(one.cosine) : null],
      [t("facts.threshold"), one.threshold === null ? null : t("facts.thresholdValue", { threshold: score(one.threshold), name: one.threshold_name })],
      [t("facts.origin"), originWords(one.threshold_origin)],
      [t("facts.fmr"), one.threshold_fmr === null ? null : percent(one.threshold_fmr)],
      [t("facts.fnmr"), one.threshold_fnmr === null ? null : percent(one.threshold_fnmr)],
      [t("facts.model"), one.model],
      [t("facts.fingerprint"), one.fingerprint.slice(0, 16)],
      [t("facts.engine"), one.engine],
    ]);
    const other = second.speaker === undefined
      ? clipFacts(t("verify.second"), second)
      : [[second.speaker, HEADING], [t("facts.known"), String(second.utterances)]];
    return details(facts([...pairs, ...clipFacts(t("verify.first"), first), ...other, [t("facts.request"), request]]));
  }
}
