"""A request that is repeated under its key is one request."""

import threading

import pytest

from core.db.idempotency import KEPT_SECONDS, UploadKey, forget_old_keys, note_document, take_key
from core.db.session import Database
from core.db.tables import UploadKeyRow
from core.errors import Conflict
from tests.core.db.scenario import OTHER, TENANT, Story

KEY = UploadKey(uploader="user:ann", key="k-1", request_hash="a" * 64)


def test_the_first_request_holds_the_key_and_the_second_is_told_what_it_made(database: Database) -> None:
    document = Story.begin(database).upload("a").document
    with database.transaction() as session:
        assert take_key(session, TENANT, KEY) is None
        note_document(session, TENANT, KEY, document)
    with database.transaction() as session:
        assert take_key(session, TENANT, KEY) == document


def test_a_request_that_was_undone_leaves_its_key_free(database: Database) -> None:
    Story.begin(database)

    def undo() -> None:
        with database.transaction() as session:
            take_key(session, TENANT, KEY)
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        undo()
    with database.transaction() as session:
        assert take_key(session, TENANT, KEY) is None


def test_the_key_of_another_request_is_refused_and_that_of_another_person_or_tenant_is_not(database: Database) -> None:
    Story.begin(database)
    with database.transaction() as session:
        take_key(session, TENANT, KEY)
    with pytest.raises(Conflict, match="used for another upload"), database.transaction() as session:
        take_key(session, TENANT, UploadKey(uploader="user:ann", key="k-1", request_hash="b" * 64))
    with database.transaction() as session:
        assert take_key(session, TENANT, UploadKey(uploader="user:bob", key="k-1", request_hash="b" * 64)) is None
        assert take_key(session, OTHER, UploadKey(uploader="user:ann", key="k-1", request_hash="b" * 64)) is None


def test_of_two_at_once_one_is_first(database: Database) -> None:
    document = Story.begin(database).upload("a").document
    told: list[object] = []
    both = threading.Barrier(2)

    def ask() -> None:
        both.wait()
        with database.transaction() as session:
            made = take_key(session, TENANT, KEY)
            told.append(made)
            if made is None:
                note_document(session, TENANT, KEY, document)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told, key=str) == sorted([None, document], key=str)


def test_keys_are_forgotten_after_a_day_and_with_their_document(database: Database) -> None:
    Story.begin(database)
    with database.transaction() as session:
        take_key(session, TENANT, KEY)
        forget_old_keys(session)
        (row,) = session.query(UploadKeyRow).all()
        row.created_at -= round(KEPT_SECONDS * 1_000_000) + 1
        session.flush()
        forget_old_keys(session)
    with database.reading() as session:
        assert session.query(UploadKeyRow).all() == []
