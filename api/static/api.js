// The REST interface, as this page uses it. The browser session is a cookie; changing requests carry its CSRF token.

let csrf = "";

/** What the server, or the way to it, answered instead: a status (0: nobody answered), a stable code, a sentence. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail || body.title || (status === 0 ? "Footnote does not answer. Is it still running?" : `The server answered ${status}.`));
    this.status = status;
    this.code = body.code || (status === 0 ? "unreachable" : "http_error");
    this.requestId = body.request_id || null;
  }
}

/** Send a request; return the response when it is a good one, else throw a Problem (aborts are passed on). */
export async function send(method, path, { body, headers = {}, signal } = {}) {
  const init = { method, headers: { ...headers }, signal, credentials: "same-origin", cache: "no-store" };
  if (method !== "GET") init.headers["X-CSRF-Token"] = csrf;
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0);
  }
  if (response.ok) return response;
  throw new Problem(response.status, await response.json().catch(() => ({})));
}

async function json(method, path, options = {}) {
  const response = await send(method, path, { ...options, headers: { Accept: "application/json", ...options.headers } });
  const text = await response.text();
  return text ? JSON.parse(text) : {};
}

const query = (values) => {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== null && value !== undefined && value !== "") search.set(name, value);
  const text = search.toString();
  return text ? `?${text}` : "";
};
const part = encodeURIComponent;

/** Return who is signed in and keep the token for later; throws a Problem of status 401 when nobody is. */
export async function openSession() {
  const session = await json("GET", "/v1/session");
  csrf = session.csrf || "";
  return session;
}

export const closeSession = () => json("DELETE", "/v1/session");
export const csrfToken = () => csrf;

export const listConversations = () => json("GET", "/v1/conversations");
export const readConversation = (id) => json("GET", `/v1/conversations/${part(id)}`);
export const deleteConversation = (id) => json("DELETE", `/v1/conversations/${part(id)}`);
export const stopAnswer = (id) => json("POST", `/v1/answers/${part(id)}/stop`);

export const listDocuments = ({ state, cursor, limit } = {}) => json("GET", `/v1/documents${query({ state, cursor, limit })}`);
export const deleteDocument = (id) => json("DELETE", `/v1/documents/${part(id)}`);
export const listDeadLetters = ({ cursor, limit } = {}) => json("GET", `/v1/deadletters${query({ cursor, limit })}`);
export const readDeadLetter = (id) => json("GET", `/v1/deadletters/${part(id)}`);
export const replayDeadLetters = (body) => json("POST", "/v1/deadletters/replay", { body });
export const readQueues = () => json("GET", "/v1/admin/queues");
export const retryDocument = (id) => json("POST", `/v1/documents/${part(id)}/retry`);

/** Return the page as a picture with the cited lines drawn (a blob). */
export async function pageImage({ document, version, page, span }, signal) {
  const values = { version, span: span ? `${span[0]}-${span[1]}` : null };
  const response = await send("GET", `/v1/documents/${part(document)}/pages/${page}.png${query(values)}`, { signal });
  return response.blob();
}

/** Return {text, length}: a range of a document's canonical text and the whole text's length, in code points. */
export function passage({ document, version, start, end }, signal) {
  return json("GET", `/v1/documents/${part(document)}/text${query({ version, start, end })}`, { signal });
}
