"""Documents over HTTP: in, seen, out."""

import errno
from io import BytesIO

import pytest
from httpx2 import Response
from starlette.formparsers import MultiPartParser
from starlette.testclient import TestClient

from api.dependencies import Caller, principal_of
from api.uploads import base_name
from core.db import audit, keys
from core.ids import DEFAULT_TENANT
from tests.api.house import House

STATUS_FIELDS = {
    "document",
    "name",
    "source",
    "parent",
    "state",
    "stage",
    "reason",
    "detail",
    "pages",
    "pages_lost",
    "chunks",
    "version",
    "searchable_version",
}


def upload(house: House, client: TestClient, person: str, **fields: object) -> dict[str, object]:
    files = {"file": (fields.pop("filename", "plan.pdf"), fields.pop("content", b"The plan.\fPage two."))}
    response = client.post("/v1/documents", files=files, data=fields, headers=house.bearer(person))  # type: ignore[arg-type]  # what a form may hold
    assert response.status_code == 202, response.text
    status: dict[str, object] = response.json()["documents"][0]
    return status


def test_an_upload_is_accepted_queued_and_then_searchable(house: House, client: TestClient) -> None:
    status = upload(house, client, "ed", source="plans", allow=["user:rita", "group:eng"])
    assert set(status) == STATUS_FIELDS
    assert (status["state"], status["stage"], status["name"], status["source"]) == (
        "queued",
        "parse",
        "plan.pdf",
        "plans",
    )
    assert house.woken == 1
    house.work()
    seen = client.get(f"/v1/documents/{status['document']}", headers=house.bearer("rita")).json()
    assert (seen["state"], seen["pages"], seen["searchable_version"]) == ("searchable", 2, status["version"])
    hits = client.post("/v1/search", json={"query": "plan"}, headers=house.bearer("rita")).json()["hits"]
    assert hits[0]["document"] == status["document"]


def test_the_same_file_again_changes_nothing_and_other_bytes_make_a_version(house: House, client: TestClient) -> None:
    first = upload(house, client, "ed", source="plans")
    again = upload(house, client, "ed", source="plans")
    assert first == again
    other = upload(house, client, "ed", source="plans", content=b"Another plan.")
    assert other["document"] == first["document"]
    assert other["version"] != first["version"]


def test_an_upload_without_a_source_is_a_document_of_its_own(house: House, client: TestClient) -> None:
    assert upload(house, client, "ed")["document"] != upload(house, client, "ed")["document"]


def test_an_upload_that_is_repeated_under_its_key_is_one_document(house: House, client: TestClient) -> None:
    def send(content: bytes, key: str) -> Response:
        headers = house.bearer("ed") | {"Idempotency-Key": key}
        return client.post("/v1/documents", files={"file": ("plan.pdf", content)}, headers=headers)

    first, again = send(b"The plan.", "k-1"), send(b"The plan.", "k-1")
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert send(b"Another plan.", "k-1").status_code == 409
    assert send(b"The plan.", "").status_code == 422


def test_an_upload_without_entries_is_read_by_its_uploader_alone(house: House, client: TestClient) -> None:
    document = upload(house, client, "ed")["document"]
    assert client.get(f"/v1/documents/{document}", headers=house.bearer("ed")).status_code == 200
    for person in ("ursula", "ada", "owner", "rita"):
        assert client.get(f"/v1/documents/{document}", headers=house.bearer(person)).status_code == 404


def test_an_upload_on_behalf_of_somebody_is_theirs_and_audited(house: House, client: TestClient) -> None:
    headers = house.bearer("owner") | {"X-Footnote-As": "user:rita"}
    response = client.post("/v1/documents", files={"file": ("a.txt", b"text")}, headers=headers)
    document = response.json()["documents"][0]["document"]
    assert client.get(f"/v1/documents/{document}", headers=house.bearer("rita")).status_code == 200
    assert client.get(f"/v1/documents/{document}", headers=house.bearer("owner")).status_code == 404
    with house.database.reading() as session:
        found = [
            record for record in audit.records(session, DEFAULT_TENANT, limit=9) if record.action == "key.impersonate"
        ]
    assert [(record.actor, record.target, record.detail) for record in found] == [
        ("user:owner", "user:rita", {"route": "/v1/documents"})
    ]


def test_a_large_upload_is_spooled_and_kept_byte_for_byte(house: House, client: TestClient) -> None:
    content = b"0123456789abcdef" * 300_000
    response = client.post("/v1/documents", files={"file": ("big.bin", BytesIO(content))}, headers=house.bearer("ed"))
    assert response.status_code == 202
    stored = [blob for blob in house.blobs.list(DEFAULT_TENANT) if blob.size == len(content)]
    assert house.blobs.read(DEFAULT_TENANT, stored[0].hash) == content


def test_a_list_shows_what_one_may_know_of_page_by_page(house: House, client: TestClient) -> None:
    mine = [upload(house, client, "ed", filename=f"{number}.txt")["document"] for number in range(5)]
    upload(house, client, "ursula", filename="hers.txt")
    found: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/documents", params=params, headers=house.bearer("ed")).json()
        assert page["totals"] == (None if cursor else {"queued": 5})
        found += [status["document"] for status in page["documents"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == mine[::-1]


def test_a_list_can_be_narrowed_by_state_and_source(house: House, client: TestClient) -> None:
    house.document(uploader="ed", source="old")
    upload(house, client, "ed", source="new")
    for params, names in (
        ({"state": "searchable"}, ["handbook.pdf"]),
        ({"source": "new"}, ["plan.pdf"]),
        ({"source": "new", "state": "searchable"}, []),
        ({"state": "deleted"}, []),
    ):
        page = client.get("/v1/documents", params=params, headers=house.bearer("ed")).json()
        assert [status["name"] for status in page["documents"]] == names, params


def test_a_deleted_document_is_gone_for_everybody_and_leaves_a_receipt(house: House, client: TestClient) -> None:
    document = house.document()
    response = client.delete(f"/v1/documents/{document}", headers=house.bearer("ursula"))
    assert response.status_code == 202
    assert (response.json()["state"], response.json()["complete"]) == ("deleted", False)
    for person in ("ursula", "rita", "ada"):
        for path in ("/text", "/pages/1.png"):
            assert client.get(f"/v1/documents/{document}{path}", headers=house.bearer(person)).status_code == 404
    for person, status in (("ursula", 200), ("bea", 200), ("ed", 404), ("rita", 404), ("olga", 404)):
        told = client.get(f"/v1/documents/{document}", headers=house.bearer(person))
        assert told.status_code == status
        assert status == 404 or told.json()["state"] == "deleted"
    house.work()
    receipt = client.get(f"/v1/documents/{document}/receipt", headers=house.bearer("ursula")).json()
    assert {store["store"] for store in receipt["stores"]} == {"catalogue", "embeddings", "index", "blobs", "answers"}
    confirmed = {store["store"] for store in receipt["stores"] if store["confirmed_at"]}
    assert {"catalogue", "index"} <= confirmed


def test_a_failed_document_says_why_and_can_be_tried_again(house: House, client: TestClient) -> None:
    from core.db import stages
    from core.domain import Reason, StageName

    document = upload(house, client, "ed")["document"]
    with house.database.transaction() as session:
        (claimed,) = stages.claim(session, [StageName.PARSE], owner="t", limit=1, lease_seconds=60)
        stages.fail(session, claimed, Reason.ENCRYPTED)
    failed = client.get(f"/v1/documents/{document}", headers=house.bearer("ed")).json()
    assert (failed["state"], failed["stage"], failed["reason"]) == ("failed", "parse", "encrypted")
    assert "password" in failed["detail"]
    response = client.post(f"/v1/documents/{document}/retry", headers=house.bearer("ed"))
    assert (response.status_code, response.json()["state"]) == (202, "queued")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a.txt", "a.txt"),
        ("C:\\fakepath\\a.txt", "a.txt"),
        ("/home/x/a.txt", "a.txt"),
        ("../../a.txt", "a.txt"),
        ("", ""),
    ],
)
def test_only_the_last_part_of_a_browsers_file_name_counts(sent: str, kept: str) -> None:
    assert base_name(sent) == kept


def test_documents_are_found_by_their_whole_name(house: House, client: TestClient) -> None:
    document = house.document(name="one of a kind.pdf")
    listed = client.get("/v1/documents", params={"name": "one of a kind.pdf"}, headers=house.bearer("rita")).json()
    assert [found["document"] for found in listed["documents"]] == [str(document)]
    assert listed["totals"] == {"searchable": 1}
    none = client.get("/v1/documents", params={"name": "one of a kind"}, headers=house.bearer("rita")).json()
    assert none["documents"] == []


def test_a_full_disk_while_receiving_is_told_as_such(
    house: House, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_parser: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MultiPartParser, "parse", full)
    response = client.post("/v1/documents", files={"file": ("a.txt", b"text")}, headers=house.bearer("ed"))
    assert (response.status_code, response.json()["code"]) == (507, "storage_full")


def test_reading_does_not_wait_for_a_writer(house: House, client: TestClient) -> None:
    house.person("newcomer")
    with house.database.transaction():
        assert client.get("/v1/documents", headers=house.bearer("newcomer")).status_code == 200


def test_a_revoked_key_reads_no_further_in_what_it_opened(house: House) -> None:
    house.person("leaver", staff=True)
    with house.database.reading() as session:
        key = keys.authenticate(session, house.secrets["leaver"])
        assert key is not None
        caller = Caller(key=key, principal=house.principal("leaver"))
        assert "group:staff" in caller.today(session).closure
    with house.database.transaction() as session:
        keys.revoke_key(session, key.tenant, key.id)
    with house.database.reading() as session:
        assert caller.today(session).closure == frozenset()


def test_several_principals_together_own_nothing_of_a_single_user(house: House) -> None:
    with house.database.reading() as session:
        key = keys.authenticate(session, house.secrets["owner"])
        assert key is not None
        assert principal_of(session, key, ("user:rita", "user:rita")).user == "rita"
        assert principal_of(session, key, ("user:rita", "group:board")).user is None
