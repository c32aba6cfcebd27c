from collections.abc import Sequence

import pytest

import ingestion.deafness
from core.db import stages
from core.domain import StageName
from ingestion.deafness import EXIT_STATUS, DeafnessWatch
from tests.ingestion.works import Works, story


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(ingestion.deafness, "DEAF_SECONDS", 0.0)
    return []


def _watch(works: Works, ended: list[int], *, children: Sequence[int] = (7,), queue: str = "parse") -> DeafnessWatch:
    url = works.database.engine.url.render_as_string(hide_password=False)
    return DeafnessWatch(
        url, [queue], children=lambda: children, owner_of=lambda pid: f"worker-{pid}", end=ended.append
    )


def test_a_worker_that_gets_no_message_although_work_is_due_ends(works: Works, ended: list[int]) -> None:
    works.upload(story("tea"))
    _watch(works, ended).look()
    assert ended == [EXIT_STATUS]


def test_a_worker_with_nothing_to_hear_goes_on(works: Works, ended: list[int]) -> None:
    watch = _watch(works, ended)
    watch.look()
    works.upload(story("tea"))
    _watch(works, ended, queue="embed").look()
    assert ended == []


def test_a_worker_whose_process_is_at_work_goes_on(works: Works, ended: list[int]) -> None:
    works.upload(story("tea"))
    works.upload(story("coffee"), "b.txt")
    with works.database.transaction() as session:
        stages.claim(session, [StageName.PARSE], owner="worker-7", limit=1, lease_seconds=60.0)
    _watch(works, ended).look()
    assert ended == []
    _watch(works, ended, children=(8,)).look()
    assert ended == [EXIT_STATUS]


def test_a_message_that_arrives_shows_that_it_hears(
    works: Works, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion.deafness, "DEAF_SECONDS", 60.0)
    works.upload(story("tea"))
    watch = _watch(works, ended)
    watch._heard -= 100
    watch.heard()
    watch.look()
    assert ended == []
    watch._heard -= 100
    watch.look()
    assert ended == [EXIT_STATUS]


def test_a_database_that_is_away_ends_nobody(ended: list[int]) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    DeafnessWatch(url, ["parse"], children=list, owner_of=str, end=ended.append).look()
    assert ended == []
