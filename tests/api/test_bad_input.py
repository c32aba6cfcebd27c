"""Bad requests: the right status, a problem document, nothing changed, and the service goes on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from core.db import keys
from core.ids import DEFAULT_TENANT
from tests.api.house import House

JSON = {"Content-Type": "application/json"}
LONG = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    method: str
    path: str
    status: int
    code: str
    request: dict[str, Any] = field(default_factory=dict)
    person: str | None = "ed"


def form(*parts: tuple[str, bytes], end: bytes = b"--x--\r\n") -> dict[str, Any]:
    body = b"".join(
        b"--x\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + value + b"\r\n"
        for head, value in parts
    )
    return {"content": body + end, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


def raw_json(body: bytes) -> dict[str, Any]:
    return {"content": body, "headers": JSON}


FILE = ('name="file"; filename="a.txt"', b"text")
SEARCH = "/v1/search"
UPLOAD = "/v1/documents"
ABSENT = f"/v1/documents/{uuid4()}"

REQUESTS = {
    "broken JSON": Bad(method="POST", path=SEARCH, status=400, code="invalid_json", request=raw_json(b'{"query": ')),
    "JSON of bytes that are no UTF-8": Bad(
        method="POST", path=SEARCH, status=400, code="invalid_json", request=raw_json(b'{"query": "\xff\xfe"}')
    ),
    "JSON of another shape": Bad(method="POST", path=SEARCH, status=422, code="invalid_input", request={"json": [1]}),
    "deeply nested JSON": Bad(
        method="POST", path=SEARCH, status=400, code="invalid_json", request=raw_json(b'{"query":' + b"[" * 200_000)
    ),
    "a missing field": Bad(method="POST", path=SEARCH, status=422, code="invalid_input", request={"json": {}}),
    "an unknown field": Bad(
        method="POST", path=SEARCH, status=422, code="invalid_input", request={"json": {"query": "a", "tenant": "b"}}
    ),
    "a field of the wrong type": Bad(
        method="POST", path=SEARCH, status=422, code="invalid_input", request={"json": {"query": "a", "limit": "10"}}
    ),
    "a negative limit": Bad(
        method="POST", path=SEARCH, status=422, code="invalid_input", request={"json": {"query": "a", "limit": -1}}
    ),
    "a huge limit": Bad(
        method="POST", path=SEARCH, status=422, code="invalid_input", request={"json": {"query": "a", "limit": 10**30}}
    ),
    "an empty query": Bad(
        method="POST", path=SEARCH, status=422, code="invalid_input", request={"json": {"query": "  "}}
    ),
    "a query that is too long": Bad(
        method="POST", path=SEARCH, status=422, code="invalid_input", request={"json": {"query": "a" * 8_001}}
    ),
    "NUL in a query": Bad(
        method="POST", path=SEARCH, status=422, code="invalid_input", request={"json": {"query": "a\0b"}}
    ),
    "half a character in a query": Bad(
        method="POST", path=SEARCH, status=400, code="invalid_json", request=raw_json(b'{"query": "\\ud800"}')
    ),
    "control characters in a question": Bad(
        method="POST", path="/v1/chat", status=422, code="invalid_input", request={"json": {"question": "a\x1bb"}}
    ),
    "a question of a megabyte": Bad(
        method="POST", path="/v1/chat", status=413, code="too_large", request={"json": {"question": "a" * LONG}}
    ),
    "a question of a megabyte without a length": Bad(
        method="POST",
        path="/v1/chat",
        status=413,
        code="too_large",
        request={"content": "streamed", "headers": JSON},
    ),
    "a model that there is not": Bad(
        method="POST",
        path="/v1/chat",
        status=422,
        code="invalid_input",
        request={"json": {"question": "a", "model": "nonsense"}},
    ),
    "a conversation that there is not": Bad(
        method="POST",
        path="/v1/chat",
        status=404,
        code="not_found",
        request={"json": {"question": "a", "conversation": str(uuid4())}},
    ),
    "a conversation that is no id": Bad(
        method="POST",
        path="/v1/chat",
        status=404,
        code="not_found",
        request={"json": {"question": "a", "conversation": "../etc"}},
    ),
    "JSON called something else": Bad(
        method="POST",
        path=SEARCH,
        status=415,
        code="unsupported_media_type",
        request={"content": b'{"query": "a"}', "headers": {"Content-Type": "text/plain"}},
    ),
    "a route that there is not": Bad(method="GET", path="/v1/nonsense", status=404, code="not_found"),
    "a method that there is not": Bad(method="PUT", path=SEARCH, status=405, code="method_not_allowed"),
    "a document that there is not": Bad(method="GET", path=ABSENT, status=404, code="not_found"),
    "a document id that is none": Bad(method="GET", path="/v1/documents/1%20OR%201=1", status=404, code="not_found"),
    "a cursor that is none": Bad(method="GET", path=f"{UPLOAD}?cursor=%F0%9F", status=422, code="invalid_input"),
    "a state that is none": Bad(method="GET", path=f"{UPLOAD}?state=lost", status=422, code="invalid_input"),
    "a list of nothing": Bad(method="GET", path=f"{UPLOAD}?limit=0", status=422, code="invalid_input"),
    "NUL in a query string": Bad(method="GET", path=f"{UPLOAD}?source=a%00b", status=422, code="invalid_input"),
    "NUL in a path": Bad(method="GET", path="/v1/documents/a%00b", status=422, code="invalid_input"),
    "a path that climbs": Bad(method="GET", path="/static/..%2f..%2fapp.py", status=404, code="not_found"),
    "an upload without a file": Bad(
        method="POST", path=UPLOAD, status=422, code="invalid_input", request=form(('name="name"', b"a.txt"))
    ),
    "an upload with two files": Bad(
        method="POST", path=UPLOAD, status=400, code="invalid_upload", request=form(FILE, FILE)
    ),
    "an upload with an unknown field": Bad(
        method="POST", path=UPLOAD, status=422, code="invalid_input", request=form(FILE, ('name="tenant"', b"x"))
    ),
    "an upload under a name that climbs": Bad(
        method="POST",
        path=UPLOAD,
        status=422,
        code="invalid_name",
        request=form(FILE, ('name="name"', b"../../passwd")),
    ),
    "an upload under an absolute name": Bad(
        method="POST", path=UPLOAD, status=422, code="invalid_name", request=form(FILE, ('name="name"', b"/etc/passwd"))
    ),
    "an upload under a name with NUL": Bad(
        method="POST", path=UPLOAD, status=422, code="invalid_input", request=form(FILE, ('name="name"', b"a\0b"))
    ),
    "an upload without any name": Bad(
        method="POST", path=UPLOAD, status=422, code="invalid_name", request=form(('name="file"; filename=""', b"text"))
    ),
    "an upload for a principal that is none": Bad(
        method="POST", path=UPLOAD, status=422, code="invalid_input", request=form(FILE, ('name="allow"', b"everybody"))
    ),
    "an upload that is cut off": Bad(
        method="POST",
        path=UPLOAD,
        status=400,
        code="invalid_upload",
        request=form(FILE, ('name="deny"', b"user:x"), end=b""),
    ),
    "an upload that is no form": Bad(
        method="POST",
        path=UPLOAD,
        status=415,
        code="unsupported_media_type",
        request={"content": b"text", "headers": {"Content-Type": "text/plain"}},
    ),
    "an upload without a boundary": Bad(
        method="POST",
        path=UPLOAD,
        status=400,
        code="invalid_upload",
        request={"content": b"text", "headers": {"Content-Type": "multipart/form-data"}},
    ),
    "an upload that is too large": Bad(
        method="POST",
        path=UPLOAD,
        status=413,
        code="too_large",
        request=form(('name="file"; filename="a.txt"', b"x" * LONG)),
    ),
    "an upload a little too large": Bad(
        method="POST",
        path=UPLOAD,
        status=413,
        code="too_large",
        request=form(('name="file"; filename="a.txt"', b"x" * 100_001)),
    ),
    "no key": Bad(method="GET", path=UPLOAD, status=401, code="unauthenticated", person=None),
    "no key and broken JSON": Bad(
        method="POST", path=SEARCH, status=401, code="unauthenticated", person=None, request=raw_json(b"{")
    ),
    "a key that is none": Bad(
        method="GET",
        path=UPLOAD,
        status=401,
        code="unauthenticated",
        person=None,
        request={"headers": {"Authorization": "Bearer ' OR 1=1 --"}},
    ),
    "a password instead of a key": Bad(
        method="GET",
        path=UPLOAD,
        status=401,
        code="unauthenticated",
        person=None,
        request={"headers": {"Authorization": "Basic YTpi"}},
    ),
    "impersonation without the scope": Bad(
        method="GET", path=UPLOAD, status=403, code="forbidden", request={"headers": {"X-Footnote-As": "user:rita"}}
    ),
    "impersonation of nobody": Bad(
        method="GET",
        path=UPLOAD,
        status=422,
        code="invalid_input",
        person="owner",
        request={"headers": {"X-Footnote-As": " , "}},
    ),
    "impersonation of what is no principal": Bad(
        method="GET",
        path=UPLOAD,
        status=422,
        code="invalid_input",
        person="owner",
        request={"headers": {"X-Footnote-As": "rita"}},
    ),
    "a host that is not ours": Bad(
        method="GET",
        path="/healthz",
        status=421,
        code="host_not_allowed",
        person=None,
        request={"headers": {"Host": "rebound.example"}},
    ),
    "a key that expires in the past": Bad(
        method="POST",
        path="/v1/admin/keys",
        status=422,
        code="invalid_input",
        person="ada",
        request={"json": {"user": "rita", "expires_at": "2001-01-01T00:00:00Z"}},
    ),
    "a scope that one does not have": Bad(
        method="POST",
        path="/v1/admin/keys",
        status=403,
        code="forbidden",
        person="ada",
        request={"json": {"user": "rita", "scopes": ["impersonate"]}},
    ),
    "a directory of the wrong shape": Bad(
        method="PUT",
        path="/v1/admin/directory",
        status=422,
        code="invalid_input",
        person="ada",
        request={"json": {"users": 1}},
    ),
    "a directory that is no JSON": Bad(
        method="PUT", path="/v1/admin/directory", status=400, code="invalid_json", person="ada", request=raw_json(b"{")
    ),
}


@pytest.fixture(scope="module")
def shared_house(shared_house: House) -> House:
    limited = {"max_request_bytes": 1_000_000, "max_upload_bytes": 100_000}
    object.__setattr__(shared_house.services, "settings", shared_house.settings.model_copy(update=limited))
    return shared_house


def send(house: House, client: TestClient, bad: Bad) -> Response:
    request = dict(bad.request)
    headers = dict(request.pop("headers", {}))
    if bad.person is not None:
        headers |= house.bearer(bad.person)
    if request.get("content") == "streamed":
        request["content"] = pieces()
    return client.request(bad.method, bad.path, headers=headers, **request)


def pieces() -> Iterator[bytes]:
    yield b'{"question": "'
    for _ in range(LONG // 1_000):
        yield b"a" * 1_000
    yield b'"}'


@pytest.mark.parametrize("kind", REQUESTS)
def test_it_is_the_senders_problem_and_the_service_goes_on(
    kind: str, shared_house: House, shared_client: TestClient
) -> None:
    bad = REQUESTS[kind]
    stored = sum(1 for _ in shared_house.blobs.list(DEFAULT_TENANT))
    response = send(shared_house, shared_client, bad)
    assert (response.status_code, response.json().get("code")) == (bad.status, bad.code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert problem["status"] == response.status_code
    assert problem["request_id"] == response.headers["x-request-id"]
    assert sum(1 for _ in shared_house.blobs.list(DEFAULT_TENANT)) == stored
    after = shared_client.post(SEARCH, json={"query": "holiday"}, headers=shared_house.bearer("rita"))
    assert after.status_code == 200


def test_a_problem_names_the_fields_and_never_repeats_their_values(
    shared_house: House, shared_client: TestClient
) -> None:
    body = {"query": 17, "limit": "a secret of somebody"}
    response = shared_client.post(SEARCH, json=body, headers=shared_house.bearer("rita"))
    assert [error["field"] for error in response.json()["errors"]] == ["query", "limit"]
    assert "secret" not in response.text


@pytest.mark.parametrize("end", ["expired", "revoked", "suspended"])
def test_a_key_that_has_ended_opens_nothing(end: str, house: House, client: TestClient) -> None:
    with house.database.transaction() as session:
        past = round((datetime.now(UTC) - timedelta(seconds=5)).timestamp() * 1_000_000)
        key, secret = keys.create_key(
            session, DEFAULT_TENANT, user="rita", role="reader", expires_at=past if end == "expired" else None
        )
    if end == "revoked":
        assert client.delete(f"/v1/admin/keys/{key.id}", headers=house.bearer("ada")).status_code == 204
    if end == "suspended":
        assert client.post("/v1/admin/users/rita/suspend", headers=house.bearer("ada")).status_code == 200
    response = client.get("/v1/session", headers={"Authorization": f"Bearer {secret}"})
    assert response.status_code == 401
    assert response.json()["detail"] == "The API key is unknown, expired or revoked."


def test_what_nobody_expected_is_a_500_that_tells_nothing_but_its_id(
    house: House, client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the text of a document")

    monkeypatch.setattr(type(house.services.search), "search", broken)
    response = client.post(SEARCH, json={"query": "a question of somebody"}, headers=house.bearer("rita"))
    assert response.status_code == 500
    assert response.json()["code"] == "internal"
    assert "document" not in response.text.replace("urn:footnote:problem", "")
    logged = capsys.readouterr().out
    assert response.json()["request_id"] in logged
    assert "RuntimeError" in logged
    assert "text of a document" not in logged
    assert "question of somebody" not in logged
    assert client.get("/healthz").json() == {"status": "ok"}


def test_unavailable_parts_answer_503_and_say_so(
    house: House, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.errors import IndexUnavailable

    def unavailable(*_: object, **__: object) -> None:
        raise IndexUnavailable("The index does not answer.", retry_after=2.4)

    monkeypatch.setattr(type(house.services.search), "search", unavailable)
    response = client.post(SEARCH, json={"query": "a"}, headers=house.bearer("rita"))
    assert response.status_code == 503
    assert json.loads(response.text)["code"] == "index_unavailable"
    assert response.headers["retry-after"] == "3"  # Never earlier than asked.
