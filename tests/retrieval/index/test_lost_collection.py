"""A server that has lost a collection: nothing is taken for done, and who audits it makes the collection anew."""

import shutil
import signal
from pathlib import Path

import pytest

from core.errors import IndexUnavailable
from core.ids import DEFAULT_TENANT, IndexId
from retrieval.index.qdrant_connection import connect
from tests.retrieval.corpora import DIM, chunk, document, point, principal, vector
from tests.retrieval.index.index_process import IndexProcess


@pytest.mark.slow
def test_a_lost_collection_is_told_until_it_is_made_anew(tmp_path: Path) -> None:
    process = IndexProcess(tmp_path / "data").start()
    index = connect(process.url, api_key=None, index_id=IndexId("lost"), dim=DIM)
    try:
        index.upsert([point("a"), point("b")])
        process.end(signal.SIGKILL)
        shutil.rmtree(process.data)
        process.start()
        for call in (
            lambda: index.delete(DEFAULT_TENANT, document("a")),  # A 404 is no confirmation that it is gone.
            lambda: index.upsert([point("c")]),
            lambda: index.search_dense(vector(1.0), principal=principal("*"), limit=5),
        ):
            with pytest.raises(IndexUnavailable):
                call()
        assert list(index.stored()) == []
        index.upsert([point("c")])
        assert [one.chunk for one in index.stored()] == [chunk("c")]
        assert [one.chunk for one in index.search_dense(vector(1.0), principal=principal("*"), limit=5)] == [chunk("c")]
        index.delete(DEFAULT_TENANT, document("a"))
    finally:
        index.close()
        process.end()
