// Parts of an answer that verifying and searching share: the chart, what the score means, and the details.

import { chart } from "./chart.js";
import { reasonsInWords } from "./clip.js";
import { h } from "./dom.js";
import { known, number, percent, score, seconds, spoken, t } from "./i18n.js";
import { coarser, countAbove, likelihood, total } from "./scale.js";

/** The chart of one store's scale, or a line that says why there is none. */
export function scaleOf(calibration, threshold, marks) {
  if (!calibration?.histogram) return h("p", { class: "soft" }, t("meaning.missing"));
  const { histogram } = calibration;
  const words = [chartWords(histogram)];
  if (threshold !== null) words.push(t("chart.wordsThreshold", { threshold: score(threshold) }));
  if (marks.length) words.push(t("chart.wordsScore", { score: score(marks[0]) }));
  return chart({ histogram, threshold, marks, words: words.join(" ") });
}

function chartWords(histogram) {
  const bins = coarser(histogram);
  const summit = (counts) => {
    const bin = counts.indexOf(Math.max(...counts));
    return score((bins.edges[bin] + bins.edges[bin + 1]) / 2);
  };
  return t("chart.words", {
    low: score(bins.edges[0]), high: score(bins.edges.at(-1)), different: summit(bins.nonTargets), same: summit(bins.targets),
  });
}

/** What a score means among the calibration's pairs: how many strangers score as high, how many of one person as low. */
export function meaning(calibration, value) {
  if (!calibration?.histogram) return null;
  const { edges, targets, non_targets: nonTargets } = calibration.histogram;
  const strangers = total(nonTargets);
  const own = total(targets);
  const asHigh = countAbove(edges, nonTargets, value);
  const asLow = own - countAbove(edges, targets, value);
  return [["non", asHigh, strangers], ["target", asLow, own]]
    .map(([kind, count, all]) => t(`meaning.${kind}.${extent(count, all)}`, { total: number(all), percent: percent(count / all) }))
    .join(spoken() === "zh" ? "" : " ");
}

function extent(count, all) {
  if (count < 0.5) return "none";
  return count > all - 0.5 ? "all" : "some";
}

/** How likely a score is, in words. */
export function likelihoodWords(llr, calibration) {
  const histogram = calibration?.histogram;
  // Evidence for one person rests on how pairs of two scored, and the other way round.
  const most = histogram ? total(llr > 0 ? histogram.non_targets : histogram.targets) : undefined;
  const { side, strength, ratio, beyond } = likelihood(llr, most);
  if (side === "neither") return t("likelihood.neither");
  const shown = beyond ? t("likelihood.beyond", { ratio: number(ratio) }) : number(ratio);
  return t(`likelihood.${side}`, { ratio: shown, strength: t(`strength.${strength}`) });
}

/** Warnings of the service, which speaks English. */
export function warningList(warnings) {
  if (!warnings.length) return null;
  return h(
    "ul", { class: "warnings", "aria-label": t("warnings.title") },
    [...new Set(warnings)].map((warning) => h("li", { lang: "en" }, warning)),
  );
}

/** A list of facts: pairs of a name and a value; pairs without a value are left out. */
export function facts(pairs) {
  return h(
    "dl", { class: "facts" },
    pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [
      h("dt", { class: value === HEADING ? "wide" : null }, name),
      value === HEADING ? null : h("dd", { class: "numbers" }, value),
    ]),
  );
}

/** In place of a fact's value: its name stands as a heading. */
export const HEADING = Symbol("heading");

export function details(...parts) {
  return h("details", {}, h("summary", {}, t("facts.title")), ...parts);
}

export function originWords(origin) {
  if (origin === null) return null;
  return known(`facts.origin.${origin}`) ? t(`facts.origin.${origin}`) : origin;
}

/** What was measured on a recording. */
export function clipFacts(title, clip) {
  return [
    [title, HEADING],
    [t("facts.speech"), t("facts.speechValue", { speech: seconds(clip.speech_s), duration: seconds(clip.duration_s) })],
    [t("facts.snr"), clip.snr_db === null ? null : t("facts.decibels", { value: number(Math.round(clip.snr_db)) })],
    [t("facts.clipped"), clip.clipped > 0 ? percent(clip.clipped) : null],
    [t("warnings.title"), reasonsInWords(clip.verdicts)],
  ];
}

export function replayLine(replay) {
  const words = replay.checked ? t("replay.checked", { score: score(replay.spoof_score) }) : t("replay.unchecked");
  return h("p", { class: "soft small" }, words);
}
