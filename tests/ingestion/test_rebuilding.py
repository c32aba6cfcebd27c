from collections.abc import Iterator
from pathlib import Path

import pytest

from core.db import access
from core.db.index_audits import list_audits
from core.db.session import Database
from core.domain import DocumentState
from core.ids import DocumentId
from ingestion.rebuilding import check_index_at_start
from tests.ingestion.audits import EdgeHouse, assert_agreed, audited, healed
from tests.ingestion.conftest import Logged
from tests.ingestion.works import INDEX, TENANT, Works, story

pytestmark = pytest.mark.slow


@pytest.fixture
def house(sqlite_database: Database, tmp_path: Path, logged: Logged) -> Iterator[EdgeHouse]:
    assert not logged
    opened = EdgeHouse(sqlite_database, tmp_path)
    yield opened
    opened.works.close()


def _events(logged: Logged) -> set[str]:
    return {event["event"] for event in logged if event["log_level"] == "warning"}


def _found(works: Works, query: str) -> set[DocumentId]:
    return {hit.chunk.document for hit in works.search(query)}


def test_f17_an_index_folder_that_is_lost_is_filled_again_by_itself(house: EdgeHouse, logged: Logged) -> None:
    works = house.works
    ids = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee", "cocoa")]
    works.work()
    points = works.points()
    gone = works.upload(story("matcha"), "gone.txt")
    works.work()
    works.delete(gone)
    works.work()
    embedded = len(works.embedder.calls)

    house.restart(lost=True)
    assert {"index_lost", "index_rebuilding"} <= _events(logged)
    assert works.search("tea") == []
    # Nobody is told that they can be found.
    assert [works.status(one).state for one in ids] == [DocumentState.QUEUED] * 3
    works.work()
    assert [works.status(one).state for one in ids] == [DocumentState.SEARCHABLE] * 3
    assert works.points() == points
    assert gone not in _found(works, "matcha")
    assert_agreed(works)
    with house.database.reading() as session:
        (asked,) = list_audits(session)
    assert (asked.cause, asked.counts.documents_refilled) == ("start", 3)
    assert len(works.embedder.calls) == embedded  # The vectors were there: nothing was embedded twice.


def test_f17_an_older_copy_of_the_index_is_brought_up_to_the_catalogue(house: EdgeHouse, logged: Logged) -> None:
    works = house.works
    tea = works.upload(story("tea"), "tea.txt")
    replaced = works.upload(story("matcha"), "replaced.txt")
    gone = works.upload(story("coffee"), "gone.txt")
    works.work()
    house.copy("an hour ago")
    late = works.upload(story("cocoa"), "late.txt")
    assert works.upload(story("sencha"), "replaced.txt") == replaced
    works.delete(gone)
    with house.database.transaction() as session:
        access.change_document_access(session, TENANT, tea, allow=["user:bob"])
    works.work()
    whole = {hit.chunk.id for topic in ("tea", "cocoa", "sencha") for hit in works.search(topic)}

    house.restart(restored="an hour ago")
    assert "index_behind" in _events(logged)
    assert gone not in _found(works, "coffee")  # The index has it, and nobody sees it: the catalogue does not.
    assert replaced not in _found(works, "matcha")  # Of a version that has been replaced it is not shown either.
    works.work()
    found = audited(works)
    works.work()
    assert works.search("cocoa")[0].chunk.document == late
    assert works.search("tea", user="bob")[0].chunk.document == tea
    assert {hit.chunk.id for topic in ("tea", "cocoa", "sencha") for hit in works.search(topic)} == whole
    assert gone not in _found(works, "coffee")
    assert_agreed(works)
    removed, _, rewritten, _ = healed(found.counts)
    with house.database.reading() as session:
        removed += sum(one.counts.points_removed for one in list_audits(session) if one.id != found.id)
        rewritten += sum(one.counts.access_rewritten for one in list_audits(session) if one.id != found.id)
    assert removed > 0
    assert rewritten == 1


def test_f17_the_files_of_a_kill_during_the_rebuilding_do_not_matter(house: EdgeHouse) -> None:
    works = house.works
    for topic in ("tea", "coffee", "cocoa"):
        works.upload(story(topic), f"{topic}.txt")
    works.work()
    points = works.points()
    house.restart(lost=True)
    house.restart(lost=True)  # killed before anything was put back, and lost again
    works.loop.run_once()
    house.restart(lost=True)
    works.work()
    audited(works)
    works.work()
    assert works.points() == points
    assert_agreed(works)


def test_an_index_that_may_be_empty_is_not_called_lost(works: Works, logged: Logged) -> None:
    check_index_at_start(works.database, works.index, INDEX, works.embedder.id)
    document = works.upload(story("tea"))
    check_index_at_start(works.database, works.index, INDEX, works.embedder.id)
    works.work()
    check_index_at_start(works.database, works.index, INDEX, works.embedder.id)
    works.delete(document)
    works.work()
    check_index_at_start(works.database, works.index, INDEX, works.embedder.id)
    assert not _events(logged)
    with works.database.reading() as session:
        assert list_audits(session) == []
