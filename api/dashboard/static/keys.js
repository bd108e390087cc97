// Keys for moving about: follows the links of the dialogue that lists them.
"use strict";

(() => {
  const PATIENCE = 2_000; // for the second key of two
  const dialog = document.getElementById("shortcuts");
  const isOn = () => "on" in document.getElementById("shortcuts-switch").dataset;
  const isBusy = ({ target }) =>
    target.closest?.("input, select, textarea") || document.querySelector("dialog[open]");
  let first = { key: "", at: 0 };

  /** What a key stands for here, as something to do; nothing for most. */
  function meaning(key) {
    if (key === "?") return () => dialog.showModal();
    const search = document.querySelector('main input[type="search"]');
    if (key === "/" && search) return () => search.focus();
    const before = Date.now() - first.at < PATIENCE ? `${first.key} ` : "";
    first = { key, at: Date.now() };
    const link = dialog.querySelector(`[data-keys="${CSS.escape(before + key)}"]`);
    return link && (() => link.click());
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (event.key.length !== 1 || !isOn() || isBusy(event)) return;
    const act = meaning(event.key);
    if (!act) return;
    event.preventDefault();
    act();
  });
  document.querySelector('[data-dialog="shortcuts"]').hidden = false; // without scripts there are no such keys
})();
