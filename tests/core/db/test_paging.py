"""Cursors: they go on where a page ended, and tell nothing else."""

import base64
from uuid import UUID

import pytest

from core.db.deadletters import ALL, replay_matching
from core.db.paging import cursor_after, read_cursor
from core.db.session import Database
from core.domain import Principal
from core.errors import InvalidInput
from core.ids import DocumentId, uuid7
from tests.core.db.scenario import TENANT


def test_a_cursor_leads_back_to_its_place(database: Database) -> None:
    some = [DocumentId(uuid7()) for _ in range(20)]
    with database.reading() as session:
        assert read_cursor(session, None) is None
        assert [read_cursor(session, cursor_after(session, one)) for one in some] == some


def test_a_cursor_shows_nothing_of_the_document_that_it_stands_after(database: Database) -> None:
    document = DocumentId(uuid7())
    neighbour = DocumentId(UUID(int=document.int + 1))
    with database.reading() as session:
        cursors = [cursor_after(session, one) for one in (document, neighbour)]
    first, second = (base64.urlsafe_b64decode(one + "==") for one in cursors)
    for place in range(len(first) - 3):  # Not four bytes of the id, and nothing that two ids of one moment share.
        assert first[place : place + 4] not in document.bytes
        assert first[place : place + 4] != second[place : place + 4]


def test_a_cursor_of_one_s_own_making_is_refused(database: Database) -> None:
    document = DocumentId(uuid7())
    with database.reading() as session:
        good = cursor_after(session, document)
        other = cursor_after(session, DocumentId(uuid7()))
        bare = base64.urlsafe_b64encode(document.bytes).rstrip(b"=").decode()
        for bad in ("", "x", "é", bare, good[:-2], good + "AA", good[:21] + other[21:], other[:21] + good[21:]):
            with pytest.raises(InvalidInput):
                read_cursor(session, bad)


def test_another_installation_s_cursor_is_refused(sqlite_database: Database, postgres_database: Database) -> None:
    with sqlite_database.reading() as session:
        cursor = cursor_after(session, DocumentId(uuid7()))
    with postgres_database.reading() as session, pytest.raises(InvalidInput):
        read_cursor(session, cursor)


def test_a_replay_with_a_cursor_that_is_none_is_refused(database: Database) -> None:
    nobody = Principal(tenant=TENANT, closure=frozenset(), user="nobody", role="reader")
    with pytest.raises(InvalidInput):
        replay_matching(database, lambda _: nobody, ALL, cursor="nothing")
