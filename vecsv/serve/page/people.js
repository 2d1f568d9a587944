// Everybody the service knows, and erasing them.

import * as api from "./api.js";
import { announce, h } from "./dom.js";
import { counted, onLanguage, seconds, t } from "./i18n.js";
import { problemBox } from "./problem.js";
import { Ring } from "./ring.js";

const A_PAGE = 50;

export class People {
  /**
   * @param onVerify called with a speaker to verify
   * @param onEnrol called when there is nobody yet and the user wants to begin
   * @param onErased called when somebody is gone
   */
  constructor(panel, { onVerify, onEnrol, onErased }) {
    Object.assign(this, { onVerify, onEnrol, onErased });
    this.speakers = [];
    this.total = null;
    this.turn = 0;
    this.title = h("h2", { tabindex: "-1" });
    this.lead = h("p", { class: "lead" });
    this.place = h("div", {});
    this.list = h("ul", { class: "people" });
    this.more = h("button", { type: "button", class: "plain", hidden: true, onclick: () => this.load(this.speakers.length) });
    this.empty = h("div", { class: "empty stack", hidden: true });
    this.card = h("div", { class: "card stack" }, this.list, this.empty, this.more);
    this.dialog = document.getElementById("erase");
    panel.append(
      h("div", {}, this.title, this.lead), this.place,
      this.card,
    );
    onLanguage(() => this.say());
    this.say();
  }

  say() {
    this.title.textContent = t("people.title");
    this.lead.textContent = this.total === null ? t("people.lead") : `${t("people.lead")} ${counted("people.total", this.total)}`;
    this.card.hidden = this.total === null;
    this.more.textContent = t("people.more");
    this.more.hidden = this.total === null || this.speakers.length >= this.total;
    this.empty.hidden = this.total !== 0;
    this.empty.replaceChildren(
      h("p", {}, t("people.none")), h("p", {}, h("button", { type: "button", class: "primary", onclick: this.onEnrol }, t("people.first"))),
    );
    this.list.replaceChildren(...this.speakers.map((one) => this.row(one)));
  }

  /** Read the list from its beginning. */
  async refresh() {
    await this.load(0);
  }

  async load(from) {
    this.turn += 1;
    const { turn } = this;
    try {
      const { speakers, total } = await api.people(from, A_PAGE);
      // Who asked again meanwhile gets the newer answer.
      if (turn !== this.turn) return;
      this.speakers = [...this.speakers.slice(0, from), ...speakers];
      this.total = total;
      this.place.replaceChildren();
    } catch (problem) {
      this.place.replaceChildren(problemBox(problem));
    }
    this.say();
  }

  row(one) {
    const ring = new Ring(true);
    ring.show(one.percent / 100);
    const known = [];
    if (one.enrolled) known.push(counted("people.enrolled", one.enrolled));
    if (one.utterances) known.push(counted("people.stored", one.utterances));
    known.push(t("people.speech", { seconds: seconds(one.speech_s) }));
    return h(
      "li", {}, ring.element,
      h("div", {}, h("p", { class: "who" }, one.speaker), h("p", { class: "soft small" }, known.join(" · "))),
      h(
        "div", { class: "row" },
        h("button", { type: "button", class: "plain", "aria-label": t("people.verifyNamed", { name: one.speaker }), onclick: () => this.onVerify(one.speaker) }, t("people.verify")),
        h("button", { type: "button", class: "plain", "aria-label": t("people.eraseNamed", { name: one.speaker }), onclick: () => this.confirm(one.speaker) }, t("people.erase")),
      ),
    );
  }

  confirm(speaker) {
    document.getElementById("erase-title").textContent = t("people.eraseTitle", { name: speaker });
    document.getElementById("erase-what").textContent = t("people.eraseWhat");
    this.dialog.returnValue = "no";
    this.dialog.onclose = () => {
      if (this.dialog.returnValue === "yes") this.erase(speaker);
    };
    this.dialog.showModal();
  }

  async erase(speaker) {
    try {
      await api.erase(speaker);
      this.onErased();
      await this.refresh();
      announce(t("people.erased", { name: speaker }));
    } catch (problem) {
      this.place.replaceChildren(problemBox(problem));
    }
    // The button that was pressed is gone.
    this.title.focus();
  }
}
