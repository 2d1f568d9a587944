// Puts the page together.

import { Enrol } from "./enrol.js";
import * as i18n from "./i18n.js";
import { startKeys } from "./key.js";
import { People } from "./people.js";
import { hindrance } from "./recorder.js";
import { Search } from "./search.js";
import { Tabs } from "./tabs.js";
import { startTheme } from "./theme.js";
import { Verify } from "./verify.js";

i18n.start();
startTheme(document.getElementById("theme"));
startKeys(() => people.refresh());

const language = document.getElementById("language");
const sayLanguage = () => {
  const other = i18n.spoken() === "en" ? "zh" : "en";
  language.textContent = i18n.t("page.language");
  language.lang = other === "zh" ? "zh-Hans" : "en";
  language.setAttribute("aria-label", i18n.t("page.languageLabel"));
  language.onclick = () => i18n.choose(other);
  document.title = `vecsv · ${i18n.t("page.title")}`;
};
i18n.onLanguage(sayLanguage);
sayLanguage();

document.getElementById("insecure").hidden = hindrance() !== "insecure";

const panel = (name) => document.getElementById(name);
const verify = new Verify(panel("verify"));
const search = new Search(panel("search"));
const against = (speaker) => {
  verify.against(speaker);
  tabs.go("verify");
  verify.first.taker.button.focus();
};
const enrol = new Enrol(panel("enrol"), against);
const people = new People(panel("people"), {
  onVerify: against,
  onEnrol: () => { tabs.go("enrol"); enrol.name.focus(); },
  // Answers that may name whoever was erased go too.
  onErased: () => { verify.forget(); search.forget(); },
});
const tabs = new Tabs(["enrol", "verify", "search", "people"], (name) => {
  if (name === "people") people.refresh();
});

// Ask for the key at once where there is one to give, not when somebody has just recorded.
people.refresh();
