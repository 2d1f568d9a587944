// How much of the wanted speech is there, as a ring.

import { s } from "./dom.js";
import { percent, t } from "./i18n.js";

const RADIUS = 42;
const LENGTH = 2 * Math.PI * RADIUS;

export class Ring {
  constructor(small = false) {
    const circle = (name) => s("circle", {
      class: name, cx: 50, cy: 50, r: RADIUS, transform: "rotate(-90 50 50)", "stroke-dasharray": LENGTH, "stroke-dashoffset": name === "track" ? 0 : LENGTH,
    });
    [this.track, this.pending, this.done] = ["track", "pending", "done"].map(circle);
    this.label = s("text", { x: 50, y: 50, "aria-hidden": "true" });
    this.element = s(
      "svg", { class: small ? "ring little" : "ring", viewBox: "0 0 100 100", role: "img" },
      this.track, this.pending, this.done, this.label,
    );
  }

  /** Show the share that is enrolled and the share that there would be with what has been recorded. */
  show(done, pending = done) {
    const most = Math.max(done, pending);
    for (const [arc, share] of [[this.done, done], [this.pending, most]]) {
      arc.setAttribute("stroke-dashoffset", LENGTH * (1 - Math.min(1, share)));
      // A round cap shows even where there is nothing.
      arc.setAttribute("visibility", share > 0 ? "visible" : "hidden");
    }
    this.label.textContent = percent(Math.min(1, most));
    this.element.setAttribute("aria-label", t("ring.label", { percent: percent(Math.min(1, most)) }));
  }
}
