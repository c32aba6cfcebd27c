"""Signing in with a browser."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from tests.api.house import House

SEARCH = {"query": "holiday"}


def signed_in(house: House, client: TestClient, person: str) -> str:
    """Open a session in the client; return its CSRF token."""
    response = sign_in(client, house.link(person))
    assert (response.status_code, response.headers["location"]) == (303, "/")
    token: str = client.get("/v1/session").json()["csrf"]
    return token


def sign_in(client: TestClient, token: str, **headers: str) -> Response:
    return client.post("/sign-in", data={"token": token}, headers=headers)


def test_a_key_makes_a_link_that_opens_a_session_of_its_user(house: House, client: TestClient) -> None:
    url = client.post("/v1/session-links", headers=house.bearer("rita")).json()["url"]
    page = client.get(url)
    assert page.headers["content-type"].startswith("text/html")
    token = parse_qs(urlsplit(url).query)["token"][0]
    assert token in page.text
    response = sign_in(client, token)
    cookies = response.headers.get_list("set-cookie")
    assert len(cookies) == 2
    for cookie in cookies:
        assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}
    me = client.get("/v1/session").json()
    assert (me["user"], me["role"], me["tenant"], me["as"]) == ("rita", "reader", "default", None)


def test_fetching_the_link_ahead_spends_nothing_and_using_it_spends_it(house: House, client: TestClient) -> None:
    token = house.link("rita")
    for _ in range(3):
        assert client.get("/sign-in", params={"token": token}).status_code == 200
    assert sign_in(client, token).status_code == 303
    client.cookies.clear()
    assert sign_in(client, token).status_code == 401


def test_a_link_that_has_expired_opens_nothing(house: House, client: TestClient) -> None:
    assert sign_in(client, house.link("rita", timedelta(seconds=-1))).status_code == 401


def test_the_token_is_escaped_in_the_page(client: TestClient) -> None:
    page = client.get("/sign-in", params={"token": '"><script>alert(1)</script>'})
    assert "<script>alert" not in page.text


def test_a_change_needs_the_sessions_csrf_token_and_reading_does_not(house: House, client: TestClient) -> None:
    csrf = signed_in(house, client, "rita")
    assert client.get("/v1/documents").status_code == 200
    assert client.post("/v1/search", json=SEARCH, headers={"X-CSRF-Token": csrf}).status_code == 200
    for headers in ({}, {"X-CSRF-Token": "wrong"}):
        response = client.post("/v1/search", json=SEARCH, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")


def test_the_csrf_token_of_another_session_does_not_do(house: House, client: TestClient) -> None:
    other = signed_in(house, client, "rita")
    client.cookies.clear()
    signed_in(house, client, "rita")
    assert client.post("/v1/search", json=SEARCH, headers={"X-CSRF-Token": other}).status_code == 403


def test_a_form_of_another_site_cannot_sign_the_browser_in(house: House, client: TestClient) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert sign_in(client, house.link("rita"), **headers).status_code == 403
    same = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    assert sign_in(client, house.link("rita"), **same).status_code == 303


def test_signing_out_ends_the_session(house: House, client: TestClient) -> None:
    csrf = signed_in(house, client, "rita")
    cookies = dict(client.cookies)
    assert client.delete("/v1/session", headers={"X-CSRF-Token": csrf}).status_code == 204
    assert not client.cookies
    assert client.get("/v1/documents", cookies=None, headers={"Cookie": _header(cookies)}).status_code == 401


def _header(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


@pytest.mark.parametrize("end", ["revoke", "suspend"])
def test_a_session_ends_with_its_key_and_its_user(end: str, house: House, client: TestClient) -> None:
    signed_in(house, client, "rita")
    ada = house.bearer("ada")
    if end == "revoke":
        keys = client.get("/v1/admin/keys", headers=ada).json()["keys"]
        (key,) = [key["id"] for key in keys if key["user"] == "rita"]
        client.delete(f"/v1/admin/keys/{key}", headers=ada)
    else:
        client.post("/v1/admin/users/rita/suspend", headers=ada)
    assert client.get("/v1/session").status_code == 401


def test_no_session_is_opened_as_somebody_else(house: House, client: TestClient) -> None:
    headers = house.bearer("owner") | {"X-Footnote-As": "user:rita"}
    assert client.post("/v1/session-links", headers=headers).status_code == 403
