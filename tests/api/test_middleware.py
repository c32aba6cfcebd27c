"""What every response carries, and what no route gets to see."""

import pytest
from starlette.testclient import TestClient

from api.middleware import host_name
from tests.api.house import House


@pytest.mark.parametrize("path", ["/healthz", "/", "/v1/documents", "/nonsense"])
def test_every_response_carries_the_security_headers(path: str, shared_client: TestClient) -> None:
    headers = shared_client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "http" not in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-request-id"]
    assert not [name for name in headers if name.startswith("access-control-")]


def test_answers_of_the_api_are_never_stored(shared_house: House, shared_client: TestClient) -> None:
    response = shared_client.get("/v1/documents", headers=shared_house.bearer("rita"))
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8080", "localhost"),
        ("[::1]:8080", "[::1]"),
        ("[::1]", "[::1]"),
        ("", ""),
        ("evil.example:127.0.0.1", "evil.example"),
    ],
)
def test_the_port_does_not_belong_to_the_host(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("127.0.0.1:9", True),
        ("localhost", True),
        ("[::1]:8080", True),
        ("evil.example", False),
        ("127.0.0.1.evil", False),
    ],
)
def test_only_allowed_hosts_are_served(host: str, served: bool, shared_client: TestClient) -> None:  # noqa: FBT001 - data
    assert (shared_client.get("/healthz", headers={"Host": host}).status_code == 200) is served


def test_the_log_tells_the_route_and_never_what_was_asked(
    house: House, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.post("/v1/search", json={"query": "xyzzy"}, headers=house.bearer("rita"))
    client.get("/v1/documents", params={"source": "xyzzy"}, headers=house.bearer("rita"))
    client.get("/sign-in", params={"token": "xyzzy"})
    client.get("/xyzzy")
    logged = capsys.readouterr().out
    for route in ("/v1/search", "/v1/documents", "/sign-in", "unmatched"):
        assert f"route={route}" in logged
    assert "status=200" in logged
    assert "xyzzy" not in logged
