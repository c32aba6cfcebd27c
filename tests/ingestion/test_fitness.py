from pathlib import Path

import pytest

from core.db.releases import ensure_live_release
from core.db.session import Database
from core.errors import Conflict, Unavailable
from core.ids import IndexId
from core.settings import Settings
from ingestion.fitness import check
from retrieval.factory import build_embedder


def _settings(database: Database, embedder: str) -> Settings:
    url = database.engine.url.render_as_string(hide_password=False)
    return Settings(data=Path("unused"), database_url=url, embedder=embedder)


def test_a_worker_begins_only_with_the_model_that_the_index_is_made_with(sqlite_database: Database) -> None:
    ours = _settings(sqlite_database, "hashing:32")
    with sqlite_database.transaction() as session:
        ensure_live_release(session, IndexId("one"), {"embedder": build_embedder(ours).id})
    check(ours)
    with pytest.raises(Conflict, match="FOOTNOTE_EMBEDDER"):
        check(_settings(sqlite_database, "hashing:64"))


def test_where_there_is_no_release_yet_it_waits_and_then_says_what_to_start(sqlite_database: Database) -> None:
    with pytest.raises(Unavailable, match="start the API first"):
        check(_settings(sqlite_database, "hashing:32"), patience=0.0)
