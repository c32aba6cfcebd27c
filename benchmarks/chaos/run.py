"""One run: a journal of what was accepted, faults, a drain, and the comparison of journal, catalogue and index."""

import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sqlalchemy import func, select

from benchmarks.chaos.corpus import File, files
from benchmarks.chaos.faults import Faults, small_disk
from core.db.releases import live_release
from core.db.session import Database
from core.db.tables import ChunkRow, DocumentRow, StageRow
from core.settings import Settings
from footnote.topology.distributed import Installation, distributed
from retrieval.factory import open_index

UPLOADERS = 4
DRAIN_SECONDS = 300.0  # Who is not done by then is stuck. Workers are idle-priority: beside other tests they are slow.
LEASE_SECONDS = 6.0
MOST_SECONDS = 30.0  # After the last fault, for 95 of 100.
MOST_CHUNKS = 2_000  # In all: what is done twice would be seen here as well.
POLL_SECONDS = 0.5
PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of all that was accepted; `p95_s`: from the last fault, or the acceptance if later, until done."""

    accepted: int
    searchable: int
    failed: int
    lost: int
    doubled: int
    orphans: int
    stuck: int
    p95_s: float
    seed: int
    chunks: int
    poison: int
    reasons: dict[str, int]
    faults: dict[str, int]
    restarts: dict[str, int]
    innocent_failed: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether everything accepted came to a right end, whenever that was."""
        ended = self.searchable + self.failed == self.accepted and self.chunks <= MOST_CHUNKS
        return ended and not (self.lost or self.doubled or self.orphans or self.stuck or self.innocent_failed)

    @property
    def in_time(self) -> bool:
        return self.p95_s < MOST_SECONDS

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class _Accepted:
    file: File
    document: str
    at: float
    done: float | None = None
    state: str = ""
    reason: str | None = None


def chaos(*, seed: int, count: int, seconds: float, keep: bool = False) -> Outcome:
    """Upload `count` files while faults go on for `seconds`; wait until all are done, and compare.

    :raises Unavailable: the installation does not come up at all.
    """
    folder = Path(tempfile.mkdtemp(prefix="footnote-chaos-"))
    folder.chmod(0o755)  # PostgreSQL runs as somebody else.
    try:
        with (
            small_disk(folder / "installation" / "blobs", 64) as disk,
            distributed(
                folder / "installation",
                durable=False,
                lease_seconds=str(LEASE_SECONDS),
                parser_wall_seconds="20",
                min_free_bytes="0",  # Here the disk is to be full to the last byte.
            ) as installation,
        ):
            return _run(installation, disk, seed=seed, count=count, seconds=seconds)
    finally:
        if keep:
            print(f"kept: {folder}", file=sys.stderr)  # noqa: T201 - asked for
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _run(installation: Installation, disk: Path | None, *, seed: int, count: int, seconds: float) -> Outcome:
    journal: dict[str, _Accepted] = {}
    watcher = _Watcher(installation, journal)
    faults = Faults(installation, seed, blobs=disk, lease_seconds=LEASE_SECONDS)
    began = time.monotonic()
    faults.start()
    watcher.start()
    _upload_all(installation, list(files(count, seed)), journal, seconds=seconds, seed=seed)
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    last_fault = faults.stop()
    for name in installation.processes.names:
        installation.processes.wait_until_ready(name)
    watcher.wait(last_fault + DRAIN_SECONDS)
    for line in _unfinished(installation):
        print(line, file=sys.stderr)  # noqa: T201 - what to look at where something is stuck
    doubled, orphans, chunks = _compare(installation)
    states = Counter(one.state for one in journal.values())
    taken = [one.done - max(last_fault, one.at) for one in journal.values() if one.done and one.done > last_fault]
    return Outcome(
        accepted=len(journal),
        searchable=states["searchable"],
        failed=states["failed"],
        lost=states["lost"] + (count - len(journal)),
        doubled=doubled,
        orphans=orphans,
        stuck=sum(one.done is None for one in journal.values()),
        p95_s=round(float(np.percentile(taken, 95)), 1) if taken else 0.0,
        seed=seed,
        chunks=chunks,
        poison=sum(one.file.poison for one in journal.values()),
        reasons=dict(Counter(one.reason or "" for one in journal.values() if one.state == "failed")),
        faults=dict(faults.done),
        restarts=installation.processes.restarts,
        innocent_failed=[one.file.name for one in journal.values() if one.state == "failed" and not one.file.poison],
    )


def _upload_all(
    installation: Installation, some: Sequence[File], journal: dict[str, _Accepted], *, seconds: float, seed: int
) -> None:
    """Send every file until it is accepted, spread over the time of the faults; note each 202."""
    chance = random.Random(seed)  # noqa: S311 - spacing, not secrets
    pause = seconds * UPLOADERS / len(some) / 1.2
    lock = threading.Lock()

    def send(file: File) -> None:
        time.sleep(chance.uniform(0, 2 * pause))
        while True:
            try:
                answer = httpx.post(
                    f"{installation.url}/v1/documents",
                    headers={"Authorization": f"Bearer {installation.owner_key}"},
                    data={"name": file.name, "source": "chaos", "allow": "*"},
                    files={"file": (file.name, file.content)},
                    timeout=10.0,
                    trust_env=False,
                )
            except httpx.HTTPError:
                time.sleep(0.3)
                continue
            if answer.status_code == httpx.codes.ACCEPTED:
                document = answer.json()["documents"][0]["document"]
                with lock:
                    journal[file.name] = _Accepted(file, document, time.monotonic())
                return
            time.sleep(0.3)

    with ThreadPoolExecutor(UPLOADERS) as pool:
        list(pool.map(send, some))


class _Watcher:
    """Asks what became of the accepted, over and over, as a user would."""

    def __init__(self, installation: Installation, journal: dict[str, _Accepted]) -> None:
        self._installation = installation
        self._journal = journal
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._over = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def wait(self, deadline: float) -> None:
        """Return when all are done, or at the deadline."""
        while time.monotonic() < deadline and any(one.done is None for one in list(self._journal.values())):
            time.sleep(POLL_SECONDS)
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._installation.owner_key}"}
        with httpx.Client(base_url=self._installation.url, headers=headers, timeout=10.0, trust_env=False) as http:
            while not self._over.wait(POLL_SECONDS):
                open_ = [one for one in list(self._journal.values()) if one.done is None]
                try:
                    listed = _listed(http) if open_ else {}
                    for one in open_:
                        self._note(one, listed.get(one.document) or _asked(http, one.document))
                except httpx.HTTPError:
                    continue

    def _note(self, one: _Accepted, status: dict[str, Any]) -> None:
        if status["state"] in {"searchable", "failed", "lost"}:
            one.state, one.reason, one.done = status["state"], status["reason"], time.monotonic()


def _listed(http: httpx.Client) -> dict[str, dict[str, Any]]:
    """Return all documents of the source: two pages instead of a request for each, which would starve the workers."""
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    while True:
        parameters = {"source": "chaos", "limit": str(PAGE)} | ({} if cursor is None else {"cursor": cursor})
        page = http.get("/v1/documents", params=parameters).raise_for_status().json()
        found |= {status["document"]: status for status in page["documents"]}
        cursor = page["next"]
        if cursor is None:
            return found


def _asked(http: httpx.Client, document: str) -> dict[str, Any]:
    """Return what became of a document that is not in the list: accepted after it was made, or lost."""
    answer = http.get(f"/v1/documents/{document}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return {"state": "lost", "reason": None}
    status: dict[str, Any] = answer.raise_for_status().json()
    return status


def _compare(installation: Installation) -> tuple[int, int, int]:
    """Return doubled passages, points without a current passage (or the other way round), and all passages."""
    settings = Settings.model_validate(
        {"database_url": installation.environment["FOOTNOTE_DATABASE_URL"], "qdrant_url": _index_url(installation)}
    )
    database = Database(str(settings.database_url))
    try:
        with database.reading() as session:
            release = live_release(session)
            assert release is not None  # noqa: S101 - the API made one when it started
            rows = session.execute(
                select(ChunkRow.id, DocumentRow.id.label("document"), DocumentRow.name)
                .join(DocumentRow, DocumentRow.current_version == ChunkRow.version_id)
                .where(DocumentRow.deleted_at.is_(None))
            ).all()
            documents = (
                session.execute(select(DocumentRow.name).where(DocumentRow.deleted_at.is_(None))).scalars().all()
            )
    finally:
        database.close()
    index = open_index(settings, Path(), release.index_id, _dimension(settings))
    try:
        points = Counter(stored.chunk for stored in index.stored())
    finally:
        index.close()
    doubled = sum(count - 1 for count in points.values()) + (len(documents) - len(set(documents)))
    catalogue = {row.id for row in rows}
    return doubled, len(set(points) ^ catalogue), len(catalogue)


def _unfinished(installation: Installation) -> list[str]:
    """Return what the queue still holds, by kind."""
    database = Database(installation.environment["FOOTNOTE_DATABASE_URL"])
    kind = StageRow.name, StageRow.state, StageRow.attempt, StageRow.lease_owner, StageRow.reason, StageRow.detail
    try:
        with database.reading() as session:
            rows = session.execute(
                select(*kind, func.count()).where(StageRow.state.in_(("queued", "leased", "waiting"))).group_by(*kind)
            ).all()
    finally:
        database.close()
    return [str(tuple(row)) for row in rows]


def _index_url(installation: Installation) -> str:
    return installation.environment["FOOTNOTE_QDRANT_URL"]


def _dimension(settings: Settings) -> int:
    from retrieval.factory import build_embedder  # noqa: PLC0415 - only here

    return build_embedder(settings).dim
