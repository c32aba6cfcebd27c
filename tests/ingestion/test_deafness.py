import pytest

import ingestion.deafness
from ingestion.deafness import EXIT_STATUS, DeafnessWatch
from tests.ingestion.works import Works, story


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(ingestion.deafness, "DEAF_SECONDS", 0.0)
    return []


def _watch(works: Works, ended: list[int], *, busy: bool = False, queue: str = "parse") -> DeafnessWatch:
    url = works.database.engine.url.render_as_string(hide_password=False)
    return DeafnessWatch(url, [queue], busy=lambda: busy, always_rung=queue == "maintenance", end=ended.append)


def test_a_worker_that_gets_no_message_although_work_is_due_ends(works: Works, ended: list[int]) -> None:
    works.upload(story("tea"))
    _watch(works, ended).look()
    assert ended == [EXIT_STATUS]


def test_a_worker_with_nothing_to_hear_goes_on(works: Works, ended: list[int]) -> None:
    _watch(works, ended).look()
    works.upload(story("tea"))
    _watch(works, ended, queue="embed").look()
    assert ended == []


def test_a_worker_that_is_at_work_goes_on(works: Works, ended: list[int]) -> None:
    works.upload(story("tea"))
    _watch(works, ended, busy=True).look()
    assert ended == []


def test_a_worker_whose_clock_is_dead_ends_though_no_work_is_due(works: Works, ended: list[int]) -> None:
    _watch(works, ended, queue="maintenance").look()
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
    for always_rung in (False, True):
        DeafnessWatch(url, ["parse"], busy=lambda: False, always_rung=always_rung, end=ended.append).look()
    assert ended == []
