"""The words and pages that citations point at."""

import pytest
from starlette.testclient import TestClient

from tests.api.house import HOLIDAY, PNG, House

TEXT = HOLIDAY.replace("\f", "\n")


def test_the_text_route_returns_the_slice_and_its_pages(house: House, client: TestClient) -> None:
    document = house.document()
    body = client.get(
        f"/v1/documents/{document}/text", params={"start": 6, "end": 14}, headers=house.bearer("rita")
    ).json()
    assert body == {
        "document": str(document),
        "version": body["version"],
        "start": 6,
        "end": 14,
        "length": len(TEXT),
        "text": TEXT[6:14],
        "pages": [1, 1],
    }
    whole = client.get(f"/v1/documents/{document}/text", headers=house.bearer("rita")).json()
    assert (whole["text"], whole["pages"]) == (TEXT, [1, 2])


def test_offsets_count_code_points(house: House, client: TestClient) -> None:
    document = house.document("a😀é z")
    params = {"start": 1, "end": 3}
    body = client.get(f"/v1/documents/{document}/text", params=params, headers=house.bearer("rita")).json()
    assert body["text"] == "😀é"


@pytest.mark.parametrize(
    "params", [{"start": 5, "end": 5}, {"start": 9, "end": 3}, {"end": len(TEXT) + 1}, {"start": 10**6}, {"start": -1}]
)
def test_a_range_that_is_none_is_refused(
    params: dict[str, int], shared_house: House, shared_client: TestClient
) -> None:
    path = f"/v1/documents/{shared_house.standing()}/text"
    response = shared_client.get(path, params=params, headers=shared_house.bearer("rita"))
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")


def test_a_version_that_was_shown_stays_citable_and_one_on_its_way_in_is_not_shown(
    house: House, client: TestClient
) -> None:
    document = house.document(source="s")
    path, rita = f"/v1/documents/{document}/text", house.bearer("rita")
    first = client.get(path, headers=rita).json()["version"]
    files = {"file": ("handbook.pdf", b"Forty days of holiday.")}
    accepted = client.post("/v1/documents", files=files, data={"source": "s"}, headers=house.bearer("ursula")).json()
    second = accepted["documents"][0]["version"]
    assert client.get(path, params={"version": second}, headers=rita).status_code == 404
    assert client.get(path, headers=rita).json()["version"] == first
    house.work()
    assert client.get(path, headers=rita).json()["text"] == "Forty days of holiday."
    assert client.get(path, params={"version": first}, headers=rita).json()["text"] == TEXT
    assert client.get(path, params={"version": "nonsense"}, headers=rita).status_code == 404


def test_a_version_of_another_document_is_not_a_version_of_this_one(house: House, client: TestClient) -> None:
    secret = house.document("A secret.", name="secret.txt", allow=("user:ursula",))
    version = client.get(f"/v1/documents/{secret}/text", headers=house.bearer("ursula")).json()["version"]
    document = house.document()
    path = f"/v1/documents/{document}/text"
    assert client.get(path, params={"version": version}, headers=house.bearer("rita")).status_code == 404


def test_a_page_is_drawn_with_the_cited_lines_of_that_page(house: House, client: TestClient) -> None:
    document = house.document()
    start = TEXT.index("Unused")
    path, rita = f"/v1/documents/{document}/pages", house.bearer("rita")
    span = f"{start}-{TEXT.index('Ask')}"
    response = client.get(f"{path}/1.png", params={"span": span}, headers=rita)
    assert response.headers["content-type"] == "image/png"
    assert response.headers["cache-control"] == "no-store"
    assert response.content.startswith(PNG)
    client.get(f"{path}/2.png", params={"span": span}, headers=rita)
    client.get(f"{path}/2.png", headers=rita)
    asked = [(page, [(box.page, box.y0) for box in boxes]) for page, boxes in house.pages.asked]
    assert asked == [(1, [(1, 0.1)]), (2, [(2, 0.0)]), (2, [])]


@pytest.mark.parametrize("page", ["0", "3", "99999999999999999999", "x", "-1", "1e1", "²"])
def test_a_page_that_there_is_not_is_not_found(page: str, shared_house: House, shared_client: TestClient) -> None:
    path = f"/v1/documents/{shared_house.standing()}/pages/{page}.png"
    assert shared_client.get(path, headers=shared_house.bearer("rita")).status_code == 404


@pytest.mark.parametrize("span", ["5", "5-5", "9-3", "-1-5", "a-b", "0-999999", "0-5 "])
def test_a_span_that_is_none_is_refused(span: str, shared_house: House, shared_client: TestClient) -> None:
    path = f"/v1/documents/{shared_house.standing()}/pages/1.png"
    response = shared_client.get(path, params={"span": span}, headers=shared_house.bearer("rita"))
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
