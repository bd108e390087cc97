// Sends files with a bar that shows how far it is: by dropping them, or instead of a plain form.
"use strict";

for (const form of document.querySelectorAll("[data-upload]")) {
  const input = form.querySelector('input[type="file"]');
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sendFile(form, input, "/ui/files", new FormData(form), (file) => location.assign(form.dataset.then + file.id));
  });
  takeDrops(form, input, () => form.requestSubmit());
}

/** Gives an input what is dropped on `zone`, and calls `then`. */
function takeDrops(zone, input, then) {
  for (const name of ["dragenter", "dragover"]) {
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  zone.addEventListener("dragleave", (event) => zone.contains(event.relatedTarget) || zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    then();
  });
}

/** Posts a form; `done` gets what the file became. Whatever goes wrong is told in the zone's `.error`. */
function sendFile(zone, input, url, data, done) {
  const request = new XMLHttpRequest();
  const told = zone.querySelector(".error");
  const row = uploadRow(zone, () => request.abort());
  const fail = (message) => {
    row.remove();
    told.textContent = message;
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", told.id);
  };
  told.textContent = "";
  input.removeAttribute("aria-invalid");
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) row.querySelector("progress").value = event.loaded / event.total;
  });
  request.addEventListener("load", () => {
    if (request.status === 401) return location.reload();
    if (request.status !== 201) return fail(problemIn(request.responseText));
    row.remove();
    done(JSON.parse(request.responseText));
  });
  request.addEventListener("error", () => fail(zone.dataset.offline));
  request.addEventListener("abort", () => fail(zone.dataset.cancelled));
  request.open("POST", url);
  request.setRequestHeader("accept", "application/json");
  request.setRequestHeader("hx-request", "true");
  request.setRequestHeader("x-csrf-token", csrfToken);
  request.send(withoutToken(data));
}

function withoutToken(data) {
  data.delete("csrf_token");
  return data;
}

function uploadRow(zone, cancel) {
  const row = document.createElement("p");
  const bar = document.createElement("progress");
  const button = document.createElement("button");
  row.className = "sending wide";
  bar.setAttribute("aria-label", zone.dataset.sending);
  bar.max = 1;
  bar.value = 0;
  button.type = "button";
  button.textContent = zone.dataset.cancel;
  button.addEventListener("click", cancel);
  row.append(bar, button);
  zone.append(row);
  return row;
}

/** The sentence of an error page, as text. */
function problemIn(page) {
  const found = new DOMParser().parseFromString(page, "text/html").querySelector(".problem");
  return found ? found.textContent : page.slice(0, 200);
}
