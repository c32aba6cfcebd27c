"""What somebody else has put into the collection is neither read nor removed, and keeps no audit from its end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from core.db.session import Database
from core.domain import DocumentState
from ingestion.rebuilding import check_index_at_start, rebuild_lost_index
from retrieval.index.edge import EdgeIndex
from retrieval.index.qdrant import QdrantIndex
from retrieval.ports import StoredPoint, VectorIndex
from tests.ingestion.audits import assert_agreed, audited, healed
from tests.ingestion.conftest import Logged
from tests.ingestion.intruders import intrude, intruders
from tests.ingestion.works import INDEX, TENANT, MoodyEmbedder, Works, story

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
]
DIM = MoodyEmbedder().dim


@pytest.fixture(params=["qdrant-local", "edge"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> VectorIndex:
    if request.param == "edge":
        return EdgeIndex(tmp_path / "edge", index_id=INDEX, dim=DIM)
    return QdrantIndex(QdrantClient(":memory:"), index_id=INDEX, dim=DIM)


@pytest.fixture
def works(sqlite_database: Database, tmp_path: Path, index: VectorIndex, logged: Logged) -> Iterator[Works]:
    assert not logged
    opened = Works(sqlite_database, tmp_path, index=index)
    yield opened
    opened.close()


def test_an_audit_passes_over_them_and_heals_what_is_ours(works: Works, logged: Logged) -> None:
    ids = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee")]
    works.work()
    there = intrude(works.index, DIM)
    stored = len(list(works.index.stored()))
    assert healed(audited(works).counts) == (0, 0, 0, 0)
    works.index.delete(TENANT, ids[0])
    found = audited(works)
    assert found.finished_at is not None
    assert found.counts.documents_refilled == 1
    works.work()
    assert len(list(works.index.stored())) == stored
    assert_agreed(works)
    assert intruders(works.index) == there
    told = [event for event in logged if event["event"] == "index_points_not_ours"]
    assert max(event["points"] for event in told) == there
    assert all(set(event) == {"event", "log_level", "points"} for event in told)


def test_pages_go_on_where_they_stand(works: Works) -> None:
    works.upload(story("tea"))
    works.work()
    ours = list(works.index.stored())
    intrude(works.index, DIM)
    seen: list[StoredPoint] = []
    page = works.index.stored_page(limit=1)
    assert page.points == ()
    while page.next is not None:
        page = works.index.stored_page(page.next, limit=1)
        seen += page.points
    assert seen == ours


def test_a_start_tells_an_index_of_theirs_alone_from_one_that_has_ours(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work()
    intrude(works.index, DIM)
    check_index_at_start(works.database, works.index, INDEX, works.embedder.id)
    assert works.status(document).state is DocumentState.SEARCHABLE
    works.index.delete(TENANT, document)
    assert rebuild_lost_index(works.database, works.index, INDEX, works.embedder.id) == 1
