from starlette.testclient import TestClient

from core.ids import DEFAULT_TENANT
from tests.api.house import House


def test_an_audit_that_is_asked_for_is_made_and_told_with_what_it_healed(house: House, client: TestClient) -> None:
    headers = house.bearer("owner")
    document = house.document()
    house.document(name="other.pdf")
    woken = house.woken
    asked = client.post("/v1/admin/audit", headers=headers)
    assert asked.status_code == 202
    assert (asked.json()["cause"], asked.json()["finished_at"]) == ("asked", None)
    assert house.woken == woken + 1
    house.index.delete(DEFAULT_TENANT, document)

    while house.auditor.step():
        pass
    told = client.get("/v1/admin/audit", headers=headers).json()
    assert told["refilling"] == 1
    (found,) = told["audits"]
    assert client.get(f"/v1/admin/audit/{found['id']}", headers=headers).json() == {"audit": found, "refilling": 1}
    assert client.get(f"/v1/admin/audit/{document}", headers=headers).status_code == 404
    assert found["id"] == asked.json()["id"]
    assert found["finished_at"] is not None
    assert (found["documents"], found["documents_refilled"], found["points_removed"]) == (2, 1, 0)
    # Nobody is told that it can be found while it cannot.
    assert client.get("/v1/status", headers=headers).json()["refilling"] == 1
    state = client.get(f"/v1/documents/{document}", headers=house.bearer("rita")).json()
    assert state["state"] == "queued"
    assert "put back into the search index" in state["detail"]

    house.work()
    assert client.get(f"/v1/documents/{document}", headers=house.bearer("rita")).json()["state"] == "searchable"
    assert client.get("/v1/admin/audit", headers=headers).json()["refilling"] == 0
    text = client.get("/metrics", headers=headers).text
    assert 'footnote_audit_healed_total{kind="documents_refilled"} 1' in text
    assert "footnote_refilling_documents 0" in text
    assert "footnote_audit_files_missing 0" in text
    assert "footnote_audit_points_foreign 0" in text
