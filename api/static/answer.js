// From an answer's text to elements: paragraphs, lists, emphasis, footnotes, and marks on what nothing supports.
// Links, images and HTML in an answer stay the plain text that they are: a hostile document may have written them.

import { el } from "./dom.js";
import { called, place } from "./words.js";

const INLINE = /\s?\[(\d{1,3}|\?)\]|\*\*([^*\n]+)\*\*|`([^`\n]+)`/g;
const UNSUPPORTED = "No document that you may read supports this sentence";
const BULLET = /^\s*(?:[-*•]|(\d{1,3})[.)])\s+/;

/** Return the elements for `text`.
 *
 * `citations`: Map of footnote number to citation; `doubtful`: ranges [start, end) of the text that nothing supports;
 * `onFootnote(citation, button)` is called when a footnote is activated.
 */
export function renderAnswer(text, { citations, doubtful = [], onFootnote }) {
  const context = { citations, doubtful, onFootnote };
  const out = [];
  let list = null;
  for (const block of blocksOf(text)) {
    const bullet = BULLET.exec(block.text);
    const heading = bullet ? null : /^#{1,6}\s+/.exec(block.text);
    const skipped = (bullet || heading)?.[0].length ?? 0;
    const content = inline(block.text.slice(skipped), block.start + skipped, context);
    if (bullet) {
      const tag = bullet[1] ? "ol" : "ul";
      if (list?.localName !== tag) {
        list = el(tag, bullet[1] ? { start: bullet[1] } : {});
        out.push(list);
      }
      list.append(el("li", {}, ...content));
    } else {
      list = null;
      out.push(heading ? el("h3", {}, ...content) : el("p", {}, ...content));
    }
  }
  return out;
}

/** Yield paragraphs and list items with their offsets; blank lines divide, and every bullet begins anew. */
function* blocksOf(text) {
  let start = 0;
  let lines = [];
  let offset = 0;
  for (const line of text.split("\n")) {
    const begins = BULLET.test(line) || /^#{1,6}\s/.test(line);
    if (lines.length && (begins || !line.trim())) {
      yield { text: lines.join("\n"), start };
      lines = [];
    }
    if (line.trim()) {
      if (!lines.length) start = offset;
      lines.push(line);
    }
    offset += line.length + 1;
  }
  if (lines.length) yield { text: lines.join("\n"), start };
}

function inline(text, start, context) {
  const out = [];
  let position = 0;
  for (const match of text.matchAll(INLINE)) {
    out.push(...plain(text.slice(position, match.index), start + position, context));
    position = match.index + match[0].length;
    if (match[1] === "?") attach(out, unsupportedMark());
    else if (match[1]) attach(out, footnote(Number(match[1]), context));
    else if (match[2]) out.push(el("strong", {}, ...plain(match[2], start + match.index + 2, context)));
    else out.push(el("code", {}, match[3]));
  }
  out.push(...plain(text.slice(position), start + position, context));
  return out;
}

/** Add a footnote so that no line breaks between it and the word it follows. */
function attach(out, note) {
  const last = out.at(-1);
  if (last?.className === "kept") {
    last.append(note);
    return;
  }
  const word = last?.nodeType === Node.TEXT_NODE ? /\S{1,24}$/.exec(last.data) : null;
  out.push(word ? el("span", { class: "kept" }, word[0], note) : note);
  if (word) last.data = last.data.slice(0, word.index);
}

/** Return text nodes, with <mark> around the parts that lie in a doubtful range. */
function plain(text, start, { doubtful }) {
  if (!text) return [];
  const end = start + text.length;
  const cuts = new Set([start, end]);
  for (const [a, b] of doubtful) for (const cut of [a, b]) if (cut > start && cut < end) cuts.add(cut);
  const edges = [...cuts].sort((a, b) => a - b);
  return edges.slice(1).map((edge, index) => {
    const piece = text.slice(edges[index] - start, edge - start);
    const marked = doubtful.some(([a, b]) => a <= edges[index] && edge <= b) && piece.trim();
    return marked ? el("mark", { class: "unsupported", title: UNSUPPORTED }, piece) : document.createTextNode(piece);
  });
}

function footnote(n, { citations, onFootnote }) {
  const citation = citations.get(n);
  if (!citation) return el("sup", { class: "footnote pending" }, String(n));
  const where = citation.page ? `, ${place(citation.name, citation.page)}` : "";
  const doubt = citation.verified ? "" : ", not verified";
  const button = el("button", {
    type: "button",
    class: `footnote${citation.verified ? "" : " unverified"}`,
    "data-n": n,
    "aria-label": `Footnote ${n}: ${called(citation)}${where}${doubt}`,
    title: `${called(citation)}${where}${doubt}`,
    click: () => onFootnote(citation, button),
  }, String(n));
  return el("sup", {}, button);
}

function unsupportedMark() {
  return el("sup", {}, el("span", { class: "footnote unverified", title: UNSUPPORTED }, el("span", { "aria-hidden": "true" }, "?"), el("span", { class: "visually-hidden" }, " (not supported by the documents)")));
}

/** Return [start, end) ranges in UTF-16 units for warnings, whose offsets count code points. */
export function doubtfulRanges(text, warnings) {
  const ranges = [];
  for (const warning of warnings) {
    ranges.push([toUnits(text, warning.start), toUnits(text, warning.end)]);
  }
  return ranges;
}

function toUnits(text, codePoints) {
  let units = 0;
  for (const character of text) {
    if (codePoints-- <= 0) break;
    units += character.length;
  }
  return units;
}
