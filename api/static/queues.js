// The queues, for whoever runs this installation: how deep, how old, how fast, what failed, and whether something is wrong.

import { el } from "./dom.js";
import { readQueues } from "./api.js";
import { plural } from "./words.js";

const BUSY = 2000;
const QUIET = 8000;
const QUEUES = { parse: "Reading files", embed: "Computing meaning", index: "Search index" };
const VERDICTS = { idle: "Idle", working: "Working", waiting: "Waiting", slow: "Slow", dead: "Dead" };
const TROUBLE = new Set(["slow", "dead"]);
const HEADINGS = ["Queue", "State", "In it", "Oldest", "Done a minute", "Time left", "Failed"];

/** A panel that keeps itself up to date while it is on the screen. `node` stays hidden for those who may not see it. */
export class Queues {
  #title = el("span", {});
  #rows = el("tbody", {});
  #beat = el("p", { class: "beat", hidden: true });
  #opened = false;

  constructor(session) {
    this.node = el("details", { class: "queues", id: "queues", hidden: true },
      el("summary", {}, this.#title),
      el("div", { class: "queues-scroll" },
        el("table", {}, el("thead", {}, el("tr", {}, ...HEADINGS.map((text) => el("th", { scope: "col" }, text)))), this.#rows)),
      this.#beat);
    if (session.role === "admin") this.#later(0);
  }

  #later(wait) {
    setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    if (!this.node.parentElement || this.node.parentElement.hidden || document.hidden) {
      this.#later(500);
      return;
    }
    try {
      const { queues, reconciler } = await readQueues();
      this.#draw(queues, reconciler);
      this.#later(queues.some(({ verdict }) => verdict !== "idle") ? BUSY : QUIET);
    } catch (error) {
      if (error.status === 401 || error.status === 403) {
        this.node.hidden = true; // An administrator, but not of this installation.
        return;
      }
      this.#title.textContent = `Queues: ${error.message}`;
      this.#later(QUIET);
    }
  }

  #draw(queues, reconciler) {
    const late = Boolean(reconciler?.late);
    this.node.hidden = false;
    this.#title.textContent = headline(queues) + (late ? " · nobody looks after them" : "");
    this.node.classList.toggle("trouble", late || queues.some(({ verdict }) => TROUBLE.has(verdict)));
    this.#rows.replaceChildren(...queues.flatMap(rows));
    this.#beat.hidden = !reconciler;
    this.#beat.classList.toggle("problem", late);
    this.#beat.textContent = reconciler ? beat(reconciler) : "";
    if (!this.#opened && (late || queues.some(({ verdict }) => verdict !== "idle"))) this.node.open = this.#opened = true; // Once; then it is as the reader leaves it.
  }
}

function headline(queues) {
  const busy = queues.filter(({ verdict }) => verdict !== "idle");
  const failed = sum(queues.flatMap(({ failures }) => failures.map(({ count }) => count)));
  const parts = busy.map((queue) => `${(QUEUES[queue.queue] || queue.queue).toLowerCase()} ${VERDICTS[queue.verdict].toLowerCase()}`);
  return `Queues: ${parts.join(" · ") || "nothing to do"}${failed ? ` · ${plural(failed, "document")} failed` : ""}`;
}

function rows(queue) {
  const open = sum(Object.values(queue.depth));
  const reasons = [
    ...queue.put_off.filter(({ shared }) => !shared || queue.verdict !== "slow").map(({ count, reason }) => `${count} put off: ${reason}`),
    ...queue.failures.map(({ count, reason }) => `${count} failed: ${reason}`),
  ];
  const cells = [
    el("span", { class: `chip ${queue.verdict}` }, VERDICTS[queue.verdict] || queue.verdict),
    String(open),
    open ? span(queue.oldest_seconds) : "–",
    queue.rate_per_minute === null ? "–" : queue.rate_per_minute.toFixed(1),
    open && queue.eta_seconds !== null ? span(queue.eta_seconds) : "–",
    String(sum(queue.failures.map(({ count }) => count))),
  ];
  const told = queue.verdict === "idle" ? reasons : [queue.detail.replace(/\.$/, ""), ...reasons];
  return [
    el("tr", { "data-queue": queue.queue }, el("th", { scope: "row" }, QUEUES[queue.queue] || queue.queue), ...cells.map((cell) => el("td", {}, cell))),
    told.length ? el("tr", { class: "why" }, el("td", { colspan: HEADINGS.length }, el("span", {}, told.join(" · ")))) : null,
  ].filter(Boolean);
}

/** Return a sentence on the reconciler, which rings workers again that a message did not reach. */
function beat({ age_seconds: seconds, late }) {
  const told = seconds === null ? "Nobody has ever looked for work that waits" : `Work that waits was last looked for ${span(seconds)} ago`;
  return late ? `${told}: is a worker with --queues maintenance --beat running, and its broker?` : `${told}.`;
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Return a time as people say it. */
export function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} d`;
}
