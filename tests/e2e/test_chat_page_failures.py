"""Failed and incomplete documents on the chat page: a real browser, the real API, and a parser that can be mended."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.db.session import Database
from core.intake import UploadRequest
from tests.e2e.conftest import PATIENCE
from tests.footnote.served import Branch, served
from tests.ingestion.works import story

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed (Debian: chromium)"),
]

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
FILES = {
    "scan.txt": "!corrupt@3 no page could be read",
    "broken.txt": "!parser_crashed killed by SIGSEGV",
    "book.txt": "lossy " + story("books"),
    "tea.txt": story("tea"),
}


@pytest.fixture
def branch(sqlite_database: Database, tmp_path: Path) -> Iterator[Branch]:
    folder = tmp_path / "house"
    folder.mkdir()
    with Branch(sqlite_database, folder) as opened:
        for name, text in FILES.items():
            request = UploadRequest(name=name, source="shelf", allow=["group:staff"])
            opened.intake.upload(opened.principal("ed"), request, text.encode())
        yield opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


def documents_of(branch: Branch, browser: Browser, url: str, person: str, *, failed: int = 2) -> Page:
    """Return the documents page as the person sees it, once everything has ended."""
    page = browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
    page.set_default_timeout(PATIENCE)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(f"{url}/sign-in?token={branch.link(person)}")
    page.get_by_role("button", name="Sign in").click()
    page.locator("#documents-link").click()
    expect(page.locator(".chip.failed")).to_have_count(failed)
    expect(page.locator(".chip.searchable")).to_have_count(2)
    assert troubles == []
    return page


def photograph(page: Page, name: str) -> None:
    """Keep a picture for whoever wants to look at it."""
    if folder := os.environ.get("FOOTNOTE_TEST_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_failed_document_tells_why_and_becomes_searchable_when_it_is_retried(
    branch: Branch, browser: Browser
) -> None:
    with served(branch) as url:
        page = documents_of(branch, browser, url, "ed")
        row = page.locator(".document", has_text="scan.txt")
        expect(row).to_contain_text("Open it in its own program")  # what to do, without opening anything
        expect(row.locator(".failure dl")).to_have_count(0)
        row.locator("summary").click()
        facts = row.locator(".failure dl")
        for fact in ("reading the file", "corrupt", "3", "1 time"):
            expect(facts.locator("dd", has_text=fact).first).to_be_visible()
        expect(row.locator("pre.excerpt")).to_have_text("  a.parser, line 1, in parse")
        photograph(page, "failed")

        branch.parser.mended = True
        row.get_by_role("button", name="Retry scan.txt").click()
        expect(row.locator(".chip")).to_have_text("Searchable")
        expect(row.locator(".failure")).to_have_count(0)
        expect(page.locator(".chip.failed")).to_have_count(1)
        expect(page.locator("#retry-all")).to_be_hidden()  # A single one has a button of its own.
        page.context.close()


def test_all_that_failed_is_retried_at_once(branch: Branch, browser: Browser) -> None:
    with served(branch) as url:
        page = documents_of(branch, browser, url, "ed")
        branch.parser.mended = True
        page.get_by_role("button", name="Retry all that failed (2)").click()
        expect(page.locator(".chip.searchable")).to_have_count(4)
        expect(page.locator("#status")).to_have_text("2 documents tried again.")
        page.context.close()


def test_what_failed_for_one_reason_is_retried_and_what_failed_for_another_is_left_alone(
    branch: Branch, browser: Browser
) -> None:
    with served(branch) as url:
        request = UploadRequest(name="torn.txt", source="shelf", allow=["group:staff"])
        branch.intake.upload(branch.principal("ed"), request, b"!corrupt@1 torn in two")
        page = documents_of(branch, browser, url, "ed", failed=3)
        causes = page.locator("#causes li")
        expect(causes).to_have_count(2)
        expect(causes.first).to_contain_text("2 documents failed while reading the file: corrupt")
        expect(causes.last).to_contain_text("1 document failed while reading the file: parser_crashed")
        photograph(page, "causes")
        asked: list[object] = []
        page.on("request", lambda sent: asked.append(sent.post_data_json) if "replay" in sent.url else None)
        branch.parser.mended = True
        page.get_by_role("button", name="Retry what failed while reading the file: corrupt").click()
        expect(page.locator("#status")).to_have_text("2 documents tried again.")
        expect(page.locator(".chip.searchable")).to_have_count(4)
        expect(page.locator(".document", has=page.locator(".chip.failed"))).to_contain_text("broken.txt")
        expect(page.locator("#causes")).to_be_hidden()  # A single one has a button of its own.
        assert asked == [{"reason": "corrupt", "stage": "parse", "cursor": None}]
        page.context.close()


def test_what_fails_again_tells_of_its_last_attempt(branch: Branch, browser: Browser) -> None:
    with served(branch) as url:
        page = documents_of(branch, browser, url, "ed")
        row = page.locator(".document", has_text="scan.txt")
        row.locator("summary").click()
        failed = row.locator("dd").last
        first = failed.inner_text()
        page.wait_for_timeout(1_100)  # The page tells seconds.
        row.get_by_role("button", name="Retry scan.txt").click()
        expect(page.locator("#status")).to_have_text("scan.txt is tried again.")
        expect(row.locator("details[open]")).to_have_count(0)  # What it told is of the attempt before.
        expect(row.locator(".chip")).to_have_text("Failed")
        row.locator("summary").click()
        expect(failed).not_to_have_text(first)
        page.context.close()


def test_a_reader_sees_what_failed_and_cannot_retry_it(branch: Branch, browser: Browser) -> None:
    with served(branch) as url:
        page = documents_of(branch, browser, url, "rita")
        row = page.locator(".document", has_text="broken.txt")
        row.locator("summary").click()
        expect(row.locator("dl")).to_contain_text("parser_crashed")
        expect(page.get_by_role("button", name="Retry")).to_have_count(0)
        page.context.close()


def test_a_document_with_pages_lost_warns_of_it(branch: Branch, browser: Browser) -> None:
    with served(branch) as url:
        page = documents_of(branch, browser, url, "ed")
        warning = page.locator(".document", has_text="book.txt").locator(".warning")
        expect(warning).to_have_text("1 page could not be read and cannot be found: 2.")
        expect(page.locator(".document .warning")).to_have_count(1)
        page.context.close()


def test_failures_fit_on_a_small_telephone(branch: Branch, browser: Browser) -> None:
    with served(branch) as url:
        page = documents_of(branch, browser, url, "ed")
        page.set_viewport_size({"width": 360, "height": 740})
        for summary in page.locator(".failure summary").all():
            summary.click()
        expect(page.locator("pre.excerpt")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        photograph(page, "telephone")
        page.context.close()
