"""Asking over HTTP: whole answers, streams, resuming, stopping, conversations."""

import json
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

from tests.api.house import House

EVENTS = {"Accept": "text/event-stream"}
QUESTION = {"question": "How many days of holiday has every employee?"}


def events(response: Response) -> list[tuple[int, str, Any]]:
    found = []
    for block in response.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_an_answer_as_json_has_the_fields_of_the_design(house: House, client: TestClient) -> None:
    document = house.document()
    response = client.post("/v1/chat", json=QUESTION, headers=house.bearer("rita"))
    body = response.json()
    assert {"answer", "citations", "abstained", "model", "release", "usage", "timings_ms"} <= set(body)
    assert response.headers["x-footnote-answer"] == body["id"]
    citation = body["citations"][0]
    assert citation["document"] == str(document)
    start, end = citation["span"]
    params = {"start": start, "end": end, "version": citation["version"]}
    text = client.get(f"/v1/documents/{document}/text", params=params, headers=house.bearer("rita")).json()
    assert text["text"] == citation["quote"]


def test_an_answer_streams_numbered_events_and_names_itself_first(house: House, client: TestClient) -> None:
    house.document()
    response = client.post("/v1/chat", json=QUESTION, headers=house.bearer("rita") | EVENTS)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    told = events(response)
    assert [number for number, _, _ in told] == list(range(1, len(told) + 1))
    kinds = [kind for _, kind, _ in told]
    assert (kinds[0], kinds[-1]) == ("retrieval", "done")
    assert {"delta", "citation", "usage"} <= set(kinds)
    assert told[0][2]["answer"] == response.headers["x-footnote-answer"]


def test_a_broken_stream_goes_on_after_the_last_event_seen(house: House, client: TestClient) -> None:
    house.document()
    rita = house.bearer("rita")
    first = client.post("/v1/chat", json=QUESTION, headers=rita | EVENTS)
    path = f"/v1/answers/{first.headers['x-footnote-answer']}/events"
    whole = events(first)
    for last in (0, 1, len(whole) - 1, len(whole)):
        resumed = events(client.get(path, headers=rita | {"Last-Event-ID": str(last)}))
        assert resumed == whole[last:]
    assert events(client.get(path, headers=rita | {"Last-Event-ID": "nonsense"})) == whole


def test_an_answer_is_withheld_once_its_document_may_not_be_read(house: House, client: TestClient) -> None:
    document = house.document()
    rita = house.bearer("rita")
    answer = client.post("/v1/chat", json=QUESTION, headers=rita).json()
    client.patch(f"/v1/documents/{document}/acl", json={"deny": ["user:rita"]}, headers=house.bearer("ursula"))
    replayed = client.get(f"/v1/answers/{answer['id']}/events", headers=rita)
    assert "thirty" not in replayed.text.lower()
    assert events(replayed)[-1][2]["code"] == "withheld"
    past = client.get(f"/v1/conversations/{answer['conversation']}", headers=rita)
    assert "thirty" not in past.text.lower()
    assert past.json()["turns"][0]["withheld"] is True


def test_a_conversation_is_kept_listed_continued_and_deleted(house: House, client: TestClient) -> None:
    house.document()
    rita = house.bearer("rita")
    first = client.post("/v1/chat", json=QUESTION, headers=rita).json()
    again = {"question": "And when do they lapse?", "conversation": first["conversation"]}
    assert client.post("/v1/chat", json=again, headers=rita).json()["conversation"] == first["conversation"]
    listed = client.get("/v1/conversations", headers=rita).json()["conversations"]
    assert [one["id"] for one in listed] == [first["conversation"]]
    path = f"/v1/conversations/{first['conversation']}"
    turns = client.get(path, headers=rita).json()["turns"]
    assert [turn["question"] for turn in turns] == [QUESTION["question"], again["question"]]
    assert turns[0]["answer"] == first["answer"]
    assert turns[0]["citations"] == first["citations"]
    assert client.delete(path, headers=rita).status_code == 204
    assert client.get(path, headers=rita).status_code == 404
    assert client.get(f"/v1/answers/{first['id']}/events", headers=rita).status_code == 404
    assert client.get("/v1/conversations", headers=rita).json() == {"conversations": []}


def test_a_conversation_of_somebody_else_cannot_be_continued(house: House, client: TestClient) -> None:
    house.document()
    first = client.post("/v1/chat", json=QUESTION, headers=house.bearer("rita")).json()
    again = QUESTION | {"conversation": first["conversation"]}
    response = client.post("/v1/chat", json=again, headers=house.bearer("ed"))
    assert response.status_code == 404


def test_a_suspended_user_has_no_conversations_even_by_impersonation(house: House, client: TestClient) -> None:
    house.document()
    first = client.post("/v1/chat", json=QUESTION, headers=house.bearer("rita")).json()
    client.post("/v1/admin/users/rita/suspend", headers=house.bearer("ada"))
    posing = house.bearer("owner") | {"X-Footnote-As": "user:rita"}
    assert client.get("/v1/conversations", headers=posing).json() == {"conversations": []}
    assert client.get(f"/v1/conversations/{first['conversation']}", headers=posing).status_code == 404
