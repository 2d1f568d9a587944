// The dialog that asks for a key, and forgetting it.

import { forgetKey, hasKey, onKeyWanted } from "./api.js";
import { announce } from "./dom.js";
import { t } from "./i18n.js";

/** Let requests ask for a key; `onForgotten()` is called when the user has it forgotten. */
export function startKeys(onForgotten) {
  const dialog = document.getElementById("key");
  const field = document.getElementById("key-value");
  const signOut = document.getElementById("sign-out");
  let waiting = null;

  const show = () => { signOut.hidden = !hasKey(); };

  onKeyWanted((refused) => {
    // Several requests at once are answered by one dialog.
    waiting ??= ask(refused).finally(() => { waiting = null; setTimeout(show); });
    return waiting;
  });

  function ask(refused) {
    document.getElementById("key-problem").textContent = refused ? t("key.wrong") : "";
    field.value = "";
    show();
    dialog.returnValue = "";
    dialog.showModal();
    field.focus();
    return new Promise((resolve) => {
      dialog.onclose = () => resolve(dialog.returnValue === "given" ? field.value.trim() : null);
    });
  }

  document.getElementById("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) dialog.close("given");
  });
  document.getElementById("key-cancel").addEventListener("click", () => dialog.close(""));
  signOut.addEventListener("click", () => {
    forgetKey();
    show();
    announce(t("key.forgotten"));
    onForgotten();
  });
  show();
}
