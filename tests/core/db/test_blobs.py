"""A blob stays while anything needs it, and goes when nothing has for long enough."""

import os
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from core.blobs import DirectoryBlobs
from core.db import blobs, documents, receipts, stages
from core.db.purging import purge_catalogue
from core.db.session import Database
from core.db.tables import BlobRow, DeletionReceiptRow
from core.ids import DocumentId
from tests.core.db.scenario import ANYTHING, OTHER, TENANT, Story

HOUR = 3_600.0


@pytest.fixture(name="store")
def directory_blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


def _age(store: DirectoryBlobs, hash_: str) -> None:
    path = store.path(TENANT, hash_)
    assert path is not None
    os.utime(path, (0, 0))


def _upload(story: Story, store: DirectoryBlobs, name: str = "a") -> documents.Accepted:
    blob = store.put(TENANT, b"content")
    with story.database.transaction() as session:
        upload = documents.Upload(source="files", name=name, blob_hash=blob.hash, size=blob.size, uploader="user:ann")
        return documents.accept(session, TENANT, upload, rights=ANYTHING)


def _purge(story: Story, accepted: documents.Accepted) -> None:
    with story.database.transaction() as session:
        documents.delete(session, TENANT, accepted.document, "user:ann")
        purge_catalogue(session, TENANT, accepted.document)


def _collect(story: Story, store: DirectoryBlobs, older_than: float) -> int:
    with story.database.transaction() as session:
        doomed = blobs.unreferenced_blobs(session, older_than=older_than, limit=99)
        collected = blobs.collect_blobs(session, store, doomed, older_than=older_than)
        blobs.confirm_receipts(session, older_than=older_than)
    assert collected.seen == len(doomed)
    return collected.removed


def _blobs_part(session: Session, document: DocumentId) -> receipts.StoreReceipt:
    stores = receipts.receipt(session, TENANT, document).stores
    return next(part for part in stores if part.store == "blobs")


def test_bytes_go_with_the_last_document_that_needs_them(database: Database, store: DirectoryBlobs) -> None:
    story = Story.begin(database)
    first, second = _upload(story, store, "a"), _upload(story, store, "b")
    (hash_,) = [blob.hash for blob in store.list(TENANT)]
    _purge(story, first)
    assert _collect(story, store, 0.0) == 0
    _purge(story, second)
    assert _collect(story, store, HOUR) == 0
    assert store.read(TENANT, hash_) == b"content"
    with database.transaction() as session:
        assert _blobs_part(session, second.document).confirmed_at is None
    assert _collect(story, store, 0.0) == 1
    assert list(store.list(TENANT)) == []
    with database.reading() as session:
        part = _blobs_part(session, second.document)
    assert (part.removed, part.confirmed_at is not None) == (1, True)


def test_bytes_that_are_needed_again_stay(database: Database, store: DirectoryBlobs) -> None:
    story = Story.begin(database)
    _purge(story, _upload(story, store))
    _upload(story, store)
    assert _collect(story, store, 0.0) == 0
    assert len(list(store.list(TENANT))) == 1


def test_bytes_that_an_upload_has_just_written_stay(database: Database, store: DirectoryBlobs) -> None:
    story = Story.begin(database)
    _purge(story, _upload(story, store))
    (hash_,) = [blob.hash for blob in store.list(TENANT)]
    with database.transaction() as session:  # The row is old, and the bytes are new: an upload is on its way.
        session.execute(update(BlobRow).values(unreferenced_at=0))
    assert _collect(story, store, HOUR) == 0
    assert store.read(TENANT, hash_) == b"content"
    _age(store, hash_)
    assert _collect(story, store, HOUR) == 1


def test_a_receipt_tells_that_the_bytes_are_gone_when_they_are(database: Database, store: DirectoryBlobs) -> None:
    """They were spared: an upload of the same bytes wrote them again a moment ago, and came to nothing."""
    story = Story.begin(database)
    accepted = _upload(story, store)
    (hash_,) = [blob.hash for blob in store.list(TENANT)]
    _purge(story, accepted)
    with database.transaction() as session:  # All that was hours ago.
        session.execute(update(BlobRow).values(unreferenced_at=0))
        session.execute(
            update(DeletionReceiptRow).where(DeletionReceiptRow.store == "catalogue").values(confirmed_at=1)
        )
    assert _collect(story, store, HOUR) == 0
    assert store.read(TENANT, hash_) == b"content"
    with database.reading() as session:
        assert _blobs_part(session, accepted.document).confirmed_at is None
    _age(store, hash_)
    assert _collect(story, store, HOUR) == 1
    with database.reading() as session:
        assert _blobs_part(session, accepted.document).confirmed_at is not None


def test_bytes_that_are_needed_again_since_they_were_doomed_stay(database: Database, store: DirectoryBlobs) -> None:
    story = Story.begin(database)
    _purge(story, _upload(story, store))
    with database.reading() as session:
        doomed = blobs.unreferenced_blobs(session, older_than=0.0, limit=9)
    _upload(story, store, "again")
    with database.transaction() as session:
        assert blobs.collect_blobs(session, store, doomed, older_than=0.0) == blobs.Collected(seen=1, removed=0)
    assert len(list(store.list(TENANT))) == 1


def test_results_of_stages_go_with_their_bytes(database: Database, store: DirectoryBlobs) -> None:
    story = Story.begin(database)
    accepted = _upload(story, store)
    (hash_,) = [blob.hash for blob in store.list(TENANT)]
    with database.transaction() as session:
        stages.record_stage_result(session, TENANT, "input", hash_)
        stages.record_stage_result(session, TENANT, "input of another", "f" * 64)
        stages.record_stage_result(session, OTHER, "input", hash_)
    _purge(story, accepted)
    _collect(story, store, 0.0)
    with database.reading() as session:
        assert stages.stage_result(session, TENANT, "input") is None
        assert stages.stage_result(session, TENANT, "input of another") == "f" * 64
        assert stages.stage_result(session, OTHER, "input") == hash_


def test_many_blobs_go_in_short_transactions(database: Database, store: DirectoryBlobs) -> None:
    Story.begin(database)
    stored = [store.put(TENANT, str(number).encode()) for number in range(7)]
    with database.transaction() as session:
        blobs.add_references(session, TENANT, {blob.hash: blob.size for blob in stored})
        blobs.add_references(session, TENANT, {stored[0].hash: 1})
        assert blobs.drop_references(session, TENANT, [blob.hash for blob in stored]) == 6
        assert blobs.drop_references(session, TENANT, [stored[0].hash, stored[0].hash, "e" * 64]) == 1
    with database.reading() as session:
        doomed = blobs.unreferenced_blobs(session, older_than=0.0, limit=99)
        assert blobs.unreferenced_blobs(session, older_than=0.0, limit=3) == doomed[:3]
    assert sorted(doomed) == sorted((TENANT, blob.hash) for blob in stored)
    with database.transaction() as session:
        hurried = blobs.collect_blobs(session, store, doomed, older_than=0.0, at_most_seconds=0.0)
    assert hurried == blobs.Collected(seen=1, removed=1)  # As where the store is slow.
    with database.transaction() as session:
        assert blobs.collect_blobs(session, store, doomed, older_than=0.0) == blobs.Collected(seen=7, removed=6)
    assert list(store.list(TENANT)) == []


def test_bytes_without_a_row_are_told_apart(database: Database, store: DirectoryBlobs) -> None:
    story = Story.begin(database)
    _upload(story, store)
    (known,) = [blob.hash for blob in store.list(TENANT)]
    with database.reading() as session:
        assert blobs.unknown_blobs(session, TENANT, [known, "0" * 64]) == ["0" * 64]
        assert blobs.unknown_blobs(session, OTHER, [known]) == [known]
