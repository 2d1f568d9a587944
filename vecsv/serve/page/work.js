// A button that asks the service something: busy while it waits, with a place for what went wrong.

import { announce, h, lead } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { problemBox, wordsOf } from "./problem.js";

export class Work {
  /** @param words key of the button's words; @param ask what to do, may throw a Problem */
  constructor(words, ask) {
    this.words = words;
    this.ask = ask;
    this.busy = false;
    this.problem = null;
    this.button = h("button", { type: "submit", class: "primary wide" });
    this.place = h("div", {});
    this.form = h("form", { class: "stack", novalidate: true, onsubmit: (event) => this.submit(event) }, this.button, this.place);
    onLanguage(() => this.say());
    this.say();
  }

  say() {
    this.button.textContent = t(this.busy ? "common.working" : this.words);
    this.button.setAttribute("aria-busy", String(this.busy));
    this.place.replaceChildren(...(this.problem ? [problemBox(this.problem)] : []));
  }

  async submit(event) {
    event.preventDefault();
    if (this.busy) return;
    this.busy = true;
    this.problem = null;
    this.say();
    try {
      await this.ask();
    } catch (problem) {
      this.problem = problem;
    }
    this.busy = false;
    this.say();
    if (this.problem) {
      announce(wordsOf(this.problem).detail);
      lead(this.place);
    }
  }

  /** Take a problem away that no longer holds. */
  clear() {
    this.problem = null;
    this.say();
  }
}
