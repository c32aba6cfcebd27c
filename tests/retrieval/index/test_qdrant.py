"""What the adapter understands of a server, or a proxy before it, that is too busy."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from qdrant_client import QdrantClient

from core.errors import IndexUnavailable
from core.ids import DEFAULT_TENANT, IndexId
from retrieval.index.qdrant import QdrantIndex
from retrieval.index.qdrant_connection import connect
from tests.retrieval.corpora import DIM, chunk, document, point, version
from tests.retrieval.index.gateway import Gateway

pytestmark = pytest.mark.slow


@pytest.fixture
def index(busy: Gateway) -> Iterator[QdrantIndex]:
    busy.status = busy.retry_after = busy.version = None
    with closing(connect(busy.url, api_key=None, index_id=IndexId("0123456789abcdef"), dim=DIM)) as opened:
        yield opened


@pytest.mark.parametrize("status", [429, 503])
def test_how_long_the_server_asks_to_be_left_alone_is_passed_on(busy: Gateway, index: QdrantIndex, status: int) -> None:
    busy.status, busy.retry_after = status, "17"
    for call in (
        lambda: index.upsert([point(chunk("a"))]),
        lambda: index.delete(DEFAULT_TENANT, document("a")),
        lambda: index.count(DEFAULT_TENANT, document("a"), version("v1")),
    ):
        with pytest.raises(IndexUnavailable) as refused:
            call()
        assert refused.value.retry_after == 17
        assert refused.value.retryable


def test_a_date_is_understood_too(busy: Gateway, index: QdrantIndex) -> None:
    busy.status, busy.retry_after = 503, format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    with pytest.raises(IndexUnavailable) as refused:
        index.count(DEFAULT_TENANT, document("a"), version("v1"))
    assert refused.value.retry_after is not None
    assert 80 < refused.value.retry_after <= 90


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_server_that_does_not_say_leaves_it_open(busy: Gateway, index: QdrantIndex, status: int) -> None:
    busy.status = status
    with pytest.raises(IndexUnavailable) as refused:
        index.count(DEFAULT_TENANT, document("a"), version("v1"))
    assert refused.value.retry_after is None


def test_installations_with_prefixes_of_their_own_share_a_server_and_no_points(busy: Gateway) -> None:
    busy.status = busy.version = None
    index_id = IndexId("shared")
    with (
        closing(connect(busy.url, api_key=None, index_id=index_id, dim=DIM, prefix="ours")) as ours,
        closing(connect(busy.url, api_key=None, index_id=index_id, dim=DIM, prefix="theirs")) as theirs,
    ):
        theirs.upsert([point(chunk("a"))])
        assert list(ours.stored()) == []
        assert len(list(theirs.stored())) == 1


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_the_collection_is_made_by_the_client_that_waits_for_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    asker, writer = QdrantClient(":memory:"), QdrantClient(":memory:")  # Two stores, so that one sees who wrote.
    for write in ("create_collection", "create_payload_index"):
        monkeypatch.setattr(asker, write, lambda *_, **__: pytest.fail("the client that asks was made to write"))
    with closing(QdrantIndex(asker, index_id=IndexId("made"), dim=DIM, writer=writer)):
        assert writer.collection_exists("footnote_made")
