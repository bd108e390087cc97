// The form of a job: files go up at once where they are chosen or dropped, and become the choice; and what is
// told beside it when the server does not answer.
"use strict";

for (const zone of document.querySelectorAll("[data-upload-into]")) {
  const input = zone.querySelector('input[type="file"]');
  const field = document.getElementById(zone.dataset.uploadInto);
  // What is sent from here is not sent again with the form.
  input.removeAttribute("name");
  zone.querySelector("button").remove();
  const send = () => {
    if (!input.files.length) return;
    const data = new FormData();
    data.append("purpose", "fine-tune");
    data.append("file", input.files[0]);
    sendFile(zone, input, "/ui/files", data, (file) => {
      choose(field, file);
      input.value = "";
    });
  };
  input.addEventListener("change", send);
  takeDrops(zone, input, send);
}

function choose(field, file) {
  if (field.tagName === "SELECT") {
    field.options[0].after(new Option(file.filename, file.id));
  }
  field.value = file.id;
  field.focus();
}

document.addEventListener("htmx:error", (event) => {
  const form = event.target.closest("[data-offline]");
  if (!form || !event.detail.ctx) return;
  const told = document.createElement("p");
  told.className = "error";
  told.textContent = form.dataset.offline;
  document.getElementById("answer").replaceChildren(told);
});
