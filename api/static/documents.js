// The documents: what became of each, in plain sentences, kept up to date while something is under way.

import { announce, byId, confirmed, el, icon } from "./dom.js";
import { deleteDocument, listDocuments, replayDeadLetters, retryDocument } from "./api.js";
import { Causes } from "./causes.js";
import { Failures } from "./failures.js";
import { Queues } from "./queues.js";
import { Uploads } from "./upload.js";
import { STATES, baseName, lostPages, plural, situation } from "./words.js";

const PAGE = 100;
const SLOWEST = 10_000;
const UNDER_WAY = new Set(["queued", "leased"]);

export class Documents {
  #section = byId("documents");
  #session;
  #shown = [];
  #next = null;
  #totals = null;
  #pages = 1;
  #state = "";
  #timer = 0;
  #wait = 1000;
  #before = "";
  #list = el("ul", { class: "document-list" });
  #count = el("p", { class: "muted", id: "documents-count" });
  #more = el("button", { type: "button", class: "button quiet", hidden: true, click: () => this.#showMore() }, "Show more");
  #retryAll = el("button", { type: "button", class: "button quiet", id: "retry-all", hidden: true, click: () => this.#replay({ all: true }) }, "Retry all");
  #causes = new Causes({ retry: (cause) => this.#replay(cause) });
  #failures = new Failures();
  #readers = el("select", { id: "readers" }, el("option", { value: "" }, "Only me"), el("option", { value: "*" }, "Everyone here"));

  constructor(session) {
    this.#session = session;
    this.uploads = new Uploads({
      readers: () => (this.#readers.value ? [this.#readers.value, `user:${session.user}`] : []),
      onAccepted: () => this.#hurry(),
      mayUpload: () => this.mayUpload,
    });
    this.#build();
  }

  get mayUpload() {
    return this.#session.role !== "reader";
  }

  open() {
    this.#section.hidden = false;
    this.#hurry();
  }

  close() {
    this.#section.hidden = true;
    clearTimeout(this.#timer);
  }

  #build() {
    const files = el("input", { type: "file", id: "files", multiple: true, class: "visually-hidden", change: () => { this.uploads.add(files.files); files.value = ""; } });
    const filter = el("select", { id: "filter", change: () => { this.#state = filter.value; this.#pages = 1; this.#hurry(); } },
      el("option", { value: "" }, "All"), ...["searchable", "queued", "leased", "failed"].map((state) => el("option", { value: state }, STATES[state])));
    this.#section.replaceChildren(
      el("header", { class: "page-head" }, el("h1", { id: "documents-title" }, "Documents"), this.#count),
      this.mayUpload
        ? el("div", { class: "dropzone" }, icon("upload"),
          el("p", {}, el("label", { for: "files", class: "button primary" }, "Choose files"), files, " or drop them anywhere on this page"),
          el("p", { class: "muted" }, "PDF, Word, PowerPoint, Excel, CSV, HTML, Markdown, text and mail"),
          el("p", { class: "readers" }, el("label", { for: "readers" }, "Who may read them: "), this.#readers))
        : el("p", { class: "muted" }, "You may read and ask. To add documents, ask an administrator for the editor role."),
      this.uploads.node,
      new Queues(this.#session).node,
      el("p", { class: "filter" }, el("label", { for: "filter" }, "Show "), filter, this.#retryAll),
      this.#causes.node,
      this.#list,
      this.#more);
  }

  #showMore() {
    this.#pages += 1;
    this.#hurry();
  }

  /** Ask at once, and often for a while. */
  #hurry() {
    this.#wait = 1000;
    clearTimeout(this.#timer);
    this.#refresh();
  }

  async #refresh() {
    let failed = null;
    try {
      await this.#read();
    } catch (error) {
      failed = error;
    }
    if (this.#section.hidden) return;
    if (failed) this.#count.textContent = failed.message;
    else this.#draw();
    const now = JSON.stringify(this.#shown.map(({ state, stage }) => [state, stage]));
    this.#wait = now === this.#before ? Math.min(this.#wait * 1.5, SLOWEST) : 1000;
    this.#before = now;
    clearTimeout(this.#timer);
    if (failed || this.#shown.some(({ state }) => UNDER_WAY.has(state))) this.#timer = setTimeout(() => this.#refresh(), this.#wait);
  }

  async #read() {
    const found = [];
    let cursor = null;
    let totals = null;
    for (let page = 0; page < this.#pages; page += 1) {
      const answer = await listDocuments({ state: this.#state, cursor, limit: PAGE });
      found.push(...answer.documents);
      cursor = answer.next;
      totals ||= answer.totals;
      if (!cursor) break;
    }
    this.#shown = found;
    this.#totals = totals;
    this.#next = cursor;
    const failed = found.filter(({ state }) => state === "failed").map(({ document, stage, reason }) => [document, stage, reason]);
    const count = totals ? totals.failed || 0 : failed.length;
    if (this.mayUpload) await this.#causes.read(count, JSON.stringify([count, failed]));
  }

  #draw() {
    const focused = document.activeElement?.dataset?.key;
    this.#count.textContent = this.#summary();
    this.#more.hidden = !this.#next;
    this.#failures.keep(this.#failed());
    const failed = this.#totals ? this.#totals.failed || 0 : this.#failed().size;
    this.#retryAll.hidden = !this.mayUpload || failed < 2;
    this.#retryAll.textContent = `Retry all that failed${this.#totals ? ` (${failed})` : ""}`;
    const empty = this.#state ? "No document is in this state." : "No document yet that you may read.";
    this.#list.replaceChildren(...(this.#shown.length ? this.#shown.map((document) => this.#row(document)) : [el("li", { class: "muted empty" }, empty)]));
    if (focused) this.#list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #failed(wanted = () => true) {
    return new Set(this.#shown.filter(({ state }) => state === "failed").map(({ document }) => document).filter(wanted));
  }

  #summary() {
    if (!this.#shown.length) return "";
    if (!this.#totals) return `${plural(this.#shown.length, "document")}${this.#next ? " shown, there are more" : ""}`;
    const all = Object.values(this.#totals).reduce((sum, count) => sum + count, 0);
    const parts = Object.entries(this.#totals).filter(([state, count]) => count && state !== "searchable").map(([state, count]) => `${count} ${STATES[state].toLowerCase()}`);
    return [plural(all, "document"), ...parts].join(" · ");
  }

  #row(document) {
    const name = baseName(document.name);
    const folder = document.name.slice(0, document.name.length - name.length);
    const when = cameIn(document);
    const action = (label, symbol, key, click) =>
      el("button", { type: "button", class: "icon-button small", "aria-label": `${label} ${name}, of ${when}`, title: label, "data-key": `${key}/${document.document}`, click }, icon(symbol));
    return el("li", { class: "document" },
      el("div", { class: "document-body" },
        el("p", { class: "document-name", title: document.name }, folder ? el("span", { class: "muted" }, folder) : null, name),
        el("p", { class: document.state === "failed" ? "problem" : "muted" }, situation(document)),
        document.state === "searchable" && document.pages_lost?.length ? el("p", { class: "warning" }, icon("warn"), lostPages(document)) : null,
        document.state === "failed" ? this.#failures.details(document, name) : null,
        el("p", { class: "muted" }, `Added ${when}`)),
      el("span", { class: `chip ${document.state}` }, STATES[document.state] || document.state),
      this.mayUpload
        ? el("div", { class: "document-actions" },
          document.state === "failed"
            ? el("button", { type: "button", class: "button quiet retry", "aria-label": `Retry ${name}, of ${when}`, "data-key": `retry/${document.document}`, click: () => this.#retry(document) }, icon("retry"), "Retry")
            : null,
          action("Delete", "trash", "delete", () => this.#delete(document)))
        : null);
  }

  async #retry(document) {
    this.#failures.keep(this.#failed((id) => id !== document.document));
    await this.#attempt(() => retryDocument(document.document), `${baseName(document.name)} is tried again.`);
  }

  /** Try again all, or what has one cause. */
  async #replay(which) {
    this.#failures.keep(new Set());
    let replayed = 0;
    let left = 0;
    const replay = async () => {
      let cursor = null;
      do {
        const part = await replayDeadLetters({ ...which, cursor });
        replayed += part.replayed;
        left += part.left;
        cursor = part.next;
      } while (cursor);
    };
    await this.#attempt(replay, () => `${plural(replayed, "document")} tried again${left ? `; ${left} left alone, which you may not change` : ""}.`);
  }

  async #delete(document) {
    const name = baseName(document.name);
    const sure = await confirmed({ title: `Delete “${name}”?`, text: `It was added ${cameIn(document)}. Nobody finds it or its passages any more, at once and for good. Answers that cite it are no longer shown.`, action: "Delete" });
    if (sure) await this.#attempt(() => deleteDocument(document.document), `${name} is deleted.`);
  }

  async #attempt(change, done) {
    try {
      await change();
      announce(typeof done === "function" ? done() : done);
      this.#hurry();
    } catch (error) {
      const message = error.status === 404 ? "It is not there any more, or you may not change it." : error.message;
      this.#count.textContent = message;
      announce(message);
    }
  }
}

/** Return when the document's newest version came in, which tells apart what has one name: its id begins with the time. */
function cameIn({ version, document }) {
  const milliseconds = Number.parseInt((version || document).replaceAll("-", "").slice(0, 12), 16); // UUIDv7
  return new Date(milliseconds).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}
