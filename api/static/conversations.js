// The side bar's list of conversations.

import { byId, confirmed, el, icon } from "./dom.js";
import { deleteConversation, listConversations } from "./api.js";

export class Conversations {
  #list = byId("conversations");
  #current = null;

  /** `onDeleted(id)` after a conversation is gone. */
  constructor({ onDeleted }) {
    this.onDeleted = onDeleted;
  }

  /** Mark the open conversation. */
  select(id) {
    this.#current = id;
    for (const link of this.#list.querySelectorAll("a")) this.#mark(link);
  }

  /** Read the list anew; a failure leaves the old one. */
  async refresh() {
    let conversations;
    try {
      ({ conversations = [] } = await listConversations());
    } catch {
      return;
    }
    if (!conversations.length) {
      this.#list.replaceChildren(el("li", { class: "muted" }, "None yet"));
      return;
    }
    this.#list.replaceChildren(...conversations.map((conversation) => {
      const id = conversation.conversation || conversation.id;
      const title = conversation.title || "Untitled";
      const link = el("a", { href: `#/c/${id}`, "data-id": id, title }, title);
      this.#mark(link);
      return el("li", {}, link,
        el("button", { type: "button", class: "icon-button small", "aria-label": `Delete the conversation “${title}”`, click: () => this.#delete(id, title) }, icon("trash")));
    }));
  }

  #mark(link) {
    if (link.dataset.id === this.#current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }

  async #delete(id, title) {
    const sure = await confirmed({ title: "Delete this conversation?", text: `“${title}” and its answers go for good. The documents stay.`, action: "Delete" });
    if (!sure) return;
    try {
      await deleteConversation(id);
    } catch (error) {
      if (error.status !== 404) return;
    }
    await this.refresh();
    this.onDeleted(id);
  }
}
