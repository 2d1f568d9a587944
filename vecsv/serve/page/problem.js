// What went wrong, and what to do about it, in words.

import { h } from "./dom.js";
import { counted, known, t } from "./i18n.js";

/** A box that says what went wrong. */
export function problemBox(problem) {
  const { detail, hint } = wordsOf(problem);
  const box = h("div", { class: "problem", role: "alert" }, h("p", { class: "detail" }, detail));
  if (hint) box.append(h("p", { class: "hint" }, hint));
  if (problem.requestId && problem.status >= 500) {
    box.append(h("p", { class: "soft small" }, t("problem.request", { id: problem.requestId })));
  }
  return box;
}

/** The page's own words for problems it knows, the service's for the others. */
export function wordsOf(problem) {
  if (!(problem.type || problem.status)) {
    // A defect of the page itself: better seen than hidden.
    return { detail: t("problem.page"), hint: problem.message };
  }
  const key = `problem.${problem.type}`;
  const detail = known(key) ? t(key, { detail: problem.detail }) : clipWords(problem) || problem.detail || t("problem.other");
  if (problem.waitSeconds !== null && problem.waitSeconds !== undefined) {
    return { detail, hint: counted("problem.wait", Math.max(1, Math.ceil(problem.waitSeconds))) };
  }
  return { detail, hint: known(`${key}.hint`) ? t(`${key}.hint`) : problem.hint };
}

function clipWords(problem) {
  return known(`reason.${problem.type}`) ? t(`reason.${problem.type}`) : "";
}
