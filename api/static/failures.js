// What is known of a failed document beyond a sentence: step, page, attempts and log, fetched when somebody looks.

import { el } from "./dom.js";
import { readDeadLetter } from "./api.js";
import { STAGES, plural } from "./words.js";

export class Failures {
  #open = new Set();
  #letters = new Map();

  /** Return a disclosure for the failed document; it stays open when the list is drawn anew. */
  details(document, name) {
    const body = el("div", { class: "failure-body" });
    const node = el("details", { class: "failure", open: this.#open.has(document.document) },
      el("summary", { "aria-label": `Why ${name} failed`, "data-key": `why/${document.document}` }, "What happened"), body);
    if (this.#letters.has(document.document)) body.replaceChildren(...told(this.#letters.get(document.document)));
    node.addEventListener("toggle", () => {
      if (node.open) this.#open.add(document.document);
      else if (node.isConnected) this.#open.delete(document.document);
      if (node.open) this.#fill(document.document, body);
    });
    return node;
  }

  /** Forget what is known of all documents but these: those that have failed, and are not being tried again. */
  keep(ids) {
    for (const id of new Set([...this.#letters.keys(), ...this.#open])) {
      if (ids.has(id)) continue;
      this.#letters.delete(id);
      this.#open.delete(id);
    }
  }

  async #fill(id, body) {
    try {
      if (!this.#letters.has(id)) this.#letters.set(id, await readDeadLetter(id));
      body.replaceChildren(...told(this.#letters.get(id)));
    } catch (error) {
      body.replaceChildren(el("p", { class: "problem" }, error.status === 404 ? "It is being tried again." : error.message));
    }
  }
}

function told(letter) {
  const facts = [
    ["Failed while", STAGES[letter.stage] || letter.stage],
    ["Reason", letter.reason],
    ["Page", letter.page],
    ["Tried", plural(letter.attempts, "time")],
    ["Failed", new Date(letter.failed_at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })],
  ].filter(([, value]) => value !== null);
  const log = letter.excerpt ? [el("p", { class: "muted" }, "From the log, for the operator"), el("pre", { class: "excerpt", tabindex: 0 }, letter.excerpt)] : [];
  return [el("dl", {}, ...facts.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, String(value))])), ...log];
}
