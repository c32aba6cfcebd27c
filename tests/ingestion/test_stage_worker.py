from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from core.db.session import Database
from core.db.tables import StageRow
from core.domain import DocumentState, StageName
from core.errors import ModelUnavailable
from core.jobs import celery_app
from core.settings import Settings
from ingestion.stage_worker import StageWorker
from retrieval.embedding.hashing import HashingEmbedder
from tests.ingestion.works import Works, story

pytestmark = pytest.mark.slow  # on PostgreSQL


@pytest.fixture
def works(postgres_database: Database, tmp_path: Path) -> Iterator[Works]:
    opened = Works(postgres_database, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def worker(works: Works, tmp_path: Path) -> Iterator[StageWorker]:
    """A worker of the same installation, whose broker nobody hears."""
    url = works.database.engine.url.render_as_string(hide_password=False)
    settings = Settings(
        data=tmp_path / "worker", database_url=url, broker_url=SecretStr("memory://"), embedder="hashing:32"
    )
    worker = StageWorker(settings, celery_app(settings))
    yield worker
    worker.close()


def test_a_worker_whose_model_cannot_be_loaded_claims_nothing(
    works: Works, worker: StageWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_embedder: HashingEmbedder, _text: str) -> NoReturn:
        raise ModelUnavailable("The converted model cannot be loaded.")

    document = works.upload(story("tea"))
    works.work_until(StageName.EMBED)
    monkeypatch.setattr(HashingEmbedder, "embed_query", broken)
    with pytest.raises(ModelUnavailable):
        worker.work("embed")
    with works.database.reading() as session:
        row = session.execute(select(StageRow.state, StageRow.attempt).where(StageRow.name == "embed")).one()
    assert tuple(row) == ("queued", 0)
    monkeypatch.undo()
    worker.work("embed")
    assert works.status(document).stage is StageName.INDEX
    assert works.status(document).state is DocumentState.QUEUED
