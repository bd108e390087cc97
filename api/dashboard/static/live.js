// Keeps a page up to date: asks for its live part again when the server says that it has changed.
"use strict";

(() => {
  const QUIET_AFTER = 20_000; // a stream ends, or says something, within 10 s
  const LATE_AFTER = 5_000;
  const POLL_EVERY = 5_000; // where streams do not get through
  const STALE_AFTER = 60_000; // "2 minutes ago" is wrong by then, even where nothing changed
  const region = () => document.getElementById("live"); // without `data-live` nothing will change any more
  const banner = document.getElementById("offline");
  let source = null;
  let heard = Date.now();
  let asked = Date.now();

  const isSilent = () => !source || source.readyState !== EventSource.OPEN;

  function refresh() {
    asked = Date.now();
    region().dispatchEvent(new Event("live", { bubbles: true }));
  }

  function hear() {
    heard = Date.now();
    banner.hidden = true;
  }

  function open() {
    close();
    if (!region().dataset.live) return;
    source = new EventSource(region().dataset.live);
    source.addEventListener("open", hear);
    source.addEventListener("beat", hear);
    source.addEventListener("changed", () => {
      hear();
      refresh();
    });
  }

  function close() {
    source?.close();
    source = null;
  }

  function look() {
    if (document.hidden) return;
    if (!region().dataset.live) return close();
    if (Date.now() - asked > STALE_AFTER) refresh();
    const silence = Date.now() - heard;
    if (silence > (isSilent() ? LATE_AFTER : QUIET_AFTER)) {
      banner.hidden = false;
      banner.querySelector("[data-seconds]").textContent = Math.round(silence / 1000);
      if (Date.now() - asked > POLL_EVERY) {
        refresh();
        if (isSilent() && source?.readyState !== EventSource.CONNECTING) open();
      }
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return close();
    open();
  });
  document.addEventListener("htmx:after:request", (event) => {
    const { ctx } = event.detail;
    if (ctx.sourceElement === region() && ctx.response?.raw.ok) hear();
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("offline", close);
  window.addEventListener("online", open);
  setInterval(look, 1000);
  if (!document.hidden) open();
})();
