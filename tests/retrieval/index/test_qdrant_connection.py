"""What is refused, and what is taken, before an index on a server is opened."""

from contextlib import closing

import httpx
import pytest

from core.errors import IndexUnavailable, InvalidInput
from core.ids import DEFAULT_TENANT, IndexId
from footnote.topology.servers import free_port
from retrieval.index.qdrant_connection import connect
from tests.retrieval.corpora import DIM, document, version
from tests.retrieval.index.gateway import Gateway

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("old", ["1.18.2", "v1.9.0", "0.11.1"])
def test_a_server_that_is_too_old_is_refused_before_anything_is_made(busy: Gateway, old: str) -> None:
    """It would leave the tenant out of BM25's statistics, and say nothing."""
    busy.status, busy.version = None, b'{"title":"qdrant - vector search engine","version":"%s"}' % old.encode()
    index_id = IndexId(f"old{old}".replace(".", "-"))
    with pytest.raises(InvalidInput, match=r"1\.19 or newer"):
        connect(busy.url, api_key=None, index_id=index_id, dim=DIM)
    busy.version = None
    told = httpx.get(f"{busy.url}/collections/footnote_{index_id}/exists", trust_env=False).json()
    assert told["result"] == {"exists": False}


@pytest.mark.parametrize(
    "told", [b'{"title":"qdrant","version":"1.19.0"}', b'{"title":"qdrant","version":"nightly"}', b"<h1>Welcome</h1>"]
)
def test_a_server_that_is_new_enough_or_does_not_tell_is_taken(busy: Gateway, told: bytes) -> None:
    busy.status, busy.version = None, told
    with closing(connect(busy.url, api_key=None, index_id=IndexId("untold"), dim=DIM)) as index:
        assert index.count(DEFAULT_TENANT, document("a"), version("v1")) == 0


def test_a_server_that_is_away_is_told_as_such() -> None:
    with pytest.raises(IndexUnavailable):
        connect(f"http://127.0.0.1:{free_port()}", api_key=None, index_id=IndexId("away"), dim=DIM)
