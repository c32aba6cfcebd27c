"""The queues as JSON and as metrics."""

import time
from dataclasses import replace
from typing import Any

from sqlalchemy import update
from starlette.testclient import TestClient

from api.app import create_app
from api.services import Services
from core.db import stages
from core.db.clock import SECOND
from core.db.tables import StageRow, TurnRow
from core.domain import Reason, StageName
from ingestion.reconciling import reconcile
from tests.api.house import OTHER_TENANT, House


def _upload(house: House, client: TestClient, name: str, who: str = "ed") -> None:
    response = client.post("/v1/documents", files={"file": (name, b"secret text")}, headers=house.bearer(who))
    assert response.status_code == 202


def test_the_queues_tell_numbers_of_all_tenants_and_no_names(house: House, client: TestClient) -> None:
    house.document()
    _upload(house, client, "salaries.txt")
    _upload(house, client, "merger.txt", "olga")
    with house.database.transaction() as session:
        first, _ = stages.claim(session, [StageName.PARSE], owner="w", limit=2, lease_seconds=60)
        stages.fail(session, first, Reason.CORRUPT, "torn salaries")
    response = client.get("/v1/admin/queues", headers=house.bearer("owner"))
    assert response.status_code == 200
    parse, embed, index = response.json()["queues"]
    assert [one["queue"] for one in (parse, embed, index)] == ["parse", "embed", "index"]
    assert set(parse) == {
        "queue",
        "verdict",
        "detail",
        "depth",
        "oldest_seconds",
        "finished",
        "rate_per_minute",
        "eta_seconds",
        "progress",
        "put_off",
        "failures",
    }
    assert (parse["verdict"], parse["depth"]["leased"]) == ("working", 1)
    assert parse["failures"] == [{"stage": "parse", "reason": "corrupt", "count": 1}]
    assert (index["verdict"], index["finished"]) == ("idle", 1)
    assert index["rate_per_minute"] > 0
    for name in ("salaries", "merger", "handbook", OTHER_TENANT):
        assert name not in response.text


def _queues(services: Services, house: House) -> Any:  # noqa: ANN401 - JSON
    with TestClient(create_app(services), base_url="http://127.0.0.1") as client:
        return client.get("/v1/admin/queues", headers=house.bearer("owner")).json()


def test_a_queue_that_nobody_serves_is_dead_once_the_api_has_been_up_for_a_minute(
    house: House, client: TestClient
) -> None:
    _upload(house, client, "a.txt")
    with house.database.transaction() as session:
        session.execute(update(StageRow).values(ready_at=StageRow.ready_at - 600 * SECOND))
    assert _queues(house.services, house)["queues"][0]["verdict"] == "waiting"
    parse = _queues(replace(house.services, started=time.monotonic() - 61), house)["queues"][0]
    assert (parse["verdict"], parse["depth"]["lapsed"]) == ("dead", 0)


def test_where_other_processes_work_the_age_of_the_reconcilers_last_round_is_told(house: House) -> None:
    young = replace(house.services, distributed=True)
    old = replace(young, started=time.monotonic() - 61)
    assert _queues(house.services, house)["reconciler"] is None
    assert _queues(young, house)["reconciler"] == {"age_seconds": None, "late": False}
    assert _queues(old, house)["reconciler"] == {"age_seconds": None, "late": True}
    reconcile(house.database, ring=lambda _: None, waiting=lambda _: 0)
    told = _queues(old, house)["reconciler"]
    assert (told["age_seconds"] < 60, told["late"]) == (True, False)
    with house.database.transaction() as session:
        session.execute(update(TurnRow).values(served_at=TurnRow.served_at - 600 * SECOND))
    told = _queues(old, house)["reconciler"]
    assert (told["age_seconds"] >= 600, told["late"]) == (True, True)


def test_the_metrics_tell_the_age_of_the_last_round_also_where_there_was_none(house: House) -> None:
    def age(services: Services) -> list[float]:
        with TestClient(create_app(services), base_url="http://127.0.0.1") as client:
            lines = client.get("/metrics", headers=house.bearer("owner")).text.splitlines()
        return [float(line.split()[1]) for line in lines if line.startswith("footnote_reconciled_age_seconds ")]

    never = replace(house.services, distributed=True, started=time.monotonic() - 500)
    assert age(house.services) == []
    assert 500 <= age(never)[0] < 560
    reconcile(house.database, ring=lambda _: None, waiting=lambda _: 0)
    assert age(never)[0] < 60


def test_the_metrics_tell_the_same_of_every_queue(house: House, client: TestClient) -> None:
    house.document()
    _upload(house, client, "a.txt")
    _upload(house, client, "b.txt")
    _upload(house, client, "c.txt")
    with house.database.transaction() as session:
        first, second, _ = stages.claim(session, [StageName.PARSE], owner="w", limit=9, lease_seconds=0)
        stages.fail(session, first, Reason.CORRUPT)
        stages.retry_later(session, second, 60, Reason.EMBEDDER_FAILED, counted=False)
    lines = client.get("/metrics", headers=house.bearer("owner")).text.splitlines()
    for line in (
        'footnote_queue_depth{queue="parse",state="ready"} 0',
        'footnote_queue_depth{queue="parse",state="postponed"} 1',
        'footnote_queue_depth{queue="parse",state="leased"} 0',
        'footnote_queue_depth{queue="parse",state="lapsed"} 1',
        'footnote_lapsed_leases{queue="parse"} 1',
        'footnote_queue_put_off{queue="parse",reason="embedder_failed",shared="true"} 1',
        'footnote_failed_documents{stage="parse",reason="corrupt"} 1',
        'footnote_queue_verdict{queue="embed",verdict="idle"} 1',
        'footnote_queue_verdict{queue="embed",verdict="dead"} 0',
        'footnote_queue_depth{queue="embed",state="ready"} 0',
    ):
        assert line in lines
    values = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}
    assert values['footnote_queue_rate_per_minute{queue="index"}'] > 0
    assert values['footnote_queue_oldest_seconds{queue="parse"}'] >= 0
    assert values['footnote_queue_eta_seconds{queue="parse"}'] > 0


def test_a_document_tells_its_uploader_how_far_it_has_come(house: House, client: TestClient) -> None:
    response = client.post("/v1/documents", files={"file": ("a.txt", b"text")}, headers=house.bearer("ursula"))
    document = response.json()["documents"][0]["document"]
    with house.database.transaction() as session:
        (claimed,) = stages.claim(session, [StageName.PARSE], owner="w", limit=1, lease_seconds=60)
        stages.renew(session, [claimed], 60, {claimed.id: 0.4})
    status = client.get(f"/v1/documents/{document}", headers=house.bearer("ursula")).json()
    assert (status["state"], status["stage"], status["detail"]) == ("leased", "parse", "40 % done")
