// Why documents failed, counted by step and reason, each with a button that tries those again and no others.

import { el, icon } from "./dom.js";
import { listDeadLetters } from "./api.js";
import { STAGES, plural } from "./words.js";

const MOST = 500; // The newest are counted; a button tries again whatever has this cause, also what is not counted.

export class Causes {
  node = el("ul", { class: "causes", id: "causes", hidden: true });
  #retry;
  #known = "";

  /** `retry` is called with {reason, stage}. */
  constructor({ retry }) {
    this.#retry = retry;
  }

  /** Count anew where what failed is not what it was; a single cause has the button for all. */
  async read(failed, signature) {
    if (failed < 2) {
      this.#known = "";
      this.node.hidden = true;
      return;
    }
    if (signature === this.#known) return;
    const { deadletters, next } = await listDeadLetters({ limit: MOST });
    this.#known = signature;
    const causes = new Map();
    for (const { reason, stage } of deadletters) {
      const key = `${stage}/${reason}`;
      const cause = causes.get(key) || { reason, stage, count: 0 };
      causes.set(key, { ...cause, count: cause.count + 1 });
    }
    this.node.hidden = causes.size < 2 && !next;
    this.node.replaceChildren(...[...causes.values()].sort((one, other) => other.count - one.count).map((cause) => this.#row(cause, Boolean(next))));
  }

  #row({ reason, stage, count }, more) {
    const told = `${more ? "at least " : ""}${plural(count, "document")} failed while ${STAGES[stage] || stage}: ${reason}`;
    return el("li", {}, el("span", {}, told),
      el("button", { type: "button", class: "button quiet retry", "aria-label": `Retry what failed while ${STAGES[stage] || stage}: ${reason}`, "data-key": `cause/${stage}/${reason}`, click: () => this.#retry({ reason, stage }) }, icon("retry"), "Retry these"));
  }
}
