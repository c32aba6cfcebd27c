"""The routes, asked in this process: what is refused, with which status, and that the service goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from retrieval.index.service import app as service
from retrieval.index.service.app import create_app
from retrieval.index.service.collections import Collections

HERE = "http://127.0.0.1"
ID = str(UUID(int=7))
LAYOUT = {
    "vectors": {"dense": {"size": 2, "distance": "Cosine"}},
    "sparse_vectors": {"bm25": {"modifier": "idf"}},
}
TENANT = {"must": [{"key": "tenant", "match": {"value": "t"}}]}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    collections = Collections(tmp_path / "indexes")
    with TestClient(create_app(collections, api_key=None), base_url=HERE) as made:
        made.put("/collections/c", json=LAYOUT)
        yield made
    collections.close()


def stored(client: TestClient, **vectors: object) -> Response:
    point = {"id": ID, "vector": vectors, "payload": {"tenant": "t", "note": None}}
    return client.put("/collections/c/points?wait=true", json={"points": [point]})


def counted(client: TestClient) -> int:
    answer = client.post("/collections/c/points/count", json={"exact": True})
    return int(answer.json()["result"]["count"])


def error_of(answer: Response) -> str:
    """The sentence, in the form of a Qdrant server."""
    body = answer.json()
    assert set(body) == {"status", "time"}
    return str(body["status"]["error"])


def test_answers_come_in_qdrants_envelope(client: TestClient) -> None:
    answer = stored(client, dense=[1.0, 0.0], bm25={"indices": [3], "values": [2.0]})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["result"]["status"]) == ("ok", "completed")
    assert body["time"] >= 0
    query = {"query": {"nearest": [1.0, 0.0]}, "using": "dense", "limit": 3, "with_payload": True, "filter": TENANT}
    [found] = client.post("/collections/c/points/query", json=query).json()["result"]["points"]
    assert (found["id"], found["score"], found["payload"]) == (ID, 1.0, {"tenant": "t", "note": None})


def test_version_and_probes_answer_like_a_qdrant_server(client: TestClient) -> None:
    assert client.get("/").json()["version"].startswith("1.")
    assert [client.get(path).status_code for path in ("/healthz", "/livez", "/readyz")] == [200] * 3


def test_an_unknown_collection_is_not_found(client: TestClient) -> None:
    for method, path, body in (
        ("PUT", "/points", {"points": []}),
        ("POST", "/points/payload", {"payload": {}, "filter": TENANT}),
        ("POST", "/points/delete", {"filter": TENANT}),
        ("POST", "/points/count", {}),
        ("POST", "/points/query", {"query": [1.0, 0.0], "using": "dense"}),
        ("POST", "/points/scroll", {}),
        ("PUT", "/index", {"field_name": "tenant", "field_schema": "keyword"}),
    ):
        for name in ("unknown", "c.new", ".lock"):
            answer = client.request(method, f"/collections/{name}{path}", json=body)
            assert (answer.status_code, error_of(answer)) == (404, f"Not found: Collection `{name}` doesn't exist!")
        for outside in ("..%2fc", "%2e%2e", "%2e"):
            assert client.request(method, f"/collections/{outside}{path}", json=body).status_code in (404, 501)


def test_a_collection_is_made_once_and_dropped_once(client: TestClient) -> None:
    again = client.put("/collections/c", json=LAYOUT)
    assert (again.status_code, error_of(again)) == (409, "Wrong input: Collection `c` already exists!")
    assert client.get("/collections/c/exists").json()["result"] == {"exists": True}
    assert [client.delete("/collections/c").json()["result"] for _ in range(2)] == [True, False]
    assert client.get("/collections/c/exists").json()["result"] == {"exists": False}


def test_a_payload_index_is_made_once_and_asking_again_is_no_error(client: TestClient) -> None:
    for schema in ("keyword", {"type": "keyword", "is_tenant": True}):
        answer = client.put("/collections/c/index", json={"field_name": "tenant", "field_schema": schema})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"points": 1}', 400),
        (b'{"points": [{"id": 1, "vector": {"dense": [NaN, 1.0]}}]}', 400),
        (b'{"points": [{"id": 1, "vector": {"dense": [1.0]}}]}', 400),
        (b'{"points": [{"id": 1, "vector": {"other": [1.0, 0.0]}}]}', 400),
        (b'{"points": [{"id": -1, "vector": {"dense": [1.0, 0.0]}}]}', 400),
        (b'{"points": [{"id": "seven", "vector": {"dense": [1.0, 0.0]}}]}', 400),
        (b'{"points": [{"id": 1, "vector": {"bm25": {"indices": [1, 1], "values": [1.0, 1.0]}}}]}', 422),
        (b'{"points": [{"id": 1, "vector": {"bm25": {"indices": [1], "values": [1.0, 1.0]}}}]}', 422),
        (b'{"points": [{"id": 1, "vector": {"bm25": {"indices": [4294967296], "values": [1.0]}}}]}', 422),
        (b'{"points": [{"id": 1, "vector": [1.0, 0.0]}]}', 501),
        (b'{"points": [], "update_mode": "insert_only"}', 501),
        (b"[" * 10_000, 400),
        (b"\xff\xfe", 400),
    ],
)
def test_a_wrong_upsert_is_refused_whole_and_the_next_one_is_taken(
    client: TestClient, body: bytes, status: int
) -> None:
    answer = client.put("/collections/c/points", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, bool(error_of(answer))) == (status, True)
    assert counted(client) == 0
    assert stored(client, dense=[1.0, 0.0]).is_success
    assert counted(client) == 1


def test_one_wrong_point_among_many_stores_none(client: TestClient) -> None:
    points = [{"id": number, "vector": {"dense": [1.0, 0.0]}} for number in range(200)]
    points[-1]["vector"] = {"dense": [1.0]}
    assert client.put("/collections/c/points", json={"points": points}).status_code == 400
    assert counted(client) == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/points/query", {"query": ID, "using": "dense"}),
        ("/points/query", {"query": [1.0, 0.0], "using": "dense", "offset": 3}),
        ("/points/query", {"query": [1.0, 0.0], "using": "dense", "score_threshold": 0.5}),
        ("/points/query", {"query": [1.0, 0.0], "using": "dense", "with_vector": True}),
        ("/points/query", {"query": [1.0, 0.0], "using": "dense", "params": {"hnsw_ef": 9}}),
        ("/points/query", {"prefetch": {"query": [1.0, 0.0], "using": "dense"}, "query": {"fusion": "rrf"}}),
        ("/points/scroll", {"order_by": "tenant"}),
        ("/points/count", {"filter": {"should": TENANT["must"]}}),
        ("/points/count", {"filter": {"must": [{"key": "n", "range": {"gt": 1}}]}}),
        ("/points/count", {"filter": {"must": [{"key": "n", "match": {"text": "a"}}]}}),
        ("/points/count", {"filter": {"must": [{"must": []}]}}),
        ("/points/count?timeout=3", {}),
        ("/points/payload", {"payload": {}, "filter": TENANT, "key": "inner"}),
        ("/points/search", {"vector": [1.0, 0.0], "limit": 1}),
    ],
)
def test_what_a_qdrant_server_could_do_is_refused_and_not_half_done(
    client: TestClient, path: str, body: dict[str, Any]
) -> None:
    answer = client.post(f"/collections/c{path}", json=body)
    assert answer.status_code == 501
    assert error_of(answer).startswith("`footnote index` does not support ")


@pytest.mark.parametrize("layout", [{"vectors": {"size": 2, "distance": "Dot"}}, LAYOUT | {"shard_number": 2}])
def test_other_kinds_of_collection_are_refused(client: TestClient, layout: object) -> None:
    assert client.put("/collections/other", json=layout).status_code == 501
    assert client.get("/collections/other/exists").json()["result"] == {"exists": False}


@pytest.mark.parametrize("name", ["a.b", "%20", "a" * 201, "ä"])
def test_a_name_that_could_be_another_file_makes_no_collection(client: TestClient, name: str) -> None:
    assert client.put(f"/collections/{name}", json=LAYOUT).status_code == 400


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_unprocessable(client: TestClient, limit: int) -> None:
    query = {"query": [1.0, 0.0], "using": "dense", "limit": limit}
    assert client.post("/collections/c/points/query", json=query).status_code == 422


def test_a_body_too_large_is_refused_and_the_service_goes_on(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_BODY_BYTES", 100)
    answer = stored(client, dense=[1.0, 0.0], bm25={"indices": list(range(50)), "values": [1.0] * 50})
    assert (answer.status_code, counted(client)) == (413, 0)


def test_a_page_of_another_site_cannot_write(client: TestClient) -> None:
    stored(client, dense=[1.0, 0.0])
    body = json.dumps({"filter": TENANT})
    form = client.post("/collections/c/points/delete", content=body, headers={"content-type": "text/plain"})
    rebound = client.post("/collections/c/points/delete", content=body, headers={"host": "evil.example"})
    assert (form.status_code, rebound.status_code) == (400, 421)
    assert counted(client) == 1
    assert client.get("/collections/c/exists", headers={"host": "localhost:6333"}).is_success
    assert client.get("/collections/c/exists", headers={"host": "[::1]:6333"}).is_success


def test_without_the_right_key_only_the_probes_answer(tmp_path: Path) -> None:
    collections = Collections(tmp_path / "indexes")
    with TestClient(create_app(collections, api_key="opensesame"), base_url="http://index.internal") as client:
        for key in (None, "", "sesame", "öffne"):
            headers = [] if key is None else [(b"api-key", key.encode())]
            answer = client.put("/collections/c", json=LAYOUT, headers=headers)
            assert answer.status_code == 401
            assert "api-key" in error_of(answer)
            assert client.get("/readyz", headers=headers).is_success
        assert not collections.exists("c")
        assert client.put("/collections/c", json=LAYOUT, headers={"api-key": "opensesame"}).is_success
    collections.close()
