"""Two installations in one index: an audit of one must not remove what is the other's."""

from dataclasses import replace
from uuid import uuid4

import pytest

from core.db.index_audits import IndexAudit, get_audit, request_audit
from core.ids import ChunkId, DocumentId
from ingestion.foreign import FEWEST, Weight
from retrieval.index.memory import MemoryIndex
from tests.ingestion.audits import assert_agreed, audited, auditor, strangers
from tests.ingestion.conftest import Logged
from tests.ingestion.works import TENANT, Works, story


def _documents(works: Works) -> set[DocumentId]:
    return {point.document for point in works.index.stored()}


def test_points_that_are_mostly_unknown_are_left_alone_and_told(works: Works, logged: Logged) -> None:
    document = works.upload(story("tea"))
    works.work()
    theirs = strangers(works.index, 3 * FEWEST)
    lost = next(point for point in works.index.stored() if point.document == document)
    works.index.delete_chunks(TENANT, document, [lost.chunk])

    found = audited(works)

    assert found.foreign == 3 * FEWEST
    assert found.missing == ()
    assert (found.counts.points_removed, found.counts.documents_refilled) == (0, 1)  # All else is healed.
    assert theirs <= _documents(works)
    (told,) = [event for event in logged if event["event"] == "index_points_foreign"]
    assert told["log_level"] == "error"
    assert "FOOTNOTE_QDRANT_PREFIX" in told["detail"]


def test_what_is_left_over_of_documents_that_were_never_here_is_removed(works: Works) -> None:
    works.upload(story("tea"))
    works.work()
    strangers(works.index, FEWEST - 1)

    found = audited(works)

    assert (found.counts.points_removed, found.foreign) == (FEWEST - 1, 0)
    assert_agreed(works)


def test_what_a_catalogue_deleted_is_removed_however_much_it_is(works: Works) -> None:
    """It is known: ids of deleted documents stay."""
    works.upload(story("tea"))
    gone = works.upload(story("coffee"), "b.txt")
    works.work()
    assert isinstance(works.index, MemoryIndex)
    model = next(stored.point for stored in works.index._stored.values() if stored.point.document == gone)
    works.delete(gone)
    works.work()
    works.index.upsert([replace(model, chunk=ChunkId(uuid4())) for _ in range(3 * FEWEST)])

    found = audited(works)

    assert (found.counts.points_removed, found.foreign) == (3 * FEWEST, 0)
    assert_agreed(works)


@pytest.mark.parametrize(
    ("points", "unknown", "foreign"),
    [(0, 0, False), (99, 99, False), (100, 100, True), (200, 100, False), (201, 101, True), (10_000, 5_000, False)],
)
def test_a_hundred_and_more_than_half_are_foreign(points: int, unknown: int, foreign: bool) -> None:  # noqa: FBT001
    assert Weight(points=points, unknown=unknown).is_foreign is foreign


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_whoever_takes_an_audit_over_counts_anew_and_decides_the_same(works: Works, steps: int) -> None:
    works.upload(story("tea"))
    works.work()
    theirs = strangers(works.index, 6 * FEWEST)
    with works.database.transaction() as session:
        asked = request_audit(session)
    dead = auditor(works, "dead")
    for _ in range(steps):
        assert dead.step()
        dead._renewed = float("-inf")  # What it knows is kept at each step.
    if steps:
        works.lapse_audits()
    heir = auditor(works, "heir")
    while heir.step():
        pass
    with works.database.reading() as session:
        found: IndexAudit | None = get_audit(session, asked.id)
    assert found is not None
    assert (found.foreign, found.counts.points_removed) == (6 * FEWEST, 0)
    assert theirs <= _documents(works)
