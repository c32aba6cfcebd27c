// Asking and answering: the composer, the turns of the open conversation, the stream of the running answer.

import { byId, el } from "./dom.js";
import { Problem, readConversation, stopAnswer } from "./api.js";
import { followAnswer } from "./sse.js";
import { Turn } from "./turn.js";

export class Chat {
  #turns = byId("turns");
  #question = byId("question");
  #running = null;
  #conversation = null;

  /** `evidence` shows citations; `empty()` returns what to show before the first question; `onConversation(id)`. */
  constructor({ evidence, empty, onConversation, onProblem }) {
    this.evidence = evidence;
    this.empty = empty;
    this.onConversation = onConversation;
    this.onProblem = onProblem;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask(this.#question.value);
    });
    byId("stop").addEventListener("click", () => this.stop());
    this.#question.addEventListener("input", () => this.#fit());
    this.#question.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.ask(this.#question.value);
      }
    });
  }

  get conversation() {
    return this.#conversation;
  }

  /** Put a text into the question field for the user to complete. */
  suggest(text) {
    this.#question.value = text;
    this.#fit();
    this.#question.focus();
  }

  /** Begin a new conversation. */
  async clear() {
    this.#leave();
    this.#conversation = null;
    const waiting = el("div");
    this.#turns.replaceChildren(waiting);
    this.#question.focus();
    const empty = await this.empty();
    if (waiting.isConnected) waiting.replaceWith(empty); // else a question was asked meanwhile: its turn stays
  }

  /** Show a conversation of the past; an answer that is still being written goes on streaming. */
  async open(id) {
    if (id === this.#conversation) return;
    this.#leave();
    this.#conversation = id;
    this.#turns.replaceChildren(el("p", { class: "muted loading" }, "Opening the conversation…"));
    try {
      const { turns = [] } = await readConversation(id);
      if (this.#conversation !== id) return;
      this.#turns.replaceChildren();
      for (const past of turns) {
        const turn = this.#append(past.question);
        if (past.state === "running") this.#run(turn, { answer: past.id });
        else turn.restore(past);
      }
      this.#scrollToEnd();
    } catch (error) {
      if (this.#conversation !== id) return;
      this.#turns.replaceChildren(el("p", { class: "problem" }, error.status === 404 ? "There is no such conversation." : error.message));
      this.onProblem(error);
    }
  }

  ask(text) {
    const question = text.trim();
    if (!question || this.#running) return;
    if (!this.#conversation) this.#turns.replaceChildren();
    this.#question.value = "";
    this.#fit();
    const turn = this.#append(question);
    turn.node.scrollIntoView({ block: "start", behavior: "smooth" });
    this.#run(turn, { question, conversation: this.#conversation });
  }

  /** End the running answer, here and on the server. */
  stop() {
    const running = this.#running;
    if (!running) return;
    running.stopped = true;
    if (running.answer) stopAnswer(running.answer).catch(() => {});
    running.abort.abort();
  }

  #append(question) {
    const turn = new Turn(question, { onFootnote: (citation, opener) => this.evidence.show(citation, opener), onAgain: () => this.ask(question) });
    this.#turns.append(turn.node);
    return turn;
  }

  async #run(turn, request) {
    const running = { abort: new AbortController(), answer: request.answer || null, stopped: false };
    this.#running = running;
    this.#showRunning(true);
    try {
      for await (const event of followAnswer(request, running.abort.signal)) {
        const { answer, conversation } = idsOf(event);
        running.answer ||= answer;
        if (conversation && !this.#conversation && this.#running === running) {
          this.#conversation = conversation;
          this.onConversation(conversation);
        }
        turn.take(event);
      }
      if (this.#conversation) this.onConversation(this.#conversation);
    } catch (error) {
      if (running.stopped) turn.stopped();
      else if (!running.abort.signal.aborted) {
        const problem = error instanceof Problem ? error : new Problem(0, { detail: "This page could not read the answer. Reload it and try again." });
        turn.failed(problem);
        this.onProblem(problem);
      }
    } finally {
      if (this.#running === running) {
        this.#running = null;
        this.#showRunning(false);
      }
    }
  }

  /** Stop listening to the running answer without ending it. */
  #leave() {
    this.#running?.abort.abort();
    this.#running = null;
    this.#showRunning(false);
    this.evidence.close();
  }

  #showRunning(running) {
    const hadFocus = document.activeElement === byId("stop");
    byId("send").hidden = running;
    byId("stop").hidden = !running;
    if (hadFocus && !running) this.#question.focus();
  }

  #fit() {
    this.#question.style.height = "auto";
    this.#question.style.height = `${Math.min(this.#question.scrollHeight, 200)}px`;
  }

  #scrollToEnd() {
    this.#turns.lastElementChild?.scrollIntoView({ block: "start" });
  }
}

/** Return the ids that an event tells of the answer and its conversation. */
function idsOf({ type, data }) {
  return {
    answer: (type === "retrieval" ? data.answer : data.id) || null,
    conversation: data.conversation || null,
  };
}
