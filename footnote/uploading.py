"""Sends files to the server and follows them until each is searchable or failed with a reason."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from core.domain import Reason
from core.reasons import ADVICE, explain
from footnote.client import Client, Problem
from footnote.walking import FoundFile

AT_ONCE = 4
POLL_SECONDS = 0.2
PAGE = 100
OPEN = {"queued", "leased"}
ENDS_ALL = {"unauthenticated", "forbidden"}

Status = dict[str, Any]  # One document of the ingest JSON, as the server sends it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may read what is taken in."""

    allow: Sequence[str] = ()
    deny: Sequence[str] = ()


def upload(
    client: Client, files: Sequence[FoundFile], access: Access, *, advanced: Callable[[int], None]
) -> list[Status]:
    """Send the files, some at once; return each one's status in the order given. One refused file stops no other."""

    def send(file: FoundFile) -> Status:
        status = (
            _refused(file, file.refused, explain(file.refused, file.seen))
            if file.refused
            else _send(client, file, access)
        )
        advanced(1)
        return status

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(send, files))


def _send(client: Client, file: FoundFile, access: Access) -> Status:
    fields = {"name": file.name, "source": file.source, "allow": list(access.allow), "deny": list(access.deny)}
    try:
        with file.path.open("rb") as content:
            upload = {"file": (file.name, content)}  # The same file again changes nothing.
            answer = client.call("POST", "/v1/documents", repeatable=True, data=fields, files=upload)
    except OSError as error:
        return _refused(file, Reason.UNREADABLE, f"{ADVICE[Reason.UNREADABLE]} ({error.strerror})")
    except Problem as problem:
        if problem.code in ENDS_ALL or problem.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise  # The next file would fare no better.
        return _refused(file, problem.code, problem.detail)
    status: Status = answer["documents"][0]
    return status


def _refused(file: FoundFile, reason: str, detail: str) -> Status:
    """A file that never became a document is listed all the same: nothing is left out in silence."""
    return {
        "document": None,
        "name": file.name,
        "source": file.source,
        "parent": None,
        "state": "failed",
        "stage": None,
        "reason": str(reason),
        "detail": detail,
        "pages": None,
        "pages_lost": [],
        "chunks": None,
        "version": None,
        "searchable_version": None,
    }


def follow(client: Client, statuses: Sequence[Status], *, advanced: Callable[[int], None]) -> list[Status]:
    """Wait until every document has ended; return their last statuses in the same order."""
    latest = {status["document"]: status for status in statuses if status["document"]}
    waiting = {document for document, status in latest.items() if status["state"] in OPEN}
    pause = POLL_SECONDS
    while waiting:
        before = len(waiting)
        for status in _open_and_ended(client, waiting, {latest[document]["source"] for document in waiting}):
            latest[status["document"]] = latest[status["document"]] | status
        waiting = {document for document in waiting if latest[document]["state"] in OPEN}
        advanced(before - len(waiting))
        if waiting:
            time.sleep(pause)
    return [latest.get(status["document"], status) for status in statuses]


def _open_and_ended(client: Client, waiting: set[str], sources: set[str]) -> Iterator[Status]:
    """Yield the news of the waiting documents: of each alone when they are few, else by pages of their sources."""
    if len(waiting) <= PAGE // 4:
        for document in sorted(waiting):
            yield _status(client, document)
        return
    for source in sorted(sources):
        still_open = set()
        for state in sorted(OPEN):
            still_open |= {status["document"] for status in listed(client, source=source, state=state)}
        for document in sorted(waiting - still_open):
            yield _status(client, document)


def _status(client: Client, document: str) -> Status:
    try:
        status: Status = client.call("GET", f"/v1/documents/{document}")
    except Problem as problem:
        if problem.status_code != HTTPStatus.NOT_FOUND:
            raise
        return {"document": document, "state": "deleted"}  # by somebody else, meanwhile
    return status


def listed(client: Client, **filters: str) -> Iterator[Status]:
    """Yield the documents of the list route, page by page."""
    cursor = None
    while True:
        parameters = filters | {"limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
        page = client.call("GET", "/v1/documents", params=parameters)
        yield from page["documents"]
        cursor = page["next"]
        if not cursor:
            return


def summary(statuses: Sequence[Status]) -> dict[str, Any]:
    """Return the ingest JSON: the documents and how many are in each state."""
    return {"documents": list(statuses), "totals": dict(Counter(status["state"] for status in statuses))}
