"""Search over HTTP."""

from starlette.testclient import TestClient

from tests.api.house import House


def test_search_returns_the_json_of_the_design(house: House, client: TestClient) -> None:
    document = house.document()
    response = client.post("/v1/search", json={"query": "days of holiday"}, headers=house.bearer("rita"))
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"hits", "timings_ms"}
    hit = body["hits"][0]
    assert hit["document"] == str(document)
    assert (hit["name"], hit["title"], hit["page"], hit["pages"]) == ("handbook.pdf", "Handbook", 1, [1, 1])
    assert set(hit["ranks"]) == {"dense", "bm25", "rerank"}
    start, end = hit["span"]
    text = client.get(
        f"/v1/documents/{document}/text", params={"start": start, "end": end}, headers=house.bearer("rita")
    )
    assert text.json()["text"] == hit["text"]


def test_search_finds_nothing_that_the_asker_may_not_read(house: House, client: TestClient) -> None:
    house.document()
    for name in ("nora", "bea", "owner", "olga"):
        response = client.post("/v1/search", json={"query": "days of holiday"}, headers=house.bearer(name))
        assert response.json()["hits"] == []


def test_a_revoked_right_is_gone_with_the_next_search(house: House, client: TestClient) -> None:
    document = house.document()
    change = {"deny": ["user:rita"]}
    assert client.patch(f"/v1/documents/{document}/acl", json=change, headers=house.bearer("ursula")).status_code == 200
    response = client.post("/v1/search", json={"query": "days of holiday"}, headers=house.bearer("rita"))
    assert response.json()["hits"] == []


def test_explain_adds_what_the_dense_model_saw(house: House, client: TestClient) -> None:
    house.document()
    body = {"query": "holiday", "explain": True, "limit": 1}
    hits = client.post("/v1/search", json=body, headers=house.bearer("rita")).json()["hits"]
    assert [hit["header"] for hit in hits] == ["Handbook"]


def test_impersonation_reads_as_exactly_the_named_principals(house: House, client: TestClient) -> None:
    house.document()
    for principals, found in (
        ("group:staff", True),
        ("user:rita", True),
        ("user:nora", False),
        ("user:unknown", False),
    ):
        headers = house.bearer("owner") | {"X-Footnote-As": principals}
        hits = client.post("/v1/search", json={"query": "holiday"}, headers=headers).json()["hits"]
        assert bool(hits) is found, principals
