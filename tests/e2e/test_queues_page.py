"""The queues on the page, in a real browser: a real server whose worker is kept from working, and one without any."""

import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from sqlalchemy import update

from core.db import signs
from core.db.clock import SECOND
from core.db.session import Database
from core.db.tables import StageRow
from core.intake import UploadRequest
from tests.e2e.conftest import PATIENCE, Server, clean_environment
from tests.e2e.test_chat_page import ARGUMENTS, Trouble, sign_in_link
from tests.e2e.test_chat_page_failures import photograph
from tests.footnote.served import Branch, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed (Debian: chromium)"),
    pytest.mark.timeout(600),  # A test waits for the server, its worker, and the page.
]

LONG = 3 * PATIENCE  # The worker gets a processor only when nobody else wants it.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(data=tmp_path_factory.mktemp("queues-page") / "data", environment=clean_environment())
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    trouble = Trouble()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        trouble.watch(page, server)
        yield page
        browser.close()
    assert trouble.seen == []


@contextmanager
def frozen_worker(server: Server) -> Iterator[None]:
    """Hold the worker child still, as a machine that has no processor for it does."""
    deadline = time.monotonic() + 60
    while not (pids := server.worker_pids()) or not _frozen(server, pids):
        _send(pids, signal.SIGCONT)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    try:
        yield
    finally:
        _send(pids, signal.SIGCONT)


def _frozen(server: Server, pids: list[int]) -> bool:
    """Stop the processes; return whether they stand still, and none in the middle of a write that keeps others out."""
    _send(pids, signal.SIGSTOP)
    if not all(_stands_still(pid) for pid in pids):
        return False
    with closing(sqlite3.connect(server.data / "catalogue.db", timeout=0, isolation_level=None)) as catalogue:
        try:
            catalogue.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:  # Or the server itself is writing.
            return False
        catalogue.execute("ROLLBACK")
    return True


def _stands_still(pid: int) -> bool:
    """Whether every thread has stopped: a signal is sent at once, and heeded when the process has a processor."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError):  # A thread has ended, or all.
            stats = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
            states = {stat.rpartition(")")[2].split()[0] for stat in stats}
            if states <= {"T"}:
                return bool(states)
        time.sleep(0.02)
    return False


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def upload(server: Server, name: str, content: bytes) -> None:
    server.call("POST", "/v1/documents", data={"name": name, "source": "s"}, files={"file": content})


def test_an_operator_sees_what_waits_what_failed_and_that_it_goes_on(server: Server, page: Page) -> None:
    upload(server, "torn.pdf", b"%PDF-1.4\nnothing that a reader of PDF understands")
    upload(server, "first.txt", b"A text that becomes a passage.")
    with frozen_worker(server):
        for number in range(3):
            upload(server, f"{number}.txt", f"Text number {number}.".encode())
        page.goto(sign_in_link(server))
        page.get_by_role("button", name="Sign in").click()
        page.locator("#question").wait_for()
        page.goto(f"{str(server.http.base_url).rstrip('/')}/#/documents")
        panel = page.locator("#queues")
        expect(panel).to_be_visible()
        expect(panel).to_have_attribute("open", "")
        reading = panel.locator('[data-queue="parse"]')
        expect(reading.locator(".chip")).to_have_text(re.compile("Waiting|Working"))
        expect(reading).to_contain_text("Reading files")
    expect(panel.locator("summary")).to_contain_text("1 document failed", timeout=LONG)
    expect(panel).to_contain_text("1 failed: corrupt")
    for queue in ("parse", "embed", "index"):
        expect(panel.locator(f'[data-queue="{queue}"] .chip')).to_have_text("Idle", timeout=LONG)


def test_who_does_not_run_the_installation_sees_no_queues(server: Server, page: Page) -> None:
    server.call("POST", "/v1/admin/users", json={"name": "ed"})
    key = server.call("POST", "/v1/admin/keys", json={"user": "ed", "role": "editor"})["secret"]
    link = server.http.post("/v1/session-links", headers={"Authorization": f"Bearer {key}"}).json()["url"]
    base = str(server.http.base_url).rstrip("/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(link if link.startswith("http") else base + link)
    page.get_by_role("button", name="Sign in").click()
    page.locator("#question").wait_for()
    page.goto(f"{base}/#/documents")
    expect(page.locator("#documents-title")).to_be_visible()
    expect(page.locator(".document-list")).to_be_visible()
    expect(page.locator("#queues")).to_be_hidden()
    assert not [url for url in asked if "/v1/admin/" in url]


def test_a_queue_without_workers_and_a_reconciler_that_does_not_come_round_are_told(
    sqlite_database: Database, tmp_path: Path
) -> None:
    branch = Branch(sqlite_database, tmp_path)
    branch.closed = True
    branch.services = replace(branch.services, distributed=True, started=time.monotonic() - 600)
    branch.intake.upload(branch.principal("ed"), UploadRequest(name="a.txt", source="s", allow=[]), b"A text.")
    with sqlite_database.transaction() as session:
        session.execute(update(StageRow).values(ready_at=StageRow.ready_at - 300 * SECOND))
    with branch, served(branch) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{url}/sign-in?token={branch.link('owner')}")
        page.get_by_role("button", name="Sign in").click()
        page.locator("#documents-link").click()
        panel = page.locator("#queues.trouble")
        expect(panel.locator('[data-queue="parse"] .chip')).to_have_text("Dead")
        expect(panel).to_contain_text(re.compile(r"1 could be worked on, and nobody has taken any for 3\d\d s"))
        expect(panel.locator("summary")).to_contain_text("reading files dead · nobody looks after them")
        expect(panel.locator(".beat")).to_contain_text("Nobody has ever looked for work that waits")
        photograph(page, "dead")
        with sqlite_database.transaction() as session:
            signs.note(session, signs.RECONCILED)
        expect(panel.locator(".beat")).to_have_text(re.compile(r"Work that waits was last looked for \d+ s ago\."))
        browser.close()
