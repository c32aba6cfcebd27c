// Sending files: by button and by drag and drop, two at a time, each with its progress and its outcome.

import { announce, byId, el, icon } from "./dom.js";
import { Problem, csrfToken } from "./api.js";
import { plural, size } from "./words.js";

const AT_ONCE = 2;

export class Uploads {
  #waiting = [];
  #active = 0;
  #accepted = 0;
  node = el("ul", { class: "uploads", "aria-label": "Uploads" });

  /** `readers()` returns the principals that may read what is sent; `onAccepted()` after each file that was taken. */
  constructor({ readers, onAccepted, mayUpload }) {
    this.readers = readers;
    this.onAccepted = onAccepted;
    this.mayUpload = mayUpload;
    this.#acceptDrops();
  }

  /** Send these files, one request each. */
  add(files) {
    for (const file of files) this.#queue({ file, source: ownSource(), readers: this.readers() });
    this.#next();
  }

  /** Queue a file under this source for these readers: what it is tried again with, whatever is chosen by then. */
  #queue({ file, source, readers }) {
    const bar = el("progress", { max: 1, value: 0, "aria-label": `Sending ${file.name}` });
    const state = el("span", { class: "muted" }, size(file.size));
    const row = el("li", { class: "upload" }, el("span", { class: "upload-name" }, file.webkitRelativePath || file.name), state, bar);
    this.node.append(row);
    this.#waiting.push({ file, source, readers, bar, state, row });
  }

  #tryAgain(item) {
    item.row.remove();
    this.#queue(item);
    this.#next();
  }

  #next() {
    while (this.#active < AT_ONCE && this.#waiting.length) {
      this.#active += 1;
      const item = this.#waiting.shift();
      this.#send(item)
        .then(() => {
          this.#accepted += 1;
          item.row.remove();
          this.onAccepted();
        })
        .catch((problem) => this.#refused(item, problem))
        .finally(() => {
          this.#active -= 1;
          if (!this.#active && !this.#waiting.length) {
            if (this.#accepted) announce(`${plural(this.#accepted, "file")} accepted.`);
            this.#accepted = 0;
          }
          this.#next();
        });
    }
  }

  #refused(item, problem) {
    item.bar.remove();
    item.state.className = "problem";
    item.state.textContent = problem.message;
    const again = problem.status === 0 || problem.status >= 500 || problem.status === 429;
    item.row.append(
      again ? el("button", { type: "button", class: "link", click: () => this.#tryAgain(item) }, "Try again") : "",
      el("button", { type: "button", class: "icon-button small", "aria-label": `Dismiss ${item.file.name}`, click: () => item.row.remove() }, icon("close")));
    announce(`${item.file.name}: ${problem.message}`);
  }

  /** XMLHttpRequest, because fetch does not tell how much was sent. */
  #send({ file, source, readers, bar, state }) {
    const form = new FormData();
    form.set("name", file.webkitRelativePath || file.name);
    form.set("source", source);
    for (const reader of readers) form.append("allow", reader);
    form.set("file", file, file.name);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", "/v1/documents");
      request.setRequestHeader("X-CSRF-Token", csrfToken());
      request.setRequestHeader("Accept", "application/json");
      request.upload.addEventListener("progress", (event) => {
        if (!event.lengthComputable) return;
        bar.value = event.loaded / event.total;
        state.textContent = event.loaded === event.total ? "Being kept…" : `${size(event.loaded)} of ${size(event.total)}`;
      });
      request.addEventListener("load", () => {
        if (request.status < 300) resolve();
        else reject(new Problem(request.status, parsed(request.responseText)));
      });
      request.addEventListener("error", () => reject(new Problem(0, { detail: "The file was not sent: Footnote does not answer, or the file changed meanwhile." })));
      request.send(form);
    });
  }

  #acceptDrops() {
    const curtain = byId("drop");
    const carriesFiles = (event) => this.mayUpload() && event.dataTransfer?.types.includes("Files");
    let depth = 0;
    document.addEventListener("dragenter", (event) => {
      if (!carriesFiles(event)) return;
      depth += 1;
      curtain.hidden = false;
    });
    document.addEventListener("dragleave", () => {
      depth = Math.max(0, depth - 1);
      if (!depth) curtain.hidden = true;
    });
    document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
    document.addEventListener("drop", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      depth = 0;
      curtain.hidden = true;
      location.hash = "#/documents";
      this.add(event.dataTransfer.files);
    });
  }
}

/** Return a source for one file alone: it replaces no other of its name, and sent twice it is still one document. */
function ownSource() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing where the page came without TLS.
  return `upload:${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
