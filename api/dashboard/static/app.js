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
  if (asks) document.getElementById("asked").showModal();
});
