// Server-sent events over fetch: EventSource can neither POST nor name the event to go on after.

import { pause } from "./dom.js";
import { Problem, send } from "./api.js";

const WAITS = [300, 1000, 2000, 4000, 8000, 8000];
const LAST = new Set(["done", "error"]);

/** Yield {id, type, data} for each event of a byte stream. */
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const held = rest.endsWith("\r") ? 1 : 0; // Its line feed may be in the next piece.
      const blocks = rest.slice(0, rest.length - held).replace(/\r\n?/g, "\n").split("\n\n");
      rest = blocks.pop() + (held ? "\r" : "");
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const event = { id: null, type: "message", data: "" };
  const lines = [];
  for (const line of block.split("\n")) {
    if (!line || line.startsWith(":")) continue;
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") event.id = value;
    else if (name === "event") event.type = value;
    else if (name === "data") lines.push(value);
  }
  if (lines.length === 0) return null;
  event.data = JSON.parse(lines.join("\n"));
  return event;
}

/** Whether the event ends this connection alone: the log, which numbers its events, could not be read just now. */
const endsConnection = ({ type, data }) => type === "error" && data.code === "unavailable";

/** Yield an answer's events to the last one, across broken connections.
 *
 * Starts with `question` (and `conversation`), or with the id of an `answer` that exists already. Yields
 * {type: "reconnecting"} while it tries again; throws a Problem when that is of no use.
 */
export async function* followAnswer({ question, conversation, answer = null }, signal) {
  const stream = { Accept: "text/event-stream" };
  let last = null;
  let attempt = 0;
  for (;;) {
    try {
      const response = answer
        ? await send("GET", `/v1/answers/${encodeURIComponent(answer)}/events`, { signal, headers: last ? { ...stream, "Last-Event-ID": last } : stream })
        : await send("POST", "/v1/chat", { signal, headers: stream, body: conversation ? { question, conversation } : { question } });
      answer ||= response.headers.get("X-Footnote-Answer");
      for await (const event of events(response.body)) {
        if (event.id !== null) last = event.id;
        if (event.type === "retrieval") answer ||= event.data.answer;
        if (event.id !== null) attempt = 0;
        else if (endsConnection(event) && answer && attempt < WAITS.length) break;
        yield event;
        if (LAST.has(event.type)) return;
      }
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof SyntaxError) throw error; // Not the line's fault: it would come again.
      if (error instanceof Problem && (!answer || ![0, 503].includes(error.status))) throw error;
    }
    if (!answer || attempt === WAITS.length) throw new Problem(0, { detail: "The connection broke and did not come back. Ask again." });
    yield { id: null, type: "reconnecting", data: {} };
    await pause(WAITS[attempt++], signal);
  }
}
