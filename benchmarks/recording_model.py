"""An OpenAI-compatible endpoint that keeps what it is sent: what a model sees of the documents, on the wire."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = "This is what the first passage says. [1]"


@dataclass(slots=True)
class RecordingModel:
    """The endpoint's address and the prompts it was sent, oldest first, each as one text of all its messages."""

    url: str
    prompts: list[str] = field(default_factory=list)


@contextmanager
def recording_model() -> Iterator[RecordingModel]:
    """Listen on a free loopback port until the block ends; every request is answered with one cited sentence."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            recording.prompts.append("\n".join(str(message["content"]) for message in body["messages"]))
            chunk = {
                "id": "recorded",
                "object": "chat.completion.chunk",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "delta": {"content": ANSWER}, "finish_reason": "stop"}],
            }
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())

        def log_message(self, *_: object) -> None:
            """Print nothing: a line a request would drown the figures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recording = RecordingModel(url=f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, name="recording-model", daemon=True)
    thread.start()
    try:
        yield recording
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
