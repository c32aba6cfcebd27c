from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.db.stages import claim
from core.domain import StageName
from ingestion.endings import Endings
from ingestion.leases import HeldLeases
from tests.ingestion.conftest import Logged
from tests.ingestion.works import Works, story


def test_an_end_that_cannot_be_written_down_at_all_does_not_end_the_others_of_its_batch(
    works: Works, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    works.upload(story("tea"))
    with works.database.transaction() as session:
        [stage] = claim(session, [StageName.PARSE], owner="worker", limit=1, lease_seconds=60)

    @contextmanager
    def broken() -> Iterator[Session]:
        raise OperationalError("update", {}, OSError("the disk cannot be read"))
        yield

    monkeypatch.setattr(works.database, "transaction", broken)
    endings = Endings(works.database, HeldLeases(works.database))
    endings.settle(stage, lambda _: None)

    assert [event["event"] for event in logged] == ["stage_unsettled"]
    assert works.stage(stage.document, StageName.PARSE).state == "leased"  # Until it lapses.
