"""The chat page in a real browser, against a real server with the samples in it."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.e2e.conftest import PATIENCE, SAMPLES, Server, clean_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed (Debian: chromium)"),
    pytest.mark.timeout(600),  # The first test waits for the server, its worker, and the browser.
]

NAMES = ("products/fh-200-datasheet.pdf", "handbook/security-handbook.html", "suppliers/supplier-faq.html")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Trouble:
    """What a page must never do: throw, break its own content policy, or ask another host."""

    seen: list[str] = field(default_factory=list)

    def watch(self, page: Page, server: Server) -> None:
        page.on("pageerror", lambda error: self.seen.append(str(error)))
        page.on(
            "console", lambda message: self.seen.append(message.text) if "Content Security" in message.text else None
        )
        page.on("request", lambda request: None if self._own(request.url, server) else self.seen.append(request.url))

    @staticmethod
    def _own(url: str, server: Server) -> bool:
        return url.startswith((origin(server) + "/", f"blob:{origin(server)}/"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with some samples in it."""
    server = Server(data=tmp_path_factory.mktemp("chat-page") / "data", environment=clean_environment())
    try:
        server.start()
        take_in(server)
        yield server
    finally:
        server.stop()


def take_in(server: Server) -> None:
    for name in NAMES:
        with (SAMPLES / "documents" / name).open("rb") as file:
            server.call("POST", "/v1/documents", data={"name": name, "source": "samples"}, files={"file": file})
    deadline = time.monotonic() + 240  # The worker gets a processor only when nobody else wants it.
    while time.monotonic() < deadline:
        documents = server.call("GET", "/v1/documents")["documents"]
        if all(document["state"] == "searchable" for document in documents):
            return
        time.sleep(0.3)
    pytest.fail(f"not searchable: {documents}")


def origin(server: Server) -> str:
    return str(server.http.base_url).rstrip("/")


def sign_in_link(server: Server) -> str:
    link: str = server.call("POST", "/v1/session-links")["url"]
    return link if link.startswith("http") else origin(server) + link


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def trouble() -> Iterator[Trouble]:
    trouble = Trouble()
    yield trouble
    assert trouble.seen == []


@pytest.fixture
def page(browser: Browser, server: Server, trouble: Trouble) -> Iterator[Page]:
    """A signed-in page at its beginning."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    trouble.watch(page, server)
    page.goto(sign_in_link(server))
    page.get_by_role("button", name="Sign in").click()
    page.locator("#question").wait_for()
    yield page
    context.close()


def ask(page: Page, question: str) -> None:
    page.locator("#question").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".turn").last).not_to_have_attribute("aria-busy", "true")


def test_a_browser_without_a_session_is_told_how_to_sign_in_and_nothing_else(browser: Browser, server: Server) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(origin(server))
    expect(page.locator("#notice")).to_contain_text("footnote up")
    expect(page.locator("#chat")).to_be_hidden()
    context.close()


def test_after_signing_in_the_address_holds_no_token(page: Page, server: Server) -> None:
    page.wait_for_url(lambda url: url.startswith(origin(server)) and "token" not in url)


def test_a_footnote_opens_the_page_with_the_cited_lines(page: Page) -> None:
    ask(page, "How often must the desiccant cartridge of the FH-200 be replaced?")
    expect(page.locator(".turn .answer")).to_contain_text("12 months")
    page.locator(".answer button.footnote").first.click()
    expect(page.locator("#evidence blockquote")).to_contain_text("12 months")
    image = page.locator("#evidence img.page")
    image.wait_for()
    assert image.evaluate("image => image.naturalWidth") > 300
    page.keyboard.press("Escape")
    expect(page.locator("#evidence")).to_be_hidden()
    assert page.evaluate("document.activeElement.classList.contains('footnote')")


def test_a_footnote_into_a_web_page_opens_the_very_words_in_its_text(page: Page) -> None:
    ask(page, "How quickly must a lost or stolen device be reported to the security team?")
    page.locator(".answer button.footnote").first.click()
    marked = page.locator("#evidence .passage mark")
    expect(marked).to_contain_text("within two hours")
    assert "".join(marked.inner_text().split()) == "".join(page.locator("#evidence blockquote").inner_text().split())


def test_a_question_that_no_document_answers_is_answered_with_i_dont_know(page: Page) -> None:
    ask(page, "Am I allowed to bring my dog to the office?")
    expect(page.locator(".turn .unknown")).to_contain_text("documents that you may read do not say")
    expect(page.locator(".turn .footnote")).to_have_count(0)


def test_a_conversation_is_there_again_after_reloading(page: Page) -> None:
    ask(page, "Up to what amount may the goods-in team accept a refund without further approval?")
    answer = page.locator(".turn .answer").inner_text()
    page.reload()
    expect(page.locator(".turn .answer")).to_have_text(answer)
    page.locator(".answer button.footnote").first.click()
    expect(page.locator("#evidence blockquote")).to_contain_text("500 euros")


def test_an_uploaded_file_becomes_searchable_before_the_readers_eyes_and_can_be_deleted(
    page: Page, tmp_path: Path
) -> None:
    file = tmp_path / "canteen.md"
    file.write_text("# Canteen\n\nThe canteen serves lunch from 11:45 to 13:30. Soup costs 3 euros.\n", "utf-8")
    page.locator("#documents-link").click()
    page.locator("#files").set_input_files(file)
    row = page.locator(".document", has_text="canteen.md")
    expect(row.locator(".chip")).to_have_text("Searchable")
    row.get_by_role("button", name="Delete canteen.md").click()
    page.locator("#confirm-yes").click()
    expect(row).to_have_count(0)


def _upload(page: Page, name: str, text: str, *, readers: str) -> None:
    page.locator("#readers").select_option(label=readers)
    page.locator("#files").set_input_files({"name": name, "mimeType": "text/markdown", "buffer": text.encode()})


def _of_name(server: Server, name: str, **headers: str) -> list[str]:
    found = server.call("GET", "/v1/documents", params={"name": name}, headers=headers)["documents"]
    return [document["document"] for document in found]


def test_files_of_one_name_are_documents_of_their_own_each_with_its_own_readers(page: Page, server: Server) -> None:
    page.locator("#documents-link").click()
    rows = page.locator(".document", has_text="salaries.md")
    _upload(page, "salaries.md", "# Salaries\n\nThe scale of pay is public.\n", readers="Everyone here")
    expect(rows).to_have_count(1)
    page.wait_for_timeout(1_000)  # The page tells seconds.
    _upload(page, "salaries.md", "# Salaries\n\nThe director earns a secret sum.\n", readers="Only me")
    expect(rows).to_have_count(2)

    own, shared = _of_name(server, "salaries.md")  # the newest first
    assert _of_name(server, "salaries.md", **{"X-Footnote-As": "user:somebody"}) == [shared]

    labels = [button.get_attribute("aria-label") for button in rows.get_by_role("button").all()]
    assert len(set(labels)) == len(labels)  # Two of one name are told apart by when they came in.
    expect(rows.first).to_contain_text("Added ")
    rows.first.get_by_role("button", name="Delete salaries.md").click()
    page.locator("#confirm-yes").click()
    expect(rows).to_have_count(1)
    assert _of_name(server, "salaries.md") == [shared]
    assert own != shared


def _fail_and_try_again(page: Page, name: str, how: Callable[[Route], None]) -> None:
    """Upload for one's own eyes, fail once, choose other readers for what comes later, and try again."""
    page.locator("#documents-link").click()
    page.route(lambda url: urlsplit(url).path == "/v1/documents", how)
    _upload(page, name, f"# {name}\n\nThis is for nobody else.\n", readers="Only me")
    again = page.locator(".upload").get_by_role("button", name="Try again")
    again.wait_for()
    page.unroute_all()
    page.locator("#readers").select_option(label="Everyone here")
    again.click()
    expect(page.locator(".upload")).to_have_count(0)
    expect(page.locator(".document", has_text=name)).to_have_count(1)


def test_an_upload_that_is_tried_again_has_the_readers_it_had(page: Page, server: Server) -> None:
    _fail_and_try_again(page, "diary.md", lambda route: route.abort())

    assert len(_of_name(server, "diary.md")) == 1
    assert _of_name(server, "diary.md", **{"X-Footnote-As": "user:somebody"}) == []


def test_an_upload_whose_answer_was_lost_is_one_document_when_it_is_tried_again(page: Page, server: Server) -> None:
    arrived: list[int] = []

    def lose_the_answer(route: Route) -> None:
        if route.request.method == "POST":
            arrived.append(route.fetch().status)
        route.abort()

    _fail_and_try_again(page, "letter.md", lose_the_answer)

    assert arrived == [202]
    assert len(_of_name(server, "letter.md")) == 1


def test_nothing_is_wider_than_a_small_telephone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    ask(page, "How often must the desiccant cartridge of the FH-200 be replaced?")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".answer button.footnote").first.click()
    page.locator("#evidence img.page").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
