// What every page does: copies ids, and sends the session's token with what htmx sends.
"use strict";

const csrfToken = document.querySelector('meta[name="csrf-token"]').content;

document.addEventListener("htmx:config:request", (event) => {
  event.detail.ctx.request.headers["x-csrf-token"] = csrfToken;
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-dialog]");
  if (!link) return;
  event.preventDefault(); // without scripts the link leads to a page that asks the same
  document.getElementById(link.dataset.dialog).showModal();
});

// What a link fetched into a dialogue is a question: ask it.
document.addEventListener("htmx:after:swap", (event) => {
  const asks = event.target.closest?.("[data-asks]");
  if (asks) document.getElementById("asked").showModal();
});
