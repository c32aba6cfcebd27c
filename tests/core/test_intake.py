"""The upload: checked first, durable then, and answered with what became of it."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy import func, select

import core.intake
from core.blobs import DirectoryBlobs
from core.db import access, audit, blobs, directory, documents, stages
from core.db.index_tasks import claim_tasks, finish_task
from core.db.purging import purge_catalogue
from core.db.session import Database
from core.db.tables import BlobRow, DocumentRow
from core.db.tenants import add_tenant, list_tenants, remove_tenant
from core.domain import DocumentState, Principal, Role, StageName
from core.errors import (
    Conflict,
    FootnoteError,
    Forbidden,
    InvalidInput,
    InvalidName,
    PayloadTooLarge,
    Unavailable,
)
from core.ids import TenantId
from core.intake import Intake, UploadRequest
from tests.core.db.cutting import wire_to

TENANT = TenantId("acme")


class Desk:
    """An intake over a real catalogue and a real folder."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self.blobs = DirectoryBlobs(root)
        self.intake = Intake(database=database, blobs=self.blobs, max_bytes=1_000)
        with database.transaction() as session:
            add_tenant(session, TENANT)
            for user in ("ann", "bob", "eve"):
                directory.add_user(session, TENANT, user)

    def principal(self, user: str, role: Role = "editor") -> Principal:
        with self.database.reading() as session:
            return directory.principal(session, TENANT, user, role=role)

    def take_in(self, tenant: TenantId) -> None:
        """Let the tenant have taken something in."""
        principal = Principal(tenant=tenant, closure=frozenset({"user:ann"}), user="ann", role="editor")
        self.intake.upload(principal, UploadRequest(name="a"), b"taken in")

    def stored(self) -> list[bytes]:
        return sorted(self.blobs.read(TENANT, blob.hash) for blob in self.blobs.list(TENANT))

    def documents(self) -> int:
        with self.database.reading() as session:
            return session.execute(select(func.count()).select_from(DocumentRow)).scalar_one()


@pytest.fixture(name="desk")
def desk_of_a_database(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path / "blobs")


def test_an_upload_is_stored_queued_and_told(desk: Desk) -> None:
    request = UploadRequest(name="folder/a.txt", source="files", allow=["group:eng"], deny=["user:eve"])
    status = desk.intake.upload(desk.principal("ann"), request, BytesIO(b"content"))
    assert (status.name, status.source, status.state) == ("folder/a.txt", "files", DocumentState.QUEUED)
    assert (status.stage, status.pages, status.pages_lost, status.chunks) == (StageName.PARSE, None, (), None)
    assert desk.stored() == [b"content"]
    with desk.database.transaction() as session:
        document = documents.get(session, TENANT, status.document)
        held = access.effective_of(session, TENANT, [status.document])[status.document]
        (record,) = audit.records(session, TENANT, limit=9)
        (claimed,) = stages.claim(session, [StageName.PARSE], owner="w", limit=9, lease_seconds=9.0)
    assert document.uploader == "user:ann"
    assert (held.allow, held.deny) == (frozenset({"group:eng"}), frozenset({"user:eve"}))
    assert (record.actor, record.action, record.target) == ("user:ann", "document.upload", str(status.document))
    assert claimed.blob_hash == sha256(b"content").hexdigest()


def test_each_upload_without_a_source_has_one_of_its_own(desk: Desk) -> None:
    first, second = (desk.intake.upload(desk.principal("ann"), UploadRequest(name="a"), b"x") for _ in range(2))
    assert first.document != second.document
    assert first.source != second.source


def test_uploading_again_does_and_audits_nothing(desk: Desk) -> None:
    request = UploadRequest(name="a", source="files")
    first, second = (desk.intake.upload(desk.principal("ann"), request, b"x") for _ in range(2))
    assert first == second
    with desk.database.reading() as session:
        assert len(audit.records(session, TENANT, limit=9)) == 1


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (UploadRequest(name="../../etc/passwd"), InvalidName),
        (UploadRequest(name="a\x00b"), InvalidName),
        (UploadRequest(name="a", source=" "), InvalidName),
        (UploadRequest(name="a", allow=["bob"]), InvalidInput),
        (UploadRequest(name="a", deny=["user:"]), InvalidInput),
        (UploadRequest(name="a", allow=["user:bob"] * 1_001), InvalidInput),
    ],
    ids=["traversal", "NUL", "blank source", "no principal", "no name", "too many"],
)
def test_a_malformed_request_stores_nothing(desk: Desk, bad: UploadRequest, error: type[FootnoteError]) -> None:
    with pytest.raises(error):
        desk.intake.upload(desk.principal("ann"), bad, b"content")
    assert desk.stored() == []
    assert desk.documents() == 0


def test_too_many_bytes_store_nothing(desk: Desk) -> None:
    with pytest.raises(PayloadTooLarge):
        desk.intake.upload(desk.principal("ann"), UploadRequest(name="a"), b"x" * 1_001)
    assert desk.stored() == []
    assert desk.documents() == 0


def test_who_may_not_upload_stores_nothing(desk: Desk) -> None:
    with desk.database.transaction() as session:
        directory.set_suspended(session, TENANT, "eve", suspended=True)
    nobody = Principal(tenant=TENANT, closure=frozenset(), user="ann", role="admin")
    anyone = Principal(tenant=TENANT, closure=frozenset({"*"}), role="admin")
    for principal in (desk.principal("ann", "reader"), desk.principal("eve"), nobody, anyone):
        with pytest.raises(Forbidden):
            desk.intake.upload(principal, UploadRequest(name="a"), b"x")
    assert desk.stored() == []


def test_a_file_belongs_to_whom_it_was_uploaded_as(desk: Desk) -> None:
    with desk.database.reading() as session:
        one = directory.impersonated(session, TENANT, ["user:zoe", "group:eng"], role="editor")
        group = directory.impersonated(session, TENANT, ["group:eng"], role="editor")
    status = desk.intake.upload(one, UploadRequest(name="a"), b"x")
    with desk.database.reading() as session:
        assert documents.get(session, TENANT, status.document).uploader == "user:zoe"
    with pytest.raises(Forbidden):  # Whose would it be? Every group above may be wider than the one that was named.
        desk.intake.upload(group, UploadRequest(name="b"), b"x")


def test_only_who_may_write_replaces_a_document(desk: Desk) -> None:
    request = UploadRequest(name="a", source="files", allow=["user:bob"])
    first = desk.intake.upload(desk.principal("ann"), request, b"one")
    assert desk.intake.upload(desk.principal("bob"), request, b"two").document == first.document
    with pytest.raises(Conflict) as stranger:
        desk.intake.upload(desk.principal("eve"), request, b"three")
    with pytest.raises(Conflict) as same:
        desk.intake.upload(desk.principal("eve"), request, b"two")
    assert stranger.value.detail == same.value.detail
    assert str(first.document) not in same.value.detail


def test_bytes_of_a_refused_upload_are_collected_in_time(desk: Desk) -> None:
    request = UploadRequest(name="a", source="files")
    desk.intake.upload(desk.principal("ann"), request, b"one")
    with pytest.raises(Conflict):
        desk.intake.upload(desk.principal("eve"), request, b"two")
    assert desk.stored() == [b"one", b"two"]
    assert desk.intake.collect() == 0
    for blob in desk.blobs.list(TENANT):
        path = desk.blobs.path(TENANT, blob.hash)
        assert path is not None
        os.utime(path, (0, 0))
    assert desk.intake.collect() == 1
    assert desk.stored() == [b"one"]


def test_what_a_removed_tenant_left_is_collected_at_once_with_its_folder(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.intake, "AT_ONCE", 2)
    kept = TenantId("kept")
    with desk.database.transaction() as session:
        add_tenant(session, kept)
    for tenant in (TENANT, kept):
        for content in (b"an upload", b"what was read in it", b"bytes without a row"):
            desk.blobs.put(tenant, content)
    desk.take_in(kept)
    assert desk.intake.collect() == 0
    with desk.database.transaction() as session:
        remove_tenant(session, TENANT)
    assert desk.intake.collect() == 3
    assert not (tmp_path / "blobs" / TENANT).exists()
    assert len(list(desk.blobs.list(kept))) == 4
    with desk.database.reading() as session:
        assert list_tenants(session) == [kept]


def test_documents_of_a_tenant_that_is_removed_within_the_hour_leave_no_bytes(desk: Desk, tmp_path: Path) -> None:
    status = desk.intake.upload(desk.principal("ann"), UploadRequest(name="a"), b"secret")
    with desk.database.transaction() as session:
        documents.delete(session, TENANT, status.document, "user:ann")
        for task in claim_tasks(session, limit=9, lease_seconds=9.0):
            purge_catalogue(session, TENANT, task.document)
            finish_task(session, task)
        remove_tenant(session, TENANT)
        add_tenant(session, TenantId("kept"))
    desk.take_in(TenantId("kept"))
    desk.intake.collect()
    assert not (tmp_path / "blobs" / TENANT).exists()
    assert (tmp_path / "blobs" / "kept").exists()


def test_files_of_a_catalogue_that_was_lost_are_left_alone(desk: Desk) -> None:
    """The database is a new one, or another one than the files belong to."""
    for tenant in (TENANT, TenantId("of-the-lost-catalogue")):
        blob = desk.blobs.put(tenant, b"somebody's document")
        path = desk.blobs.path(tenant, blob.hash)
        assert path is not None
        os.utime(path, (0, 0))
    assert desk.intake.collect() == 0
    assert desk.stored() == [b"somebody's document"]


def test_a_tenant_that_is_there_again_keeps_what_it_stores(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is added, and stores, after collecting has looked at the directory."""
    desk.blobs.put(TENANT, b"of the tenant that is added anew")
    monkeypatch.setattr(core.intake, "list_tenants", lambda _: [])
    assert desk.intake.collect() == 0
    assert desk.stored() == [b"of the tenant that is added anew"]


class _Slow(DirectoryBlobs):
    """A store that takes its time to delete, as a service far away."""

    seconds = 0.0

    def delete(self, tenant: TenantId, hash: str, *, min_age_seconds: float = 0.0) -> bool:  # noqa: A002
        time.sleep(self.seconds)
        return super().delete(tenant, hash, min_age_seconds=min_age_seconds)

    def remove_tenant(self, tenant: TenantId, *, limit: int) -> int:
        removed = super().remove_tenant(tenant, limit=limit)
        time.sleep(removed * self.seconds)
        return removed


@pytest.mark.slow
@pytest.mark.parametrize("left", ["unreferenced", "without a row", "of a removed tenant"])
def test_a_slow_store_keeps_nobody_from_writing_while_it_is_tidied(desk: Desk, tmp_path: Path, left: str) -> None:
    store = _Slow(tmp_path / "blobs")
    desk.take_in(TENANT)
    tenant = TenantId("gone") if left == "of a removed tenant" else TENANT
    stored = [store.put(tenant, b"%d" % number) for number in range(60)]
    if left == "unreferenced":
        with desk.database.transaction() as session:
            blobs.add_references(session, TENANT, {blob.hash: blob.size for blob in stored})
            blobs.drop_references(session, TENANT, [blob.hash for blob in stored])
    store.seconds = 0.1
    waited = [0.0]
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        collecting = pool.submit(Intake(database=desk.database, blobs=store, max_bytes=1).collect, older_than=0.0)
        while not collecting.done():
            begun = time.monotonic()
            with desk.database.transaction() as session:
                directory.set_suspended(session, TENANT, "eve", suspended=True)
            waited.append(time.monotonic() - begun)
            time.sleep(0.01)
    assert collecting.result() == 60
    took = time.monotonic() - started  # Six seconds, and more where the machine is slow: to write is as slow there.
    assert max(waited) < 0.75 * took


class _Forgetful(DirectoryBlobs):
    """A store whose bytes vanish between being stored and being accepted."""

    def keep(self, tenant: TenantId, hash: str) -> bool:  # noqa: A002
        self.delete(tenant, hash)
        return super().keep(tenant, hash)


def test_nothing_is_accepted_whose_bytes_are_gone(desk: Desk, tmp_path: Path) -> None:
    intake = Intake(database=desk.database, blobs=_Forgetful(tmp_path / "forgetful"), max_bytes=9)
    with pytest.raises(Unavailable):
        intake.upload(desk.principal("ann"), UploadRequest(name="a"), b"x")
    assert desk.documents() == 0
    with desk.database.reading() as session:
        assert session.execute(select(func.count()).select_from(BlobRow)).scalar_one() == 0


def test_f2_an_upload_repeated_under_its_key_is_one_document_even_without_a_source(desk: Desk) -> None:
    request = UploadRequest(name="a", idempotency_key="k-1")
    first = desk.intake.upload(desk.principal("ann"), request, b"one")
    again = desk.intake.upload(desk.principal("ann"), request, b"one")
    assert (again.document, again.version, again.source) == (first.document, first.version, first.source)
    with pytest.raises(Conflict, match="Idempotency-Key"):
        desk.intake.upload(desk.principal("ann"), request, b"two")
    other = desk.intake.upload(desk.principal("ann"), UploadRequest(name="a", idempotency_key="k-2"), b"one")
    assert other.document != first.document


@pytest.mark.slow
def test_f2_a_commit_whose_answer_was_lost_is_found_again_by_its_key(
    postgres_database: Database, postgres_url: str, tmp_path: Path
) -> None:
    desk = Desk(postgres_database, tmp_path / "blobs")
    ann = desk.principal("ann")
    with wire_to(postgres_url) as (wire, url):
        database = Database(url)
        intake = Intake(database=database, blobs=desk.blobs, max_bytes=1_000)
        for number in range(3):
            request = UploadRequest(name="a", idempotency_key=f"k-{number}")
            wire.arm()
            with pytest.raises(Unavailable):
                intake.upload(ann, request, b"one")
            assert (wire.cuts, desk.documents()) == (number + 1, number + 1)  # It is there, and nobody was told.
            again = intake.upload(ann, request, b"one")
            assert again.document == intake.upload(ann, request, b"one").document
            assert desk.documents() == number + 1
        database.close()
    with desk.database.transaction() as session:
        claimed = stages.claim(session, [StageName.PARSE], owner="w", limit=9, lease_seconds=9.0)
    assert len({stage.document for stage in claimed}) == len(claimed) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb"])
def test_a_key_that_is_none_stores_nothing(desk: Desk, key: str) -> None:
    with pytest.raises(InvalidInput, match="Idempotency-Key"):
        desk.intake.upload(desk.principal("ann"), UploadRequest(name="a", idempotency_key=key), b"one")
    assert desk.stored() == []
