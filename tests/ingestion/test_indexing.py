import itertools
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from core.db import access, deadletters, receipts, stages
from core.db.clock import now
from core.db.session import Database
from core.db.tables import IndexTaskRow
from core.domain import DocumentState, Reason, StageName
from core.errors import IndexUnavailable
from core.ids import ChunkId, DocumentId, TenantId, VersionId
from ingestion import indexing
from ingestion.endings import MOST_ATTEMPTS
from ingestion.indexing import GATHER_SECONDS
from retrieval.index.edge import EdgeIndex
from retrieval.index.memory import MemoryIndex
from retrieval.ports import IndexPoint
from tests.ingestion.conftest import Clock, Logged, Passing
from tests.ingestion.works import INDEX, TENANT, Killed, Works, story


class MoodyIndex(MemoryIndex):
    """The exact index until told otherwise. Each hook is called first and may raise, or change the world meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.before_upsert: Callable[[Sequence[IndexPoint]], None] | None = None
        self.before_flush: Callable[[], None] | None = None
        self.before_count: Callable[[], None] | None = None
        self.before_delete: Callable[[], None] | None = None
        self.before_set_access: Callable[[], None] | None = None
        self.payloads: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.losing = 0

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        if self.before_upsert is not None:
            self.before_upsert(points)
        super().upsert(points[self.losing :])

    def flush(self) -> None:
        if self.before_flush is not None:
            self.before_flush()

    def count(self, tenant: TenantId, document: DocumentId, version: VersionId) -> int:
        if self.before_count is not None:
            self.before_count()
        return super().count(tenant, document, version)

    def delete(self, tenant: TenantId, document: DocumentId, *, version: VersionId | None = None) -> None:
        if self.before_delete is not None:
            self.before_delete()
        super().delete(tenant, document, version=version)

    def set_access(self, tenant: TenantId, document: DocumentId, *, allow: Sequence[str], deny: Sequence[str]) -> None:
        if self.before_set_access is not None:
            self.before_set_access()
        super().set_access(tenant, document, allow=allow, deny=deny)

    def payloads_of(self, document: DocumentId) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Return the different (allow, deny) that the document's points carry."""
        return {
            (stored.point.allow, stored.point.deny)
            for stored in self._stored.values()
            if stored.point.document == document
        }


@pytest.fixture
def index() -> MoodyIndex:
    return MoodyIndex()


@pytest.fixture
def works(sqlite_database: Database, tmp_path: Path, logged: Logged, index: MoodyIndex) -> Iterator[Works]:
    assert not logged
    opened = Works(sqlite_database, tmp_path, index=index)
    yield opened
    opened.close()


def _once(call: Callable[[], object]) -> Callable[..., None]:
    """Return a hook that makes the call the first time only."""
    left = [call]

    def hook(*_: object) -> None:
        if left:
            left.pop()()

    return hook


def _raise(error: BaseException) -> Callable[[], None]:
    def call(*_: object) -> None:
        raise error

    return call


def _change_access(works: Works, document: DocumentId, **change: Collection[str]) -> None:
    with works.database.transaction() as session:
        access.change_document_access(session, TENANT, document, **change)  # type: ignore[arg-type]  # no inherit


def test_f8_a_version_that_is_not_wholly_in_the_index_is_never_shown(works: Works, index: MoodyIndex) -> None:
    document = works.upload(story("tea"))
    index.losing = 1
    works.work()

    assert works.search("tea") == []
    stage = works.stage(document, StageName.INDEX)
    assert (stage.state, stage.reason) == ("queued", "index_failed")
    expected = len(works.chunks())
    assert stage.detail == f"The index holds {expected - 1} of {expected} passages."

    index.losing = 0
    works.hurry()
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.points() == dict.fromkeys(works.chunks(), 1)


def test_an_index_that_never_agrees_ends_in_failure_and_leaves_no_point(works: Works, index: MoodyIndex) -> None:
    document = works.upload(story("tea"))
    index.losing = 1
    works.work()
    works.wear(StageName.INDEX, MOST_ATTEMPTS - 1)
    works.hurry()
    works.work()

    status = works.status(document)
    assert (status.state, status.stage, status.reason) == (DocumentState.FAILED, StageName.INDEX, Reason.INDEX_FAILED)
    assert works.points().total() == 0


def test_more_points_than_passages_are_not_shown_either(works: Works, index: MoodyIndex) -> None:
    document = works.upload(story("tea"))

    def smuggle(points: Sequence[IndexPoint]) -> None:
        MemoryIndex.upsert(index, [_stranger(points[0])])

    index.before_upsert = smuggle
    works.work()

    assert works.status(document).state is DocumentState.QUEUED
    assert works.search("tea") == []


def test_a_turn_that_was_not_full_leaves_some_time_for_more_to_come(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(indexing, "time", clock)
    loop, stopping = works.new_loop(), Passing(clock)
    monkeypatch.setattr(loop, "_stopping", stopping)
    turns = iter([0.0, 0.1, 2 * GATHER_SECONDS])

    def turn() -> int:
        loop.wake()  # Which does not shorten it.
        seconds = next(turns, None)
        if seconds is None:
            stopping.set()
            return 0
        clock.now += seconds
        return 1

    monkeypatch.setattr(loop, "run_once", turn)
    loop._run()
    assert stopping.asked == pytest.approx([GATHER_SECONDS, GATHER_SECONDS - 0.1, -GATHER_SECONDS])


def _stranger(point: IndexPoint) -> IndexPoint:
    return replace(point, chunk=ChunkId(UUID(int=7)))


HOOKS = ["before_upsert", "before_flush", "before_count"]


@pytest.mark.parametrize("hook", HOOKS)
def test_f8_an_index_that_fails_is_tried_again_with_the_reason_told(works: Works, index: MoodyIndex, hook: str) -> None:
    documents = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee")]
    setattr(index, hook, _raise(IndexUnavailable("The index does not answer.")))
    works.work()

    for document in documents:
        stage = works.stage(document, StageName.INDEX)
        assert (stage.state, stage.reason, stage.detail) == ("queued", "index_failed", "The index does not answer.")
    assert works.search("tea") == []

    setattr(index, hook, None)
    works.hurry()
    works.work()
    assert {works.status(document).state for document in documents} == {DocumentState.SEARCHABLE}
    assert works.points() == dict.fromkeys(works.chunks(), 1)


@pytest.mark.usefixtures("no_hurry")
def test_f8_one_batch_of_three_that_fails_shows_nothing_and_all_are_written_again(
    works: Works, index: MoodyIndex
) -> None:
    document = works.upload(story("tea", 60))
    works.work_until(StageName.INDEX)
    batches: list[int] = []

    def fail_the_second(points: Sequence[IndexPoint]) -> None:
        batches.append(len(points))
        if len(batches) == 2:
            raise IndexUnavailable("The disk of its log is full.")

    index.before_upsert = fail_the_second
    works.work()
    assert len(batches) == 2
    assert 0 < works.points().total() < len(works.chunks())
    assert works.status(document).state is DocumentState.QUEUED
    assert works.search("tea") == []

    works.hurry()
    works.work()
    assert len(batches) >= 5
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.points() == dict.fromkeys(works.chunks(), 1)


def test_one_document_that_the_index_refuses_harms_no_other(works: Works, index: MoodyIndex) -> None:
    bad = works.upload(story("krakens"), "bad.txt")
    good = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee")]

    def refuse(points: Sequence[IndexPoint]) -> None:
        if points[0].document == bad:
            raise IndexUnavailable("No krakens.")

    index.before_upsert = refuse
    works.work()

    assert works.stage(bad, StageName.INDEX).detail == "No krakens."
    assert {works.status(document).state for document in good} == {DocumentState.SEARCHABLE}


@pytest.mark.parametrize("hook", HOOKS)
def test_f8_a_kill_while_a_version_is_indexed_leaves_one_point_per_passage(
    works: Works, index: MoodyIndex, hook: str
) -> None:
    document = works.upload(story("tea", 60))
    works.work_until(StageName.INDEX)
    assert len(works.chunks()) > 64  # More than two upserts.
    for survived in range(3):
        left = iter(range(survived))

        def die(*_: object, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Killed

        setattr(index, hook, die)
        try:
            works.loop.run_once()
        except Killed:
            works.restart()
            assert works.search("tea") == []
    setattr(index, hook, None)
    works.work()

    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.points() == dict.fromkeys(works.chunks(), 1)


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS)
def test_a_document_deleted_while_it_is_indexed_leaves_no_point(works: Works, index: MoodyIndex, hook: str) -> None:
    document = works.upload(story("secrets"))
    setattr(index, hook, _once(lambda: works.delete(document)))
    works.work()

    assert works.search("secrets") == []
    assert works.points().total() == 0
    assert works.chunks() == {}
    assert works.open_tasks() == 0
    with works.database.reading() as session:
        receipt = receipts.receipt(session, TENANT, document)
    assert {store.store: store.confirmed_at is not None for store in receipt.stores}["index"]


def test_points_written_after_the_purge_of_their_document_go_too(works: Works, index: MoodyIndex) -> None:
    """The deletion and its purge are over before the loop's write arrives, as when another process purged."""
    document = works.upload(story("secrets"))

    def delete_and_purge() -> None:
        works.delete(document)
        assert works.new_loop().run_once()

    index.before_upsert = _once(delete_and_purge)
    works.work()

    assert works.points().total() == 0
    assert works.open_tasks() == 0


@pytest.mark.parametrize("hook", HOOKS)
def test_f12_access_that_changes_while_a_version_is_indexed_is_the_access_in_the_end(
    works: Works, index: MoodyIndex, hook: str
) -> None:
    document = works.upload(story("tea"), allow=["*"])
    setattr(index, hook, _once(lambda: _change_access(works, document, deny=["user:bob"])))
    works.work()

    assert index.payloads_of(document) == {(("*",), ("user:bob",))}
    assert works.search("tea", user="ann")
    assert works.search("tea", user="bob") == []
    assert works.open_tasks() == 0


def test_f12_rights_that_come_and_go_while_a_document_is_indexed_and_the_index_is_away_never_show_more(
    works: Works, index: MoodyIndex, chance: random.Random
) -> None:
    """The index finds points throughout, but takes only every other change of access: its payloads are often stale."""
    document = works.upload(story("tea"), allow=["*"])
    works.work()
    away = itertools.cycle([True, False])

    def refuse(*_: object) -> None:
        if next(away):
            raise IndexUnavailable("away")

    index.before_set_access = refuse
    denied = False
    for number in range(20):
        if number % 5 == 4:  # A new version is on its way in meanwhile.
            works.upload(story(f"tea {number}"))
            works.work_until(StageName.INDEX)
        if chance.random() < 0.6:
            denied = not denied
            change = {"deny": ["user:bob"]} if denied else {"remove": ["user:bob"]}
            _change_access(works, document, **change)
        if chance.random() < 0.5:
            works.loop.run_once()
        assert not (denied and works.search("tea", user="bob"))
        assert works.search("tea", user="ann")
    index.before_set_access = None
    works.restart()
    works.hurry()
    works.work()
    assert bool(works.search("tea", user="bob")) is not denied
    assert index.payloads_of(document) == {(("*",), ("user:bob",) if denied else ())}
    assert works.open_tasks() == 0


def test_access_that_changes_while_its_payload_is_written_is_written_again(works: Works, index: MoodyIndex) -> None:
    document = works.upload(story("tea"), allow=["*"])
    works.work()
    _change_access(works, document, allow=["user:bob"])
    index.before_set_access = _once(lambda: _change_access(works, document, deny=["user:bob"]))
    works.work()

    assert index.payloads_of(document) == {(("*", "user:bob"), ("user:bob",))}
    assert works.open_tasks() == 0


def test_a_revoked_right_is_gone_before_the_index_hears_of_it(works: Works) -> None:
    document = works.upload(story("tea"), allow=["*"])
    works.work()
    assert works.search("tea", user="bob")
    _change_access(works, document, deny=["user:bob"])

    assert works.search("tea", user="bob") == []


def test_an_index_task_that_fails_is_done_later(works: Works, index: MoodyIndex) -> None:
    document = works.upload(story("tea"))
    works.work()
    works.delete(document)
    index.before_delete = _raise(IndexUnavailable("away"))
    works.work()
    assert works.open_tasks() == 1
    assert works.points().total() > 0

    index.before_delete = None
    works.restart()
    works.work()
    assert works.open_tasks() == 0
    assert works.points().total() == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["access", "purge"])
def test_tasks_whose_flush_fails_wait_as_short_as_any_that_fail(works: Works, index: MoodyIndex, kind: str) -> None:
    documents = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee")]
    works.work()
    for document in documents:
        if kind == "purge":
            works.delete(document)
        else:
            _change_access(works, document, allow=["user:bob"])
    index.before_flush = _raise(IndexUnavailable("away"))
    assert works.loop.run_once() == 2
    assert works.open_tasks() == 2
    with works.database.reading() as session:
        waits = [row.ready_at - now(session) for row in session.scalars(select(IndexTaskRow))]
        details = set(session.scalars(select(IndexTaskRow.detail)))
    assert max(waits) <= 1_000_000  # the first delay of all: a second at most
    assert details == {"IndexUnavailable"}

    index.before_flush = None
    _wait_for(lambda: bool(works.loop.run_once()) and not works.open_tasks())
    if kind == "purge":
        assert works.points().total() == 0
    else:
        assert works.search("tea", user="bob")


@pytest.mark.parametrize("hook", ["before_delete", "before_flush"])
def test_a_kill_while_a_document_is_purged_leaves_nothing_in_the_end(
    works: Works, index: MoodyIndex, hook: str
) -> None:
    document = works.upload(story("tea"))
    works.work()
    works.delete(document)
    setattr(index, hook, _once(_raise(Killed())))
    with pytest.raises(Killed):
        works.loop.run_once()
    works.restart()
    works.work()

    assert works.points().total() == 0
    assert works.chunks() == {}
    assert works.open_tasks() == 0


def test_f9_a_new_version_takes_the_old_ones_place_in_one_step(works: Works, index: MoodyIndex) -> None:
    document = works.upload(story("black tea"))
    works.work()
    old = works.status(document).searchable_version
    assert works.upload(story("green tea")) == document
    seen: list[set[str]] = []

    def look(*_: object) -> None:
        texts = {"black" if "black" in hit.chunk.text else "green" for hit in works.search("tea")}
        versions = {hit.chunk.version for hit in works.search("tea")}
        assert len(texts) == len(versions) == 1
        seen.append(texts)

    index.before_upsert = index.before_flush = index.before_count = index.before_delete = look
    works.work()
    look()

    assert seen[0] == {"black"}
    assert seen[-1] == {"green"}
    assert seen == sorted(seen, key=lambda texts: texts == {"green"})  # Never back, never both, never nothing.
    new = works.status(document).searchable_version
    assert new != old
    assert works.indexed_versions() == {new}
    assert works.points() == dict.fromkeys(works.chunks(), 1)


def test_a_new_version_that_fails_leaves_the_old_one_searchable(works: Works) -> None:
    document = works.upload(story("black tea"))
    works.work()
    old = works.status(document).searchable_version
    works.upload("!corrupt page 2")
    works.work()

    status = works.status(document)
    assert (status.state, status.reason, status.searchable_version) == (DocumentState.FAILED, Reason.CORRUPT, old)
    assert {hit.chunk.version for hit in works.search("tea")} == {old}


@pytest.mark.slow
def test_a_version_that_is_overtaken_while_it_is_indexed_leaves_only_the_newer(works: Works, index: MoodyIndex) -> None:
    document = works.upload(story("black tea"))
    index.before_count = _once(lambda: works.upload(story("green tea")))
    works.work()

    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.indexed_versions() == {works.status(document).version}
    assert works.points() == dict.fromkeys(works.chunks(), 1)


def test_f9_a_lease_lost_while_indexing_shows_nothing_and_its_successor_does(works: Works, index: MoodyIndex) -> None:
    document = works.upload(story("tea"))

    def take_over() -> None:
        works.lapse()
        with works.database.transaction() as session:
            assert stages.claim(session, [StageName.INDEX], owner="other", limit=1, lease_seconds=60)

    index.before_count = _once(take_over)
    works.work()
    assert works.status(document).state is DocumentState.LEASED
    assert works.search("tea") == []

    works.lapse()
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.points() == dict.fromkeys(works.chunks(), 1)


def test_the_loop_works_by_itself_when_woken_and_ends_when_stopped(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work_until(StageName.INDEX)
    works.loop.start()
    try:
        works.loop.wake()
        _wait_for(lambda: works.status(document).state is DocumentState.SEARCHABLE)
        works.delete(document)
        works.loop.wake()
        _wait_for(lambda: works.points().total() == 0)
    finally:
        works.loop.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "index-loop"]


def test_the_loop_survives_an_error_of_its_own(works: Works, monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    monkeypatch.setattr(works.loop, "run_once", _raise(RuntimeError("odd")))
    works.loop.start()
    try:
        _wait_for(lambda: any(event["event"] == "index_loop_failed" for event in logged))
        assert works.loop._thread.is_alive()
    finally:
        works.loop.stop()


def test_stopping_a_loop_that_never_started_is_no_error(works: Works) -> None:
    works.new_loop().stop()


def test_an_idle_loop_takes_no_write_lock(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works.database, "transaction", _raise(AssertionError("nobody has anything to write")))

    assert works.loop.run_once() == 0


def test_the_embedded_engine_is_filled_purged_and_reopened_just_the_same(
    sqlite_database: Database, tmp_path: Path, logged: Logged
) -> None:
    assert not logged
    works = Works(sqlite_database, tmp_path, index=EdgeIndex(tmp_path / "edge", index_id=INDEX, dim=32))
    document = works.upload(story("black tea", 12))
    other = works.upload(story("coffee"), "other.txt")
    works.work()
    works.upload(story("green tea", 12))
    works.work()
    works.delete(other)
    works.work()
    expected = dict.fromkeys(works.chunks(), 1)
    assert works.points() == expected
    works.close()

    works.index = EdgeIndex(tmp_path / "edge", index_id=INDEX, dim=32)
    works.restart()
    assert works.points() == expected
    assert {hit.chunk.document for hit in works.search("tea")} == {document}
    works.close()


def _wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_replay_that_is_quicker_than_the_clearing_up_keeps_its_points(works: Works, index: MoodyIndex) -> None:
    document = works.upload(story("tea"))
    index.losing = 1
    works.work_until(StageName.INDEX)
    works.wear(StageName.INDEX, MOST_ATTEMPTS - 1)

    def away() -> None:
        raise IndexUnavailable("away")

    index.before_delete = away
    works.work()
    assert works.status(document).state is DocumentState.FAILED
    assert str(works.stage(document, StageName.INDEX).excerpt).endswith("core.errors.FootnoteError")
    assert works.open_tasks() == 1  # The points of the failure are to go, and the index does not let them.

    index.losing = 0
    with works.database.transaction() as session:
        assert deadletters.replay(session, works.principal("ann"), document).replayed == 1
    index.before_delete = None
    works.restart()
    works.work()

    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.points() == dict.fromkeys(works.chunks(), 1)
    assert works.open_tasks() == 0
