// "Who is this?": one recording, and the people who sound most alike.

import * as api from "./api.js";
import { Problem } from "./api.js";
import { clipFacts, details, facts, HEADING, replayLine, scaleOf, warningList } from "./answer.js";
import { announce, h, lead } from "./dom.js";
import { counted, number, onLanguage, percent, score, t } from "./i18n.js";
import { Slot } from "./slot.js";
import { Work } from "./work.js";

const SHOWN = 5;

export class Search {
  constructor(panel) {
    this.answer = null;
    this.slot = new Slot({ onChange: () => this.forget(), label: () => t("search.what") });
    this.title = h("h2", {});
    this.lead = h("p", { class: "lead" });
    this.work = new Work("search.go", () => this.look());
    this.result = h("div", { class: "stack", hidden: true });
    panel.append(
      h("div", {}, this.title, this.lead), h("div", { class: "card" }, this.slot.element), this.work.form, this.result,
    );
    onLanguage(() => this.say());
    this.say();
  }

  say() {
    this.title.textContent = t("search.title");
    this.lead.textContent = t("search.lead");
    this.show();
  }

  forget() {
    this.answer = null;
    this.work.clear();
    this.show();
  }

  async look() {
    const { clip } = this.slot;
    if (!clip) throw new Problem({ type: "incomplete", detail: t("record.idle") });
    const form = new FormData();
    form.append("clip", clip.blob, clip.name);
    form.append("top_k", SHOWN);
    const [answer, calibration] = await Promise.all([api.search(form), api.calibration()]);
    this.answer = { ...answer, calibration };
    this.show();
    announce(this.headline());
    lead(this.result);
  }

  headline() {
    const { speaker, agree, answers } = this.answer;
    const best = Object.values(answers).map((one) => one.hits[0]).filter(Boolean);
    if (!best.length) return t("search.nobody");
    if (speaker) return t("search.found", { name: speaker });
    if (!agree) return t("search.split");
    return t(best.some((hit) => hit.passes === null) ? "search.closest" : "search.doubtful", { name: best[0].speaker });
  }

  show() {
    this.result.hidden = this.answer === null;
    if (this.answer === null) return this.result.replaceChildren();
    const { answers, speaker, clip, replay, request_id: request } = this.answer;
    const stores = Object.entries(answers);
    const pairs = stores.flatMap(([store, one]) => [
      [store, HEADING],
      [t("facts.threshold"), one.threshold === null ? null : score(one.threshold)],
      [t("facts.fpir"), one.threshold_fpir === null ? null : percent(one.threshold_fpir)],
      [t("facts.searched"), number(one.searched)],
      [t("facts.model"), one.model],
      [t("facts.fingerprint"), one.fingerprint.slice(0, 16)],
    ]);
    this.result.replaceChildren(
      h("h3", { class: `verdict ${speaker ? "same" : ""}`, tabindex: "-1" }, this.headline()),
      h("div", { class: "pair" }, stores.map(([store, one]) => this.ranking(store, one, stores.length > 1))),
      h(
        "div", { class: "card stack" },
        warningList(stores.flatMap(([, one]) => one.warnings)), replayLine(replay),
        details(facts([...pairs, ...clipFacts(t("search.what"), clip), [t("facts.request"), request]])),
      ),
    );
    return undefined;
  }

  ranking(store, one, several) {
    const calibration = this.answer.calibration[store];
    const edges = calibration?.histogram?.edges ?? [0, 1];
    const comparable = calibration && !calibration.normalised;
    const low = Math.min(edges[0], ...one.hits.map((hit) => hit.score));
    const place = (value) => Math.min(1, Math.max(0, (value - low) / (Math.max(edges.at(-1), 1) - low)));
    const rule = one.threshold === null
      ? t("search.noThreshold")
      : t("search.threshold", { threshold: score(one.threshold), fpir: percent(one.threshold_fpir) });
    return h(
      "div", { class: "card stack", "data-store": store },
      several ? h("h3", {}, store) : null,
      h("p", { class: "soft" }, counted("search.among", one.searched)),
      comparable && one.hits.length ? scaleOf(calibration, one.threshold, one.hits.map((hit) => hit.score)) : null,
      h("ol", { class: "hits" }, one.hits.map((hit) => this.hit(hit, one.threshold, place))),
      h("p", { class: "soft small" }, rule),
    );
  }

  hit(hit, threshold, place) {
    const bar = h("span", { class: "bar" });
    bar.style.setProperty("--at", place(hit.score).toFixed(4));
    const limit = threshold === null ? null : h("span", { class: "limit" });
    limit?.style.setProperty("--at", place(threshold).toFixed(4));
    const verdict = hit.passes === null
      ? null
      : h("span", { class: `badge ${hit.passes ? "good" : ""}` }, t(hit.passes ? "search.passes" : "search.fails"));
    return h(
      "li", { class: `${hit.rank === 1 ? "best" : ""} ${hit.passes ? "passes" : ""}` },
      h("span", { class: "rank numbers" }, h("span", { class: "unseen" }, t("search.rank", { rank: hit.rank })), h("span", { "aria-hidden": "true" }, hit.rank)),
      h("span", { class: "who" }, hit.speaker),
      h("span", { class: "row" }, verdict, h("span", { class: "numbers" }, h("span", { class: "unseen" }, t("search.scoreOf", { score: score(hit.score) })), h("span", { "aria-hidden": "true" }, score(hit.score)))),
      h("span", { class: "scale", "aria-hidden": "true" }, bar, limit),
    );
  }
}
