// One question and its answer, as events tell it: what is known is kept as data, the elements are drawn from it.

import { announce, el, icon } from "./dom.js";
import { doubtfulRanges, renderAnswer } from "./answer.js";
import { called, place, plural } from "./words.js";

export class Turn {
  #question;
  #actions;
  #text = "";
  #citations = new Map();
  #warnings = [];
  #abstained = false;
  #facts = {};
  #frame = 0;
  #progress = el("p", { class: "progress" }, "Searching your documents…");
  #answer = el("div", { class: "answer" });
  #notes = el("div", { class: "notes" });
  #sources = el("section", { class: "sources", "aria-label": "Sources", hidden: true });
  #foot = el("p", { class: "turn-foot" });

  /** `onFootnote(citation, opener)` when a footnote is activated, `onAgain()` to ask once more. */
  constructor(question, actions) {
    this.#question = question;
    this.#actions = actions;
    this.node = el("article", { class: "turn", "aria-busy": "true", "aria-label": `Question: ${question}` },
      el("h2", { class: "question" }, question), this.#progress, this.#answer, this.#notes, this.#sources, this.#foot);
    announce("Searching your documents.");
  }

  /** Take the next event of the stream. */
  take({ type, data }) {
    switch (type) {
      case "retrieval":
        this.#say(passagesFound(data));
        break;
      case "delta":
        this.#text += data.text;
        this.#draw();
        break;
      case "citation":
        this.#citations.set(data.n, data);
        this.#draw();
        break;
      case "warning":
        this.#warnings.push(data);
        this.#draw();
        break;
      case "usage":
        Object.assign(this.#facts, { usage: data });
        break;
      case "reconnecting":
        this.#say("The connection broke. Trying again…");
        break;
      case "done":
        this.#finish(data);
        announce(this.#abstained ? "I don’t know. Nothing that you may read answers this." : `Answer: ${this.#text.replace(/\[(\d+)\]/g, " (footnote $1)")}`);
        break;
      case "error":
        this.#end(data);
        break;
      default: // A later version may tell more.
    }
  }

  /** Show an answer of the past. */
  restore(past) {
    this.#text = past.answer ?? "";
    for (const citation of past.citations || []) this.#citations.set(citation.n, citation);
    if (past.withheld) this.#end({ code: "withheld" });
    else if (past.state === "done") this.#finish(past);
    else this.#end({ code: past.state === "stopped" ? "stopped" : "interrupted" });
  }

  /** End without an answer, as an `error` event tells. */
  #end({ code, detail }) {
    if (code === "stopped") this.stopped();
    else if (code === "withheld") {
      this.#text = "";
      this.#citations.clear();
      this.#warnings = [];
      this.failed({ message: "This answer quotes a document that you may no longer read, so it is not shown." });
    } else this.failed({ message: detail || "This answer could not be finished." });
  }

  stopped() {
    this.#settle();
    this.#notes.append(notice("stop", "Stopped before it was finished.", this.#again()));
    announce("Stopped.");
  }

  /** Show what went wrong, in a sentence, with a way to go on. */
  failed(problem) {
    this.#settle();
    this.#notes.append(notice("warn", problem.message, this.#again()));
    announce(problem.message);
  }

  #finish(data) {
    if (data.answer) this.#text = data.answer;
    for (const citation of data.citations || []) this.#citations.set(citation.n, citation);
    this.#abstained = Boolean(data.abstained);
    Object.assign(this.#facts, data);
    this.#settle();
  }

  #settle() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.node.removeAttribute("aria-busy");
    this.#progress.hidden = true;
    this.#render();
    this.#notes.replaceChildren(...this.#warningNotes());
    this.#drawFoot();
  }

  #say(text) {
    this.#progress.textContent = text;
    this.#progress.hidden = false;
  }

  /** Draw once per frame, however many events arrive. */
  #draw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  #render() {
    if (this.#abstained) {
      this.#answer.replaceChildren(this.#unknown());
      this.#drawSources();
      return;
    }
    if (this.#text) this.#progress.hidden = true;
    const focused = this.#answer.contains(document.activeElement) ? document.activeElement.dataset.n : null;
    this.#answer.replaceChildren(...renderAnswer(this.#text, {
      citations: this.#citations,
      doubtful: doubtfulRanges(this.#text, this.#warnings.filter(isUnsupported)),
      onFootnote: this.#actions.onFootnote,
    }));
    if (focused) this.#answer.querySelector(`[data-n="${CSS.escape(focused)}"]`)?.focus();
    this.#drawSources();
  }

  #unknown() {
    const own = this.#text.replace(/\[\d+\]/g, "").replace(/^\s*i don.t know\s*[:.,;]?\s*/i, "").trim();
    return el("div", { class: "unknown" }, icon("ask"),
      el("div", {},
        el("p", { class: "unknown-title" }, "I don’t know."),
        el("p", {}, own ? own[0].toUpperCase() + own.slice(1) : "None of the documents that you may read answers this question."),
        el("p", { class: "muted" }, "Ask it in other words, or add the document that would answer it.")));
  }

  #drawSources() {
    const citations = [...this.#citations.values()].sort((a, b) => a.n - b.n);
    this.#sources.hidden = citations.length === 0;
    this.#sources.replaceChildren(el("h3", {}, "Sources"), el("ol", { class: "source-list" }, ...citations.map((citation) => {
      const button = el("button", { type: "button", class: citation.verified ? "source" : "source unverified", click: () => this.#actions.onFootnote(citation, button) },
        el("span", { class: "source-n" }, String(citation.n)),
        el("span", { class: "source-body" },
          el("span", { class: "source-title" }, called(citation), citation.page ? el("span", { class: "muted" }, ` · ${place(citation.name, citation.page)}`) : null),
          el("span", { class: "source-quote" }, citation.quote.replace(/\s+/g, " ")),
          citation.verified ? null : el("span", { class: "tag doubt" }, "Not verified")));
      return el("li", {}, button);
    })));
  }

  #warningNotes() {
    const unsupported = this.#text.split("[?]").length - 1; // The mark that stands after each such sentence.
    const notes = [];
    if (unsupported && !this.#abstained) {
      notes.push(notice("warn", unsupported === 1
        ? "One sentence is not supported by the documents. It is marked."
        : `${unsupported} sentences are not supported by the documents. They are marked.`));
    }
    const seen = new Set();
    for (const warning of this.#warnings) {
      const message = warning.detail;
      if (isUnsupported(warning) || !message || seen.has(message)) continue;
      seen.add(message);
      notes.push(notice("warn", message));
    }
    return notes;
  }

  #drawFoot() {
    const facts = [];
    if (this.#facts.model) facts.push(this.#facts.model);
    const total = this.#facts.timings_ms?.total;
    if (total) facts.push(total < 1000 ? `${Math.round(total)} ms` : `${(total / 1000).toFixed(1)} s`);
    this.#foot.replaceChildren(facts.join(" · "));
    if (this.#text && !this.#abstained) {
      const copy = el("button", { type: "button", class: "link", click: () => this.#copy(copy) }, "Copy with sources");
      this.#foot.append(facts.length ? " · " : "", copy);
    }
  }

  async #copy(button) {
    const notes = [...this.#citations.values()].sort((a, b) => a.n - b.n)
      .map((citation) => `[${citation.n}] ${citation.name}${citation.page ? `, ${place(citation.name, citation.page)}` : ""}: “${citation.quote.replace(/\s+/g, " ")}”`);
    try {
      await navigator.clipboard.writeText([this.#question, "", this.#text, "", ...notes].join("\n"));
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser did not allow it";
    }
  }

  #again() {
    return el("button", { type: "button", class: "link", click: () => this.#actions.onAgain() }, "Ask again");
  }
}

const isUnsupported = (warning) => (warning.type || "").startsWith("unsupported");

function notice(symbol, text, action = null) {
  return el("p", { class: "note" }, icon(symbol), el("span", {}, text, action ? " " : "", action));
}

function passagesFound(data) {
  const passages = data.hits?.length;
  if (typeof passages !== "number") return "Reading what was found…";
  return passages === 0 ? "Nothing fitting was found." : `Reading ${plural(passages, "passage")}…`;
}
