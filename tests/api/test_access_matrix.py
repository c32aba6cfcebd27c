"""Every route, tried by everybody. A new route without a row here fails."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute
from httpx2 import Response
from starlette.testclient import TestClient

from api.services import Services
from core.db import directory, keys, tenants
from core.db.index_audits import request_audit
from core.ids import DEFAULT_TENANT
from tests.api.house import House

# Who tries. olga: administrator of another tenant; nora: no rights here; rita (reader), ed (editor) and ada
# (administrator): in the group that may read; ursula: uploaded it, reads nothing; bea: administrator, reads nothing.
PEOPLE = ("olga", "nora", "rita", "ed", "ursula", "ada", "bea")
Statuses = tuple[int, int, int, int, int, int, int]
NUMBERS = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request to a route: what fills its path, and what goes with it."""

    path: dict[str, str]
    json: Any = None
    params: Any = None
    files: Any = None
    data: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a route answers each of `PEOPLE`; `ids`: its path names something that others must not learn of."""

    ask: Callable[[House], Ask]
    statuses: Statuses
    public: bool = False
    ids: tuple[str, ...] = ()


def plain(*, json: object = None, params: object = None, data: object = None) -> Callable[[House], Ask]:
    return lambda _house: Ask(path={}, json=json, params=params, data=data)


def of_document(*, json: object = None, params: object = None) -> Callable[[House], Ask]:
    return lambda house: Ask(path={"document": str(house.standing())}, json=json, params=params)


def of_new_document(house: House) -> Ask:
    return Ask(path={"document": str(house.document(name=unique("doc")))})


def of_failed(house: House) -> Ask:
    return Ask(path={"document": str(house.failed(name=unique("failed")))})


def of_page(house: House) -> Ask:
    ask = of_document(params={"span": "0-10"})(house)
    return Ask(path=ask.path | {"page": "1"}, params=ask.params)


def of_deleted(house: House) -> Ask:
    document = house.document(name=unique("doc"))
    with TestClient(house.app(), base_url="http://127.0.0.1") as client:
        assert client.delete(f"/v1/documents/{document}", headers=house.bearer("ursula")).status_code == 202
    return Ask(path={"document": str(document)})


def of_answer(house: House) -> Ask:
    return Ask(path={"answer": asked(house)["id"]})


def of_conversation(house: House) -> Ask:
    return Ask(path={"conversation": asked(house)["conversation"]})


def asked(house: House) -> dict[str, str]:
    with TestClient(house.app(), base_url="http://127.0.0.1") as client:
        body: dict[str, str] = client.post(
            "/v1/chat", json={"question": "How many days of holiday?"}, headers=house.bearer("rita")
        ).json()
    return body


def of_user(house: House) -> Ask:
    name = unique("user")
    with house.database.transaction() as session:
        directory.add_user(session, DEFAULT_TENANT, name)
    return Ask(path={"name": name})


def of_group(*, member: str | None = None, json: object = None) -> Callable[[House], Ask]:
    def ask(house: House) -> Ask:
        name = unique("group")
        with house.database.transaction() as session:
            directory.add_group(session, DEFAULT_TENANT, name)
            directory.add_member(session, DEFAULT_TENANT, name, "user:rita")
        return Ask(path={"name": name} | ({"member": member} if member else {}), json=json)

    return ask


def of_key(house: House) -> Ask:
    with house.database.transaction() as session:
        key, _ = keys.create_key(session, DEFAULT_TENANT, user="nora", role="reader")
    return Ask(path={"key": str(key.id)})


def of_audit(house: House) -> Ask:
    with house.database.transaction() as session:
        return Ask(path={"audit": str(request_audit(session).id)})


def of_tenant(house: House) -> Ask:
    name = unique("tenant")
    with house.database.transaction() as session:
        tenants.add_tenant(session, name)
    return Ask(path={"name": name})


def of_source(house: House) -> Ask:
    house.standing()
    return Ask(path={}, params={"source": "standing", "folder": ""})


def source_change(house: House) -> Ask:
    house.standing()
    return Ask(path={}, json={"source": "standing", "folder": unique("folder"), "deny": ["user:nobody"]})


def new_file(_house: House) -> Ask:
    return Ask(path={}, files={"file": (unique("new") + ".txt", b"text")})


def named(kind: str) -> Callable[[House], Ask]:
    return lambda _house: Ask(path={}, json={"name": unique(kind)})


def unique(kind: str) -> str:
    return f"{kind}-{next(NUMBERS)}"


SAME_DIRECTORY = {
    "users": {name: ["staff"] for name in ("ada", "ed", "rita", "olga")}
    | {name: [] for name in ("nora", "ursula", "bea")}
}
CHANGE = {"allow": ["user:rita"]}

ANYBODY: Statuses = (200,) * 7
OPERATOR: Statuses = (403, 403, 403, 403, 403, 200, 200)
READ: Statuses = (404, 404, 200, 200, 404, 200, 404)
WRITE: Statuses = (404, 403, 403, 200, 200, 200, 404)
WRITE_ACCEPTED: Statuses = (404, 403, 403, 202, 202, 202, 404)
MINE: Statuses = (404, 404, 200, 404, 404, 404, 404)
MINE_EMPTY: Statuses = (404, 404, 204, 404, 404, 404, 404)
ADMIN: Statuses = (200, 403, 403, 403, 403, 200, 200)
ADMIN_CREATED: Statuses = (201, 403, 403, 403, 403, 201, 201)
ADMIN_OURS: Statuses = (404, 403, 403, 403, 403, 200, 200)
ADMIN_OURS_CREATED: Statuses = (404, 403, 403, 403, 403, 201, 201)
ADMIN_OURS_EMPTY: Statuses = (404, 403, 403, 403, 403, 204, 204)
DOCUMENT = ("document",)

ROWS: dict[str, Row] = {
    "GET /healthz": Row(ask=plain(), statuses=ANYBODY, public=True),
    "GET /readyz": Row(ask=plain(), statuses=ANYBODY, public=True),
    "GET /": Row(ask=plain(), statuses=ANYBODY, public=True),
    "GET /static/{path:path}": Row(ask=lambda _house: Ask(path={"path": "favicon.svg"}), statuses=ANYBODY, public=True),
    "GET /sign-in": Row(ask=plain(params={"token": "x"}), statuses=ANYBODY, public=True),
    "POST /sign-in": Row(ask=plain(data={"token": "x"}), statuses=(401,) * 7),  # an unknown link opens nothing
    "GET /metrics": Row(ask=plain(), statuses=OPERATOR),
    "GET /v1/status": Row(ask=plain(), statuses=ANYBODY),
    "GET /v1/doctor": Row(ask=plain(), statuses=OPERATOR),
    "POST /v1/session-links": Row(ask=plain(), statuses=ANYBODY),
    "GET /v1/session": Row(ask=plain(), statuses=ANYBODY),
    "DELETE /v1/session": Row(ask=plain(), statuses=(204,) * 7),
    "POST /v1/documents": Row(ask=new_file, statuses=(202, 403, 403, 202, 202, 202, 202)),
    "GET /v1/documents": Row(ask=plain(), statuses=ANYBODY),
    "GET /v1/documents/{document}": Row(ask=of_document(), statuses=(404, 404, 200, 200, 200, 200, 404), ids=DOCUMENT),
    "DELETE /v1/documents/{document}": Row(ask=of_new_document, statuses=WRITE_ACCEPTED, ids=DOCUMENT),
    "GET /v1/documents/{document}/receipt": Row(
        ask=of_deleted, statuses=(404, 403, 403, 404, 200, 200, 200), ids=DOCUMENT
    ),
    "POST /v1/documents/{document}/retry": Row(ask=of_document(), statuses=WRITE_ACCEPTED, ids=DOCUMENT),
    "GET /v1/deadletters": Row(ask=plain(), statuses=ANYBODY),
    "POST /v1/deadletters/replay": Row(ask=plain(json={"all": True}), statuses=(202, 403, 403, 202, 202, 202, 202)),
    "GET /v1/deadletters/{document}": Row(ask=of_failed, statuses=(404, 404, 200, 200, 200, 200, 404), ids=DOCUMENT),
    "POST /v1/deadletters/{document}/replay": Row(ask=of_failed, statuses=WRITE_ACCEPTED, ids=DOCUMENT),
    "GET /v1/documents/{document}/text": Row(ask=of_document(), statuses=READ, ids=DOCUMENT),
    "GET /v1/documents/{document}/pages/{page}.png": Row(ask=of_page, statuses=READ, ids=DOCUMENT),
    "GET /v1/documents/{document}/acl": Row(ask=of_document(), statuses=WRITE, ids=DOCUMENT),
    "PATCH /v1/documents/{document}/acl": Row(ask=of_document(json=CHANGE), statuses=WRITE, ids=DOCUMENT),
    "POST /v1/documents/{document}/acl": Row(ask=of_document(json=CHANGE), statuses=WRITE, ids=DOCUMENT),
    "GET /v1/sources/acl": Row(ask=of_source, statuses=ADMIN_OURS),
    "PATCH /v1/sources/acl": Row(ask=source_change, statuses=ADMIN_OURS),
    "POST /v1/sources/acl": Row(ask=source_change, statuses=ADMIN_OURS),
    "POST /v1/search": Row(ask=plain(json={"query": "holiday"}), statuses=ANYBODY),
    "POST /v1/chat": Row(ask=plain(json={"question": "How many days?"}), statuses=ANYBODY),
    "GET /v1/answers/{answer}/events": Row(ask=of_answer, statuses=MINE, ids=("answer",)),
    "POST /v1/answers/{answer}/stop": Row(ask=of_answer, statuses=MINE_EMPTY, ids=("answer",)),
    "GET /v1/conversations": Row(ask=plain(), statuses=ANYBODY),
    "GET /v1/conversations/{conversation}": Row(ask=of_conversation, statuses=MINE, ids=("conversation",)),
    "DELETE /v1/conversations/{conversation}": Row(ask=of_conversation, statuses=MINE_EMPTY, ids=("conversation",)),
    "GET /v1/admin/users": Row(ask=plain(), statuses=ADMIN),
    "POST /v1/admin/users": Row(ask=named("user"), statuses=ADMIN_CREATED),
    "DELETE /v1/admin/users/{name:path}": Row(ask=of_user, statuses=ADMIN_OURS_EMPTY, ids=("name",)),
    "POST /v1/admin/users/{name:path}/suspend": Row(ask=of_user, statuses=ADMIN_OURS, ids=("name",)),
    "POST /v1/admin/users/{name:path}/resume": Row(ask=of_user, statuses=ADMIN_OURS, ids=("name",)),
    "GET /v1/admin/groups": Row(ask=plain(), statuses=ADMIN),
    "POST /v1/admin/groups": Row(ask=named("group"), statuses=ADMIN_CREATED),
    "DELETE /v1/admin/groups/{name:path}": Row(ask=of_group(), statuses=ADMIN_OURS_EMPTY, ids=("name",)),
    "POST /v1/admin/groups/{name:path}/members": Row(
        ask=of_group(json={"member": "user:nora"}), statuses=ADMIN_OURS, ids=("name",)
    ),
    "DELETE /v1/admin/groups/{name:path}/members/{member:path}": Row(
        ask=of_group(member="user:rita"), statuses=ADMIN_OURS, ids=("name",)
    ),
    "GET /v1/admin/keys": Row(ask=plain(), statuses=ADMIN),
    "POST /v1/admin/keys": Row(ask=plain(json={"user": "nora"}), statuses=ADMIN_OURS_CREATED),
    "DELETE /v1/admin/keys/{key}": Row(ask=of_key, statuses=ADMIN_OURS_EMPTY, ids=("key",)),
    "PUT /v1/admin/directory": Row(ask=plain(json=SAME_DIRECTORY), statuses=ADMIN),
    "POST /v1/admin/directory": Row(ask=plain(json=SAME_DIRECTORY), statuses=ADMIN),
    "GET /v1/admin/queues": Row(ask=plain(), statuses=OPERATOR),
    "GET /v1/admin/audit": Row(ask=plain(), statuses=OPERATOR),
    "POST /v1/admin/audit": Row(ask=plain(), statuses=(403, 403, 403, 403, 403, 202, 202)),
    "GET /v1/admin/audit/{audit}": Row(ask=of_audit, statuses=OPERATOR, ids=("audit",)),
    "GET /v1/admin/tenants": Row(ask=plain(), statuses=OPERATOR),
    "POST /v1/admin/tenants": Row(ask=named("tenant"), statuses=(403, 403, 403, 403, 403, 201, 201)),
    "DELETE /v1/admin/tenants/{name}": Row(ask=of_tenant, statuses=(403, 403, 403, 403, 403, 204, 204), ids=("name",)),
}


def send(client: TestClient, route: str, ask: Ask, headers: dict[str, str]) -> Response:
    method, template = route.split(" ")
    path = template.replace(":path", "").format(**ask.path)
    return client.request(
        method, path, json=ask.json, params=ask.params, files=ask.files, data=ask.data, headers=headers
    )


def test_every_route_has_a_row(shared_house: House) -> None:
    services: Services = shared_house.services
    assert services is not None
    routes = {
        f"{method} {route.path}"
        for route in shared_house.app().routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert len(shared_house.app().routes) <= len(routes)  # nothing is mounted past this list
    assert routes == set(ROWS)


@pytest.mark.parametrize("route", ROWS)
def test_everybody_gets_the_answer_that_their_rights_give(
    route: str, shared_house: House, shared_client: TestClient
) -> None:
    row = ROWS[route]
    for person, status in zip(PEOPLE, row.statuses, strict=True):
        response = send(shared_client, route, row.ask(shared_house), shared_house.bearer(person))
        assert response.status_code == status, (person, response.text)
        if status >= 400:
            assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("route", ROWS)
def test_nobody_gets_an_answer_without_a_key_where_one_is_needed(
    route: str, shared_house: House, shared_client: TestClient
) -> None:
    row = ROWS[route]
    response = send(shared_client, route, row.ask(shared_house), {})
    if row.public:
        assert response.status_code == 200
    else:
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert response.json()["code"] == "unauthenticated"


@pytest.mark.parametrize("route", [route for route, row in ROWS.items() if row.ids])
def test_what_is_not_yours_answers_as_if_it_did_not_exist(
    route: str, shared_house: House, shared_client: TestClient
) -> None:
    row = ROWS[route]
    for person, status in zip(PEOPLE, row.statuses, strict=True):
        if status < 400:
            continue
        ask = row.ask(shared_house)
        absent = Ask(
            path=ask.path | {name: str(uuid4()) for name in row.ids}, json=ask.json, params=ask.params, data=ask.data
        )
        theirs, nothing = (send(shared_client, route, one, shared_house.bearer(person)) for one in (ask, absent))
        assert theirs.status_code == nothing.status_code, person
        bodies = [response.json() for response in (theirs, nothing)]
        for body in bodies:
            body.pop("request_id")
        assert bodies[0] == bodies[1], person
        kept = [
            {name: value for name, value in response.headers.items() if name != "x-request-id"}
            for response in (theirs, nothing)
        ]
        assert kept[0] == kept[1], person
