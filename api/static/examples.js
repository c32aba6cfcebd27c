// The empty state: what this is for, and questions to begin with.

import { el } from "./dom.js";
import { listDocuments } from "./api.js";
import { baseName } from "./words.js";

// Asked when the documents of samples/ are there; otherwise the beginnings of questions about what is there.
const SAMPLES = new Map([
  ["products/fh-200-datasheet.pdf", "How often must the desiccant cartridge of the FH-200 be replaced?"],
  ["handbook/security-handbook.html", "How quickly must a lost or stolen laptop be reported?"],
  ["handbook/travel-policy.docx", "Who has to approve a trip outside Europe?"],
  ["suppliers/supplier-faq.html", "Up to what amount may the goods-in team accept a refund without approval?"],
]);

/** Return what stands in place of a conversation that has not begun. */
export async function emptyState({ onAsk, onSuggest, mayUpload }) {
  const documents = await listDocuments({ state: "searchable", limit: 50 }).then((answer) => answer.documents, () => []);
  const names = new Set(documents.map((document) => document.name));
  const questions = [...SAMPLES].filter(([name]) => names.has(name)).map(([, question]) => question);
  const starters = questions.length
    ? questions.map((question) => example(question, () => onAsk(question)))
    : documents.slice(0, 3).map((document) => {
      const text = `What does ${baseName(document.name)} say about `;
      return example(`${text}…`, () => onSuggest(text));
    });
  return el("div", { class: "empty-state" },
    el("h1", {}, "Ask your documents"),
    el("p", { class: "lead" }, "Every sentence of the answer carries a footnote. Click it, and you see the page and the very words."),
    documents.length
      ? el("div", { class: "examples", role: "group", "aria-label": "Example questions" }, ...starters)
      : el("p", { class: "first-step" }, mayUpload ? el("a", { class: "button primary", href: "#/documents" }, "Add your first documents") : "There is no document yet that you may read."));
}

function example(text, click) {
  return el("button", { type: "button", class: "example", click }, text);
}
