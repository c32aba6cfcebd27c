"""Status and listing: every document in exactly one state, and nobody is told of what is not theirs."""

import pytest

from core.db import directory, documents, stages
from core.db.directory import add_user
from core.db.session import Database
from core.domain import DocumentState, Principal, Reason
from core.errors import InvalidInput
from tests.core.db.scenario import OTHER, TENANT, Story, unknown_document


def _principal(database: Database, user: str) -> Principal:
    with database.transaction() as session:
        if user not in {known.name for known in directory.list_users(session, TENANT)}:
            add_user(session, TENANT, user)
        return directory.principal(session, TENANT, user, role="reader")


def _walk(database: Database, principal: Principal, *, limit: int = 2, state: DocumentState | None = None) -> list[str]:
    names: list[str] = []
    cursor = None
    while True:
        with database.reading() as session:
            page = documents.list_readable(session, principal, cursor=cursor, limit=limit, state=state)
        assert len(page.documents) <= limit
        names += [status.name for status in page.documents]
        cursor = page.next
        if cursor is None:
            return names


def test_statuses_come_in_the_order_asked_for_and_unknown_ones_are_left_out(database: Database) -> None:
    story = Story.begin(database)
    ids = [story.upload(name).document for name in "abc"]
    asked = [ids[2], unknown_document(), ids[0], ids[2]]
    with database.reading() as session:
        assert [status.document for status in documents.status(session, TENANT, asked)] == [ids[2], ids[0]]
        assert documents.status(session, OTHER, asked) == []
        assert documents.status(session, TENANT, []) == []


def test_a_report_counts_each_document_in_one_state(database: Database) -> None:
    story = Story.begin(database)
    ids = [story.upload(name).document for name in "abcde"]
    failed, leased, *_ = story.claim(limit=2)
    with database.transaction() as session:
        stages.fail(session, failed, Reason.EMPTY)
        documents.delete(session, TENANT, ids[4], "user:ann")
        report = documents.report(documents.status(session, TENANT, ids))
    assert report.totals == {
        DocumentState.QUEUED: 2,
        DocumentState.LEASED: 1,
        DocumentState.FAILED: 1,
        DocumentState.DELETED: 1,
    }
    assert story.status(leased.document).state is DocumentState.LEASED
    with database.reading() as session:
        everything = documents.list_statuses(session, TENANT, visible=lambda _, ids: frozenset(ids))
    assert [status.document for status in everything.documents] == sorted(ids[:4], reverse=True)


def test_a_list_holds_what_one_may_read_and_what_one_uploaded(database: Database) -> None:
    story = Story.begin(database)
    ann, bob, eve = (_principal(database, name) for name in ("ann", "bob", "eve"))
    story.upload("of ann")
    story.upload("of ann for bob", allow=["user:bob"])
    story.upload("of bob for all", uploader="user:bob", allow=["*"])
    story.upload("of another tenant", tenant=OTHER, allow=["*"])
    assert sorted(_walk(database, ann)) == ["of ann", "of ann for bob", "of bob for all"]
    assert sorted(_walk(database, bob)) == ["of ann for bob", "of bob for all"]
    assert _walk(database, eve) == ["of bob for all"]
    assert _walk(database, Principal(tenant=TENANT, closure=frozenset())) == []
    with database.reading() as session:
        assert documents.readable_totals(session, ann) == {DocumentState.QUEUED: 3}
        assert documents.readable_totals(session, eve) == {DocumentState.QUEUED: 1}
        assert documents.readable_totals(session, eve, source="nowhere") == {}


def test_pages_neither_repeat_nor_lose_a_document_when_others_come_and_go(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    ids = [story.upload(str(number)).document for number in range(6)]
    with database.reading() as session:
        first = documents.list_readable(session, ann, limit=3)
    story.upload("new")
    with database.transaction() as session:
        documents.delete(session, TENANT, first.documents[-1].document, "user:ann")
        second = documents.list_readable(session, ann, limit=3, cursor=first.next)
    listed = [status.document for status in (*first.documents, *second.documents)]
    assert listed == sorted(ids, reverse=True)
    assert second.next is None


def test_a_list_can_be_narrowed_by_state_and_source(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    story.upload("done")
    story.finish_everything()
    failing = story.upload("failed")
    (claimed,) = story.claim()
    with database.transaction() as session:
        stages.fail(session, claimed, Reason.CORRUPT)
    story.upload("queued", source="elsewhere")
    gone = story.upload("gone")
    with database.transaction() as session:
        documents.delete(session, TENANT, gone.document, "user:ann")
    assert failing.document == claimed.document
    assert _walk(database, ann, state=DocumentState.SEARCHABLE) == ["done"]
    assert _walk(database, ann, state=DocumentState.FAILED) == ["failed"]
    assert _walk(database, ann, state=DocumentState.QUEUED) == ["queued"]
    assert _walk(database, ann, state=DocumentState.LEASED) == []
    assert len(_walk(database, ann)) == 3
    with database.reading() as session:
        page = documents.list_readable(session, ann, source="elsewhere")
        assert [status.name for status in page.documents] == ["queued"]
        assert documents.list_readable(session, ann, source="nowhere").documents == ()


@pytest.mark.slow
def test_few_of_many_are_found_page_by_page(database: Database) -> None:
    story = Story.begin(database)
    bob = _principal(database, "bob")
    with database.transaction() as session:
        for number in range(620):
            upload = documents.Upload(
                source="files",
                name=str(number),
                blob_hash="0" * 64,
                size=1,
                uploader="user:ann",
                allow=("user:bob",) if number % 100 == 0 else (),
            )
            rights = documents.Rights(see=lambda _: True, write=lambda _: True)
            documents.accept(session, TENANT, upload, rights=rights)
    assert sorted(_walk(database, bob, limit=4), key=int) == [str(number) for number in range(0, 620, 100)]
    assert story.claim(limit=1)


@pytest.mark.parametrize("cursor", ["", "x", "!!!!", "A" * 21, "A" * 100, "é"])
def test_a_cursor_that_no_page_gave_is_refused(database: Database, cursor: str) -> None:
    Story.begin(database)
    ann = _principal(database, "ann")
    with database.reading() as session, pytest.raises(InvalidInput):
        documents.list_readable(session, ann, cursor=cursor)


@pytest.mark.parametrize("limit", [-1, 0, 501])
def test_a_limit_out_of_range_is_refused(database: Database, limit: int) -> None:
    Story.begin(database)
    ann = _principal(database, "ann")
    with database.reading() as session, pytest.raises(InvalidInput):
        documents.list_readable(session, ann, limit=limit)
