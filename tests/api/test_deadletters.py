"""Dead letters over HTTP."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from core.domain import Reason
from tests.api.house import House

FIELDS = {
    "document",
    "name",
    "source",
    "stage",
    "reason",
    "detail",
    "page",
    "excerpt",
    "attempts",
    "failed_at",
    "version",
    "searchable_version",
}


def listed(house: House, client: TestClient, person: str, **params: str) -> list[str]:
    body = client.get("/v1/deadletters", params=params, headers=house.bearer(person)).json()
    return [letter["name"] for letter in body["deadletters"]]


def replayed(house: House, client: TestClient, person: str, body: object) -> dict[str, Any]:
    response = client.post("/v1/deadletters/replay", json=body, headers=house.bearer(person))
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_a_dead_letter_tells_reason_advice_stage_page_and_log(house: House, client: TestClient) -> None:
    document = house.failed(Reason.CORRUPT, source="plans", page=3, excerpt="  a.module, line 1, in f\nValueError")
    letter = client.get(f"/v1/deadletters/{document}", headers=house.bearer("rita")).json()
    assert set(letter) == FIELDS
    assert (letter["document"], letter["name"], letter["source"]) == (str(document), "broken.pdf", "plans")
    assert (letter["stage"], letter["reason"], letter["page"], letter["attempts"]) == ("parse", "corrupt", 3, 1)
    assert letter["detail"].startswith("The file is damaged")
    assert letter["detail"].endswith("(as it seems)")
    assert letter["excerpt"].endswith("ValueError")
    assert letter["failed_at"].endswith("+00:00")
    assert letter["searchable_version"] is None
    page = client.get("/v1/deadletters", headers=house.bearer("rita")).json()
    assert page == {"deadletters": [letter], "next": None}


def test_what_has_not_failed_is_no_dead_letter(house: House, client: TestClient) -> None:
    document = house.document()
    assert client.get(f"/v1/deadletters/{document}", headers=house.bearer("rita")).status_code == 404
    assert listed(house, client, "rita") == []
    answer = client.post(f"/v1/deadletters/{document}/replay", headers=house.bearer("ed"))
    assert (answer.status_code, answer.json()) == (202, {"replayed": 0, "left": 0, "next": None})


def test_a_replayed_document_is_tried_again_and_is_a_dead_letter_no_more(house: House, client: TestClient) -> None:
    document = house.failed()
    woken = house.woken
    first, again = (client.post(f"/v1/deadletters/{document}/replay", headers=house.bearer("ed")) for _ in range(2))
    assert (first.json()["replayed"], again.json()["replayed"]) == (1, 0)
    assert house.woken > woken
    assert client.get(f"/v1/deadletters/{document}", headers=house.bearer("ed")).status_code == 404
    house.work()
    status = client.get(f"/v1/documents/{document}", headers=house.bearer("ed")).json()
    assert (status["state"], status["reason"]) == ("searchable", None)


def test_a_list_is_narrowed_and_comes_page_by_page(house: House, client: TestClient) -> None:
    for number in range(3):
        house.failed(Reason.EMPTY, name=f"{number}.pdf", source="empties")
    house.failed(Reason.CORRUPT, name="broken.pdf", source="plans")
    assert listed(house, client, "ed") == ["broken.pdf", "2.pdf", "1.pdf", "0.pdf"]
    assert listed(house, client, "ed", reason="corrupt") == ["broken.pdf"]
    assert listed(house, client, "ed", source="empties") == ["2.pdf", "1.pdf", "0.pdf"]
    assert listed(house, client, "ed", stage="index") == []
    assert listed(house, client, "ed", since="2100-01-01T00:00:00Z") == []
    assert len(listed(house, client, "ed", since="2000-01-01T00:00:00+02:00")) == 4
    first = client.get("/v1/deadletters?limit=2", headers=house.bearer("ed")).json()
    rest = client.get(f"/v1/deadletters?limit=2&cursor={first['next']}", headers=house.bearer("ed")).json()
    names = [letter["name"] for page in (first, rest) for letter in page["deadletters"]]
    assert names == ["broken.pdf", "2.pdf", "1.pdf", "0.pdf"]
    assert rest["next"] is None


def test_a_filter_replays_what_matches_and_tells_what_it_left_alone(house: House, client: TestClient) -> None:
    house.failed(Reason.EMPTY, name="shared.pdf", uploader="ursula", allow=["group:staff"])
    house.failed(Reason.EMPTY, name="hers.pdf", uploader="ursula", allow=[])
    house.failed(Reason.CORRUPT, name="broken.pdf", uploader="ursula", allow=["group:staff"])
    assert replayed(house, client, "ed", {"reason": "empty"}) == {"replayed": 1, "left": 0, "next": None}
    assert listed(house, client, "ed") == ["broken.pdf"]
    assert listed(house, client, "ursula") == ["broken.pdf", "hers.pdf"]
    assert replayed(house, client, "bea", {"all": True}) == {"replayed": 0, "left": 0, "next": None}
    assert replayed(house, client, "ursula", {"all": True})["replayed"] == 2
    assert listed(house, client, "ursula") == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"all": False}, 422),
        ({"all": False, "reason": "empty"}, 422),
        ({"all": True, "reason": "empty"}, 422),
        ({"cursor": None}, 422),
        ({"reason": "nonsense"}, 422),
        ({"stage": "bake"}, 422),
        ({"everything": True}, 422),
        ({"all": True, "cursor": "nonsense"}, 422),
        ({"since": "yesterday"}, 422),
        ({"since": "2026-11-21T10:00:00"}, 422),
        ([], 422),
    ],
)
def test_nobody_replays_everything_by_accident(house: House, client: TestClient, body: object, status: int) -> None:
    house.failed(Reason.EMPTY)
    response = client.post("/v1/deadletters/replay", json=body, headers=house.bearer("ed"))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert listed(house, client, "ed") == ["broken.pdf"]


@pytest.mark.parametrize("query", ["reason=x", "stage=x", "since=x", "limit=0", "limit=501", "cursor=x"])
def test_a_list_that_is_asked_for_wrongly_is_refused(house: House, client: TestClient, query: str) -> None:
    assert client.get(f"/v1/deadletters?{query}", headers=house.bearer("ed")).status_code == 422


def test_moments_at_the_edge_of_time_are_no_bug(house: House, client: TestClient) -> None:
    for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        response = client.get("/v1/deadletters", params={"since": moment}, headers=house.bearer("ed"))
        assert response.status_code == 200
