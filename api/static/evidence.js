// The evidence panel: the page with the cited lines drawn, or the passage in its text; always the very words.

import { byId, el, icon } from "./dom.js";
import { pageImage, passage } from "./api.js";
import { called, place } from "./words.js";

const CONTEXT = 700; // code points of text before and after the passage

export class EvidencePanel {
  #panel = byId("evidence");
  #opener = null;
  #loading = null;
  #image = null;

  constructor() {
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !this.#panel.hidden && !byId("confirm").open) this.close();
    });
  }

  /** Show a citation. `opener` gets the focus back when the panel closes. */
  show(citation, opener) {
    this.#opener?.removeAttribute?.("aria-expanded");
    this.#opener = opener;
    opener?.setAttribute("aria-expanded", "true");
    const title = el("h2", { id: "evidence-title", tabindex: "-1" }, called(citation));
    this.#tabs = this.#makeTabs(citation);
    this.#body = el("div", { class: "evidence-body", id: "evidence-body" });
    this.#panel.replaceChildren(
      el("header", { class: "evidence-head" },
        el("div", { class: "evidence-name" },
          el("p", { class: "eyebrow" }, `Footnote ${citation.n}`),
          title,
          el("p", { class: "muted path" }, citation.name, citation.page ? ` · ${place(citation.name, citation.page)}` : "")),
        el("button", { type: "button", class: "icon-button", "aria-label": "Close the evidence (Esc)", click: () => this.close() }, icon("close"))),
      el("figure", { class: "quote" },
        el("blockquote", {}, citation.quote),
        el("figcaption", { class: citation.verified ? "verdict good" : "verdict doubt" },
          icon(citation.verified ? "check" : "warn"),
          citation.verified
            ? "These are the document’s very words, and they support the sentence."
            : "These are the document’s words, but they could not be shown to support the sentence. Read them yourself.")),
      this.#tabs.bar,
      this.#body);
    this.#panel.hidden = false;
    document.body.classList.add("with-evidence");
    title.focus({ preventScroll: true });
    this.#tabs.first();
  }

  close() {
    this.#loading?.abort();
    this.#forgetImage();
    this.#panel.hidden = true;
    this.#panel.replaceChildren();
    document.body.classList.remove("with-evidence");
    this.#opener?.removeAttribute("aria-expanded");
    if (this.#opener?.isConnected) this.#opener.focus();
    this.#opener = null;
  }

  #tabs = null;
  #body = null;

  #makeTabs(citation) {
    const pages = citedPages(citation);
    const text = this.#tab("Text", (signal) => this.#showText(citation, signal));
    const views = [...pages.map((page) => this.#tab(`Page ${page}`, (signal, tab) => this.#showPage(citation, page, signal, { tab, text }))), text];
    return {
      bar: el("div", { class: "tabs", role: "group", "aria-label": "Views of the evidence" }, ...views),
      first: () => views[0].click(),
    };
  }

  #tab(label, show) {
    const button = el("button", {
      type: "button",
      class: "tab",
      "aria-pressed": "false",
      click: () => {
        this.#loading?.abort();
        this.#loading = new AbortController();
        for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
        this.#body.replaceChildren(el("p", { class: "muted loading" }, "Opening…"));
        this.#body.setAttribute("aria-busy", "true");
        const { signal } = this.#loading;
        show(signal, button)
          .catch((error) => {
            if (signal.aborted) return;
            this.#body.replaceChildren(el("p", { class: "problem" }, unreadable(error)));
          })
          .finally(() => signal.aborted || this.#body.removeAttribute("aria-busy"));
      },
    }, label);
    return button;
  }

  async #showPage(citation, page, signal, { tab, text }) {
    let blob;
    try {
      blob = await pageImage({ ...citation, page }, signal);
    } catch (error) {
      if (signal.aborted || ![404, 415, 422, 501].includes(error.status)) throw error;
      text.click(); // There is no picture of a sheet or a page of Word: the text tells the same.
      tab.remove();
      return;
    }
    this.#forgetImage();
    this.#image = URL.createObjectURL(blob);
    const image = el("img", { class: "page", alt: `Page ${page} of ${called(citation)}; the cited lines are marked.`, src: this.#image });
    const frame = el("button", {
      type: "button",
      class: "page-frame",
      "aria-label": "Enlarge the page",
      title: "Enlarge or reduce",
      click: () => frame.classList.toggle("large"),
    }, image);
    await image.decode();
    signal.throwIfAborted();
    this.#body.replaceChildren(frame);
    const box = citation.boxes?.find((candidate) => candidate.page === page);
    if (box) this.#body.scrollTop = Math.max(0, box.y0 * frame.offsetHeight - this.#body.clientHeight / 3);
  }

  async #showText(citation, signal) {
    const [start, end] = citation.span;
    const from = Math.max(0, start - CONTEXT);
    const read = (range) => passage({ document: citation.document, version: citation.version, ...range }, signal);
    const words = await read({ start, end });
    const to = Math.min(words.length, end + CONTEXT);
    const [before, after] = await Promise.all([
      from < start ? read({ start: from, end: start }) : { text: "" },
      end < to ? read({ start: end, end: to }) : { text: "" },
    ]);
    const mark = el("mark", {}, words.text);
    const text = el("div", { class: "passage" }, from > 0 ? "… " : "", before.text, mark, after.text, to < words.length ? " …" : "");
    this.#body.replaceChildren(text);
    this.#body.scrollTop = Math.max(0, mark.offsetTop - this.#body.offsetTop - this.#body.clientHeight / 3);
  }

  #forgetImage() {
    if (this.#image) URL.revokeObjectURL(this.#image);
    this.#image = null;
  }
}

/** Return the pages that there are pictures of; sheets and slides have none. */
function citedPages(citation) {
  const pages = new Set((citation.boxes || []).map((box) => box.page));
  if (citation.page && /\.pdf$/i.test(citation.name)) pages.add(citation.page);
  return [...pages].sort((a, b) => a - b);
}

function unreadable(error) {
  return error.status === 404 ? "The document is not there any more, or you may no longer read it." : error.message;
}
