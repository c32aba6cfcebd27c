"""Alive, ready, and how it is doing."""

import re

from starlette.testclient import TestClient

from api.services import Health
from tests.api.house import House


def test_readiness_is_a_yes_or_a_no_and_nothing_more(house: House, client: TestClient) -> None:
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (200, {"ready": True})
    house.health = Health(ready=False, detail="The index is being opened.")
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"ready": False})
    assert response.headers["retry-after"] == "1"
    facts = client.get("/v1/doctor", headers=house.bearer("owner")).json()
    assert (facts["ready"], facts["ready_detail"]) == (False, "The index is being opened.")
    assert client.get("/healthz").status_code == 200


def test_the_status_counts_what_one_may_know_of(house: House, client: TestClient) -> None:
    house.document()
    assert client.get("/v1/status", headers=house.bearer("rita")).json() == {"totals": {"searchable": 1}}
    assert client.get("/v1/status", headers=house.bearer("nora")).json() == {"totals": {}}
    assert client.get("/v1/status", headers=house.bearer("owner")).json() == {
        "totals": {},
        "queue": [],
        "index_tasks": {"count": 0, "oldest_seconds": 0.0},
        "refilling": 0,
    }


def test_the_metrics_are_prometheus_text_of_documents_queues_and_requests(house: House, client: TestClient) -> None:
    house.document()
    client.post("/v1/documents", files={"file": ("a.txt", b"text")}, headers=house.bearer("ed"))
    response = client.get("/metrics", headers=house.bearer("owner"))
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    assert 'footnote_documents{state="searchable"} 1' in lines
    assert 'footnote_queue_depth{queue="parse",state="ready"} 1' in lines
    assert 'footnote_requests_total{method="POST",route="/v1/documents",status="202"} 1' in lines
    assert 'footnote_request_seconds_count{method="POST",route="/v1/documents"} 1' in lines
    sample = re.compile(r'[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [0-9.e+-]+')
    assert [line for line in lines if not line.startswith("# ") and not sample.fullmatch(line)] == []
