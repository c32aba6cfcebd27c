// Puts the page together: who is signed in, what the address shows, the side bar on small screens.

import { byId, el, icon } from "./dom.js";
import { closeSession, openSession } from "./api.js";
import { Chat } from "./chat.js";
import { Conversations } from "./conversations.js";
import { Documents } from "./documents.js";
import { emptyState } from "./examples.js";
import { EvidencePanel } from "./evidence.js";

async function start() {
  let session;
  try {
    session = await openSession();
  } catch (error) {
    showSignIn(error);
    return;
  }
  byId("who").replaceChildren("Signed in as ", el("strong", {}, session.user || "unknown"), session.role ? ` (${session.role})` : "", " ",
    el("button", { type: "button", class: "link", click: () => closeSession().finally(() => location.reload()) }, "Sign out"));
  compose(session);
}

function compose(session) {
  const evidence = new EvidencePanel();
  const documents = new Documents(session);
  const chat = new Chat({
    evidence,
    empty: () => emptyState({ onAsk: (text) => chat.ask(text), onSuggest: (text) => chat.suggest(text), mayUpload: documents.mayUpload }),
    onConversation: (id) => {
      history.replaceState(null, "", `#/c/${id}`);
      conversations.select(id);
      conversations.refresh();
    },
    onProblem: (problem) => problem.status === 401 && showSignIn(problem),
  });
  const conversations = new Conversations({
    onDeleted: (id) => {
      if (id === chat.conversation) location.hash = "#/";
    },
  });

  const route = () => {
    closeSidebar();
    const [, place, id] = location.hash.split("/");
    const showsDocuments = place === "documents";
    byId("chat").hidden = showsDocuments;
    if (showsDocuments) {
      byId("documents-link").setAttribute("aria-current", "page");
      conversations.select(null);
      evidence.close();
      documents.open();
      document.title = "Documents · Footnote";
      return;
    }
    document.title = "Footnote";
    documents.close();
    byId("documents-link").removeAttribute("aria-current");
    conversations.select(place === "c" ? id : null);
    if (place === "c" && id) chat.open(decodeURIComponent(id));
    else chat.clear();
  };

  const begin = () => {
    if (location.hash === "#/" || location.hash === "") route();
    else location.hash = "#/";
  };
  byId("new").addEventListener("click", begin);
  byId("new-small").addEventListener("click", begin);
  window.addEventListener("hashchange", route);
  byId("menu").addEventListener("click", () => (document.body.classList.contains("with-sidebar") ? closeSidebar() : openSidebar()));
  byId("scrim").addEventListener("click", closeSidebar);
  document.addEventListener("keydown", (event) => event.key === "Escape" && closeSidebar());
  conversations.refresh();
  route();
}

function openSidebar() {
  document.body.classList.add("with-sidebar");
  byId("scrim").hidden = false;
  byId("menu").setAttribute("aria-expanded", "true");
  byId("new").focus();
}

function closeSidebar() {
  if (!document.body.classList.contains("with-sidebar")) return;
  document.body.classList.remove("with-sidebar");
  byId("scrim").hidden = true;
  byId("menu").setAttribute("aria-expanded", "false");
  byId("menu").focus();
}

function showSignIn(problem) {
  document.body.classList.add("plain");
  for (const id of ["chat", "documents", "evidence"]) byId(id).hidden = true;
  const again = el("button", { type: "button", class: "button", click: () => location.reload() }, "Check again");
  const content = problem.status === 401
    ? [el("h1", {}, "Sign in"),
      el("p", {}, "This page knows you by a one-time link. Run this where Footnote is installed, and open the link that it prints:"),
      el("pre", {}, el("code", {}, "footnote up")),
      el("p", { class: "muted" }, "If Footnote runs elsewhere, ask whoever runs it for a link. API keys are for programs; never paste one into a page.")]
    : [el("p", { class: "note" }, icon("warn"), el("span", {}, problem.message))];
  byId("notice").replaceChildren(el("p", { class: "brand" }, "Footnote", el("sup", { "aria-hidden": "true" }, "1")), ...content, again);
  byId("notice").classList.add("card");
  byId("notice").hidden = false;
}

start();
