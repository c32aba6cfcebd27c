from core.db import stages
from core.domain import StageName
from ingestion.reconciling import RINGS, reconcile
from tests.ingestion.works import Works, story


def _rung(works: Works) -> dict[str, int]:
    rung: list[str] = []
    reconcile(works.database, rung.append)
    return {queue: rung.count(queue) for queue in rung}


def test_every_queue_with_work_that_is_due_is_rung_and_no_other(works: Works) -> None:
    assert _rung(works) == {}
    works.upload(story("tea"))
    assert _rung(works) == {"parse": RINGS}
    works.work_until(StageName.EMBED)
    assert _rung(works) == {"embed": RINGS}
    works.work_until(StageName.INDEX)
    assert _rung(works) == {"index": RINGS}
    works.work()
    assert _rung(works) == {}


def test_what_is_worked_on_is_left_alone_and_what_its_worker_lost_is_not(works: Works) -> None:
    works.upload(story("tea"))
    with works.database.transaction() as session:
        stages.claim(session, [StageName.PARSE], owner="slow", limit=1, lease_seconds=100.0)
    assert _rung(works) == {}
    works.upload(story("coffee"), "b.txt")
    with works.database.transaction() as session:
        stages.claim(session, [StageName.PARSE], owner="dead", limit=1, lease_seconds=0.0)
    assert _rung(works) == {"parse": RINGS}


def test_a_deleted_document_rings_for_its_points(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work()
    works.delete(document)
    assert _rung(works) == {"index": RINGS}
