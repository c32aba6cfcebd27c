"""Directory, groups, tenants and keys over HTTP."""

import pytest
from starlette.testclient import TestClient

from core.db import audit
from core.ids import DEFAULT_TENANT
from tests.api.house import House


def test_users_come_are_suspended_and_go(house: House, client: TestClient) -> None:
    ada = house.bearer("ada")
    created = client.post("/v1/admin/users", json={"name": "zoë/β"}, headers=ada)
    assert (created.status_code, created.json()) == (201, {"name": "zoë/β", "suspended": False, "groups": []})
    assert client.post("/v1/admin/users", json={"name": "zoë/β"}, headers=ada).status_code == 409
    path = "/v1/admin/users/zo%C3%AB%2F%CE%B2"
    assert client.post(f"{path}/suspend", headers=ada).json()["suspended"] is True
    assert client.post(f"{path}/resume", headers=ada).json()["suspended"] is False
    assert client.delete(path, headers=ada).status_code == 204
    assert "zoë/β" not in client.get("/v1/admin/users", headers=ada).text


def test_a_membership_counts_from_the_next_request_on(house: House, client: TestClient) -> None:
    house.document()
    ada, nora = house.bearer("ada"), house.bearer("nora")

    def found() -> int:
        return len(client.post("/v1/search", json={"query": "holiday"}, headers=nora).json()["hits"])

    assert found() == 0
    client.post("/v1/admin/groups", json={"name": "guests", "members": ["user:nora"]}, headers=ada)
    client.post("/v1/admin/groups/staff/members", json={"member": "group:guests"}, headers=ada)
    assert found() > 0
    client.delete("/v1/admin/groups/staff/members/group:guests", headers=ada)
    assert found() == 0


def test_a_key_shows_its_secret_once_and_ends_when_revoked(house: House, client: TestClient) -> None:
    ada = house.bearer("ada")
    wanted = {"user": "rita", "role": "reader", "label": "CI", "expires_at": "2999-01-01T00:00:00+02:00"}
    made = client.post("/v1/admin/keys", json=wanted, headers=ada).json()
    assert made["key"]["expires_at"] == "2998-12-31T22:00:00+00:00"
    listed = client.get("/v1/admin/keys", headers=ada)
    assert made["secret"] not in listed.text
    assert made["key"]["id"] in [key["id"] for key in listed.json()["keys"]]
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert client.get("/v1/session", headers=headers).json()["user"] == "rita"
    assert client.delete(f"/v1/admin/keys/{made['key']['id']}", headers=ada).status_code == 204
    assert client.get("/v1/session", headers=headers).status_code == 401


def test_the_operator_makes_a_tenant_with_a_key_of_its_own(house: House, client: TestClient) -> None:
    owner = house.bearer("owner")
    assert client.post("/v1/admin/tenants", json={"name": "acme"}, headers=owner).status_code == 201
    wanted = {"tenant": "acme", "user": "boss", "role": "admin"}
    made = client.post("/v1/admin/keys", json=wanted, headers=owner)
    assert made.status_code == 201
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert client.get("/v1/session", headers=headers).json()["tenant"] == "acme"
    assert client.get("/v1/admin/tenants", headers=headers).status_code == 403
    theirs = client.post("/v1/admin/keys", json={**wanted, "tenant": "default"}, headers=headers)
    assert theirs.status_code == 403
    assert {"name": "acme"} in client.get("/v1/admin/tenants", headers=owner).json()["tenants"]
    assert client.delete("/v1/admin/tenants/default", headers=owner).status_code == 422


def test_an_impersonating_operator_does_not_run_the_installation(house: House, client: TestClient) -> None:
    headers = house.bearer("owner") | {"X-Footnote-As": "user:rita"}
    assert client.get("/v1/admin/tenants", headers=headers).status_code == 403


def test_an_import_replaces_the_directory_and_folder_entries(house: House, client: TestClient) -> None:
    house.document(name="hr/handbook.pdf", allow=())
    imported = {
        "users": {"rita": ["hr"], "nora": []},
        "groups": {"hr": {"members": [], "subgroups": []}},
        "suspended": ["ed"],
        "folders": {"/hr": {"allow": ["group:hr"], "deny": []}},
    }
    response = client.put("/v1/admin/directory", json=imported, headers=house.bearer("ada"))
    assert response.status_code == 200, response.text
    assert response.json()["documents_changed"] == 1
    house.work()
    hits = client.post("/v1/search", json={"query": "holiday"}, headers=house.bearer("rita")).json()["hits"]
    assert hits
    assert client.get("/v1/session", headers=house.bearer("ed")).status_code == 401


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_access_is_shown_as_own_inherited_and_effective(method: str, house: House, client: TestClient) -> None:
    document = house.document(name="hr/handbook.pdf", source="wiki")
    folder = {"source": "wiki", "folder": "/hr/", "allow": ["group:hr"], "deny": ["user:nora"]}
    changed = client.request(method, "/v1/sources/acl", json=folder, headers=house.bearer("ada"))
    assert changed.status_code == 200, changed.text
    own = {"allow": ["user:rita"], "remove": ["group:staff"]}
    body = client.request(method, f"/v1/documents/{document}/acl", json=own, headers=house.bearer("ursula")).json()
    assert body["own"] == {"allow": ["user:rita"], "deny": []}
    assert {"principal": "group:hr", "effect": "allow", "folder": "hr", "source": "wiki", "container": None} in body[
        "inherited"
    ]
    assert body["effective"] == {"allow": ["group:hr", "user:rita"], "deny": ["user:nora"]}
    alone = client.request(
        method, f"/v1/documents/{document}/acl", json={"inherit": False}, headers=house.bearer("ursula")
    ).json()
    assert (alone["inherit"], alone["effective"]) == (False, {"allow": ["user:rita"], "deny": []})
    shown = client.get("/v1/sources/acl", params={"source": "wiki", "folder": "hr"}, headers=house.bearer("ada")).json()
    assert shown["own"] == {"allow": ["group:hr"], "deny": ["user:nora"]}


def test_what_administrators_do_is_audited(house: House, client: TestClient) -> None:
    ada = house.bearer("ada")
    client.post("/v1/admin/users", json={"name": "new"}, headers=ada)
    client.post("/v1/admin/keys", json={"user": "new"}, headers=ada)
    with house.database.reading() as session:
        told = [(record.actor, record.action) for record in audit.records(session, DEFAULT_TENANT, limit=2)]
    assert told == [("user:ada", "key.create"), ("user:ada", "user.add")]
