from pathlib import Path

import pytest

from core.db.releases import ensure_live_release
from core.db.session import Database
from core.errors import Conflict
from core.ids import IndexId
from core.jobs import QUEUES
from core.settings import Settings
from ingestion import celery_worker
from ingestion.celery_worker import checked_queues


def test_queues_are_those_there_are_each_once() -> None:
    assert checked_queues("parse, embed,parse") == ("parse", "embed")
    assert checked_queues(",".join(QUEUES)) == QUEUES


@pytest.mark.parametrize("names", ["", " , ", "parse,ocr"])
def test_a_queue_that_does_not_exist_is_told(names: str) -> None:
    with pytest.raises(ValueError, match="Queues are parse, embed, index, maintenance"):
        checked_queues(names)


def test_a_worker_with_another_model_than_the_index_s_ends_before_it_takes_a_message(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_database.transaction() as session:
        ensure_live_release(session, IndexId("one"), {"embedder": "hashing:64"})
    url = sqlite_database.engine.url.render_as_string(hide_password=False)
    settings = Settings(data=tmp_path, database_url=url, embedder="hashing:32")
    monkeypatch.setattr(celery_worker, "_worker_app", lambda *_: pytest.fail("it went on"))
    with pytest.raises(Conflict, match="FOOTNOTE_EMBEDDER"):
        celery_worker.run(settings, ["embed"], concurrency=1, beat=False)
