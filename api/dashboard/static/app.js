// What every page does: copies ids, and sends the session's token with what htmx sends.
"use strict";

const csrfToken = document.querySelector('meta[name="csrf-token"]').content;

document.addEventListener("htmx:config:request", (event) => {
  event.detail.ctx.request.headers["x-csrf-token"] = csrfToken;
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await copy(button);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
});

async function copy(button) {
  const text = button.dataset.copy;
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // From a server in the house, over plain HTTP, browsers give no other clipboard.
  const field = document.createElement("textarea");
  field.value = text;
  button.after(field); // beside it: outside an open dialogue nothing can be selected
  field.select();
  document.execCommand("copy");
  field.remove();
  button.focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-dialog]");
  if (!link) return;
  event.preventDefault(); // without scripts the link leads to a page that asks the same
  document.getElementById(link.dataset.dialog).showModal();
});

// What a link fetched into a dialogue is a question: ask it.
document.addEventListener("htmx:after:swap", (event) => {
  const asks = event.target.closest?.("[data-asks]");
  if (!asks) return;
  const dialog = document.getElementById("asked");
  if (dialog.firstElementChild) dialog.showModal();
  else location.assign(asks.href); // there is nothing to ask: the page itself says why
});

// Whether the server is there, where nothing else of the page asks: what is typed is not lost by a click.
const notices = document.getElementById("notices");

async function look() {
  if (document.hidden || document.getElementById("live")) return;
  const isThere = await fetch(notices.dataset.ping, { cache: "no-store" }).catch(() => null);
  notices.textContent = isThere ? "" : notices.dataset.offline;
}

setInterval(look, 10_000);
for (const name of ["online", "offline"]) window.addEventListener(name, look);
document.addEventListener("htmx:error", (event) => {
  if (event.target.id !== "live" && event.detail.ctx) notices.textContent = notices.dataset.offline;
});

// That a page is on its way; a browser that comes back to this one begins anew.
window.addEventListener("beforeunload", () => document.body.classList.add("leaving"));
window.addEventListener("pageshow", () => document.body.classList.remove("leaving"));
