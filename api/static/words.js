// What codes mean, in sentences for people.

export const STATES = {
  searchable: "Searchable",
  queued: "Waiting",
  leased: "Working",
  failed: "Failed",
  deleted: "Deleted",
};

export const STAGES = {
  parse: "reading the file",
  chunk: "cutting it into passages",
  embed: "computing meaning",
  index: "adding it to the index",
};

/** Return a sentence on where a document stands. */
export function situation(document) {
  const pages = document.pages ? plural(document.pages, place(document.name, "").trim()) : null;
  const passages = document.chunks ? plural(document.chunks, "passage") : null;
  const older = document.searchable_version && document.searchable_version !== document.version ? " Meanwhile the previous version answers." : "";
  switch (document.state) {
    case "searchable":
      return [pages, passages].filter(Boolean).join(" · ");
    case "queued":
      return `Waiting for ${STAGES[document.stage] || "its turn"}.${older}`;
    case "leased":
      return `Now ${STAGES[document.stage] || "being worked on"}${document.detail ? `: ${document.detail.replace(/\.$/, "")}` : ""}.${older}`;
    case "failed":
      return (document.detail || `It could not be processed (${document.reason}).`) + older; // The detail says what to do.
    default:
      return "";
  }
}

/** Return a warning for a document of which some pages could not be read. */
export function lostPages(document) {
  const lost = document.pages_lost;
  return `${plural(lost.length, place(document.name, "").trim())} could not be read and cannot be found: ${lost.join(", ")}.`;
}

export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Return a file's name without its folders. */
export const baseName = (name) => name.slice(name.lastIndexOf("/") + 1);

const SHEETS = /\.(xlsx|xlsm|xls|ods)$/i;
const SLIDES = /\.(pptx|ppt|odp)$/i;

/** Return what stands for a page in a document of this name, with its number. */
export const place = (name, page) => `${SHEETS.test(name) ? "sheet" : SLIDES.test(name) ? "slide" : "page"} ${page}`;

/** Return what to call a cited document. */
export const called = (citation) => citation.title || baseName(citation.name);

/** Return a number of bytes as people say it. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 1e6) return `${Math.round(bytes / 1e3)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
