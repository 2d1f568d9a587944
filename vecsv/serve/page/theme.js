// Light, dark, or as the system has it.

import { onLanguage, t } from "./i18n.js";

const KEPT = "vecsv-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };

export function startTheme(button) {
  let theme = localStorage.getItem(KEPT);
  if (!(theme in NEXT)) theme = "auto";
  const apply = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-label", t(`page.theme.${theme}`));
    button.title = t(`page.theme.${theme}`);
    document.dispatchEvent(new Event("vecsv-theme"));
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    localStorage.setItem(KEPT, theme);
    apply();
  });
  onLanguage(apply);
  apply();
}
