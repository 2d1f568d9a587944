// A place for one recording: a taker while it is empty, the recording's card when it is not.

import { ClipCard } from "./clip.js";
import { h } from "./dom.js";
import { Taker } from "./taker.js";

export class Slot {
  constructor({ onChange, label }) {
    this.onChange = onChange;
    this.card = null;
    this.taker = new Taker({ onClip: (one) => this.put(one), label });
    this.element = h("div", { class: "stack" }, this.taker.element);
  }

  get clip() {
    return this.card ? this.card.clip : null;
  }

  put(one) {
    const mayMove = this.element.contains(document.activeElement);
    this.card?.close();
    this.card = new ClipCard(one, () => this.empty());
    this.taker.element.hidden = true;
    this.element.append(this.card.element);
    // Whoever came here by keyboard goes on from the recording.
    if (mayMove) this.card.play.focus();
    this.onChange();
  }

  empty() {
    this.card?.close();
    this.card = null;
    this.taker.element.hidden = false;
    this.taker.button.focus();
    this.onChange();
  }

  /** Show what the service found wrong with the recording. */
  blame(reasons) {
    if (!this.card) return;
    this.card.clip.reasons = reasons;
    this.card.say();
  }
}
