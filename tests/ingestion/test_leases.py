import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

import ingestion.embed_stage
import ingestion.embedding
import ingestion.indexing
import ingestion.leases
from core.db import stages
from core.db.stages import ClaimedStage
from core.domain import StageName
from core.ids import DocumentId
from ingestion.leases import BEATS, LEASE_SECONDS, HeldLeases
from retrieval.ports import IndexPoint
from tests.ingestion.conftest import Logged
from tests.ingestion.works import CHUNK_TOKENS, Works, story

SECONDS = 30.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion.leases, "BEATS", LEASE_SECONDS / 0.02)


def _claim(works: Works, *, seconds: float) -> ClaimedStage:
    with works.database.transaction() as session:
        (claimed,) = stages.claim(session, [StageName.PARSE], owner="worker", limit=1, lease_seconds=seconds)
    return claimed


def _lease_until(works: Works, claimed: ClaimedStage) -> int | None:
    return works.stage(claimed.document, StageName.PARSE).lease_until


def _wait_for_a_longer_lease(works: Works, claimed: ClaimedStage, than: int | None) -> None:
    deadline = time.monotonic() + SECONDS
    while _lease_until(works, claimed) == than:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_heartbeat_leaves_room_for_several_that_are_late() -> None:
    assert BEATS > 5


def test_a_lease_in_hand_is_renewed_until_it_is_let_go(works: Works) -> None:
    works.upload(story("coffee"), "coffee.txt")
    kept = _claim(works, seconds=LEASE_SECONDS)
    works.upload(story("tea"))
    held = HeldLeases(works.database)
    claimed = _claim(works, seconds=0.01)
    first = _lease_until(works, claimed)
    held.add([claimed, kept])
    held.start()
    try:
        _wait_for_a_longer_lease(works, claimed, first)
        with works.database.transaction() as session:
            assert stages.claim(session, [StageName.PARSE], owner="other", limit=1, lease_seconds=1) == []
        held.remove(claimed)
        _wait_for_a_longer_lease(works, kept, _lease_until(works, kept))  # One that was under way has ended.
        last = _lease_until(works, claimed)
        _wait_for_a_longer_lease(works, kept, _lease_until(works, kept))
        assert _lease_until(works, claimed) == last
    finally:
        held.stop()


def test_a_lease_that_somebody_else_has_taken_over_is_left_alone(works: Works) -> None:
    works.upload(story("coffee"), "coffee.txt")
    kept = _claim(works, seconds=LEASE_SECONDS)
    works.upload(story("tea"))
    held = HeldLeases(works.database)
    lost = _claim(works, seconds=0.0)
    theirs = _claim(works, seconds=1_000.0)
    before = _lease_until(works, theirs)
    held.add([lost, kept])
    held.start()
    _wait_for_a_longer_lease(works, kept, _lease_until(works, kept))
    held.stop()

    assert _lease_until(works, theirs) == before


def _start_without_a_database(held: HeldLeases, monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    """Start the heart where the database does not answer, until that has been noticed; from then on it answers."""
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError("no disk")

        patch.setattr(ingestion.leases, "renew", refuse)
        held.start()
        deadline = time.monotonic() + SECONDS
        while not any(event["event"] == "heartbeat_failed" for event in logged):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_heartbeat_survives_a_database_that_does_not_answer(
    works: Works, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    works.upload(story("tea"))
    held = HeldLeases(works.database)
    claimed = _claim(works, seconds=0.01)
    first = _lease_until(works, claimed)
    held.add([claimed])
    _start_without_a_database(held, monkeypatch, logged)
    try:
        _wait_for_a_longer_lease(works, claimed, first)
    finally:
        held.stop()


def test_letting_go_of_what_is_not_held_is_no_error(works: Works) -> None:
    works.upload(story("tea"))
    HeldLeases(works.database).remove(_claim(works, seconds=1))


def test_the_heartbeat_tells_how_far_the_work_has_come(works: Works) -> None:
    document = works.upload(story("tea"))
    held = HeldLeases(works.database)
    claimed = _claim(works, seconds=60)
    held.progressed(claimed, 0.9)  # Nobody holds it: nobody is told.
    held.add([claimed])
    held.start()
    try:
        first = works.stage(document, StageName.PARSE)
        assert first.progress is None
        _wait_for_a_longer_lease(works, claimed, first.lease_until)
        assert works.stage(document, StageName.PARSE).progressed_at == first.progressed_at, (
            "it lives, and has not moved"
        )
        held.progressed(claimed, 0.25)
        held.progressed(claimed, 0.5)
        deadline = time.monotonic() + SECONDS
        while (row := works.stage(document, StageName.PARSE)).progress != 0.5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert row.progressed_at is not None
        assert first.progressed_at is not None
        assert row.progressed_at > first.progressed_at
    finally:
        held.stop()


def test_news_that_could_not_be_written_are_told_with_the_next_heartbeat(
    works: Works, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    document = works.upload(story("tea"))
    held = HeldLeases(works.database)
    claimed = _claim(works, seconds=60)
    held.add([claimed])
    held.progressed(claimed, 0.5)
    _start_without_a_database(held, monkeypatch, logged)
    deadline = time.monotonic() + SECONDS
    try:
        while works.stage(document, StageName.PARSE).progress != 0.5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        held.stop()


def test_embedding_tells_each_document_how_many_of_its_passages_are_done(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [works.upload(story(topic, 6), f"{topic}.txt") for topic in ("tea", "coffee")]
    works.upload(story("tea", 6), "again.txt")  # The same texts: embedded once, done for both.
    works.work_until(StageName.EMBED)
    totals = {document: works.status(document).chunks or 0 for document in documents}
    monkeypatch.setattr(ingestion.embed_stage, "SLICE_TOKENS", 4 * CHUNK_TOKENS)
    monkeypatch.setattr(ingestion.embedding, "OVERLAP", 1)  # One after the other, so that what is told has an order.
    told: dict[DocumentId, list[str | None]] = {document: [] for document in documents}

    def spoil(_texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        with works.database.transaction() as session:  # as the heartbeat does, at this very moment
            stages.renew(session, list(works.held._stages.values()), 60.0, works.held._moved)
        for document in documents:
            told[document].append(works.status(document).detail)
        return vectors

    works.embedder.spoil = spoil
    works.pipeline.run_embed()
    for document in documents:
        assert told[document][0] is None
        sentences = [one for one in told[document] if one is not None]
        counts = [int(one.split()[1]) for one in sentences]
        assert sentences == [f"embedding {count} of {totals[document]} passages" for count in counts]
        assert counts == sorted(counts)
        assert 0 < counts[0] < totals[document]
    again = works.stage(documents[0], StageName.EMBED)
    assert (again.state, again.progress) == ("done", 1.0)


def test_indexing_tells_how_many_passages_are_written(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    document = works.upload(story("tea", 12))
    works.work_until(StageName.INDEX)
    total = works.status(document).chunks or 0
    monkeypatch.setattr(ingestion.indexing, "POINTS_AT_ONCE", 5)
    told: list[str | None] = []
    upsert = works.index.upsert

    def noting(points: Sequence[IndexPoint]) -> None:
        with works.database.transaction() as session:
            held = works.loop._held
            stages.renew(session, list(held._stages.values()), 60.0, held._moved)
        told.append(works.status(document).detail)
        upsert(points)

    monkeypatch.setattr(works.index, "upsert", noting)
    works.loop.run_once()
    assert told[:3] == [None, f"indexing 5 of {total} passages", f"indexing 10 of {total} passages"]
    assert works.loop._held._stages == {}
    assert works.status(document).detail is None
