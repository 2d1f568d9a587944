// Tabs: one panel at a time, arrow keys between them, the address keeps which.

export class Tabs {
  /** @param names of tabs; @param onShow called with the name of a tab that comes into view */
  constructor(names, onShow) {
    this.names = names;
    this.onShow = onShow;
    this.tabs = names.map((name) => document.getElementById(`tab-${name}`));
    this.tabs.forEach((tab, place) => {
      tab.addEventListener("click", () => this.go(names[place]));
      tab.addEventListener("keydown", (event) => this.key(event, place));
    });
    addEventListener("hashchange", () => this.show(this.asked()));
    this.show(this.asked());
  }

  asked() {
    const name = location.hash.slice(1);
    return this.names.includes(name) ? name : this.names[0];
  }

  go(name) {
    if (this.asked() === name && this.shown === name) return;
    history.replaceState(null, "", `#${name}`);
    this.show(name);
  }

  show(name) {
    this.shown = name;
    this.names.forEach((one, place) => {
      const chosen = one === name;
      this.tabs[place].setAttribute("aria-selected", String(chosen));
      this.tabs[place].tabIndex = chosen ? 0 : -1;
      document.getElementById(one).hidden = !chosen;
    });
    this.onShow(name);
  }

  key(event, place) {
    const last = this.names.length - 1;
    const next = {
      ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place === 0 ? last : place - 1, Home: 0, End: last,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.go(this.names[next]);
    this.tabs[next].focus();
  }
}
