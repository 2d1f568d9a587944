// The page's words in two languages, and numbers as each writes them.

import { en } from "./words_en.js";
import { zh } from "./words_zh.js";

export const dictionaries = { en, zh };
const TAGS = { en: "en", zh: "zh-Hans" };
const KEPT = "vecsv-language";
const listeners = new Set();

let language = "en";

/** The language of a list of preferences: the first one that the page speaks. */
export function pick(preferences) {
  for (const preference of preferences) {
    const stem = preference.toLowerCase().split("-")[0];
    if (stem in dictionaries) return stem;
  }
  return "en";
}

export function start() {
  const kept = localStorage.getItem(KEPT);
  speak(kept in dictionaries ? kept : pick(navigator.languages ?? [navigator.language]));
}

/** Choose a language and have everything said anew. */
export function choose(wanted) {
  localStorage.setItem(KEPT, wanted);
  speak(wanted);
}

function speak(wanted) {
  language = wanted;
  document.documentElement.lang = TAGS[language];
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
  for (const listener of listeners) listener();
}

export function spoken() {
  return language;
}

/** Have `listener()` called when the language changes; gives a function that ends it. */
export function onLanguage(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whether there are words for a key. */
export function known(key) {
  return key in dictionaries[language];
}

/** The words for a key, with {name} replaced by values. */
export function t(key, values = {}) {
  const words = dictionaries[language][key];
  if (words === undefined) throw new Error(`no words for ${key}`);
  return words.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** The words for so many of something: keys end in .one and .other. */
export function counted(key, count, values = {}) {
  const form = new Intl.PluralRules(language).select(count) === "one" ? "one" : "other";
  return t(`${key}.${form}`, { count: number(count), ...values });
}

export function number(value, options = {}) {
  return new Intl.NumberFormat(TAGS[language], options).format(value);
}

/** A share in per cent, with more digits the smaller it is. */
export function percent(share) {
  const digits = share > 0 && share < 0.01 ? 2 : share < 0.1 ? 1 : 0;
  return number(share, { style: "percent", maximumFractionDigits: digits });
}

/** A score, as many digits as tell two apart. */
export function score(value) {
  return number(value, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

/** Seconds with one decimal. */
export function seconds(value) {
  return number(value, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
}
