"""Dead letters: seen by whom they concern, replayed once, and nothing that is done is done again."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import access, deadletters, directory, documents, stages, wakeups
from core.db.deadletters import ALL, DeadLetter, DeadLetterFilter, Replayed
from core.db.session import Database
from core.db.stages import MAX_EXCERPT
from core.db.tables import StageRow
from core.domain import DocumentState, Principal, Reason, StageName
from core.errors import InvalidInput, NotFound
from core.ids import DocumentId, IndexId
from tests.core.db.scenario import OTHER, TENANT, Story, unknown_document


def _principal(database: Database, user: str, *, role: str = "editor") -> Principal:
    with database.transaction() as session:
        if user not in {known.name for known in directory.list_users(session, TENANT)}:
            directory.add_user(session, TENANT, user)
        return directory.principal(session, TENANT, user, role=role)  # type: ignore[arg-type]  # a role's name


def _as(principal: Principal) -> Callable[[Session], Principal]:
    return lambda _session: principal


def _fail(
    story: Story,
    name: str,
    *,
    at: StageName = StageName.PARSE,
    reason: Reason = Reason.INTERNAL,
    page: int | None = None,
    excerpt: str | None = None,
    **upload: object,
) -> DocumentId:
    """Upload a document and let that stage of it fail; nothing else may be under way."""
    document = story.upload(name, name, **upload).document  # type: ignore[arg-type]  # passed on as it came
    for claimed in iter(lambda: story.claim(limit=1), []):
        (stage,) = claimed
        if stage.document == document and stage.name is at:
            with story.database.transaction() as session:
                stages.fail(session, stage, reason, "seen", page=page, excerpt=excerpt)
        else:
            story.do(stage)
    return document


def _letters(
    database: Database, principal: Principal, wanted: DeadLetterFilter = ALL, *, limit: int = 2
) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    cursor = None
    while True:
        with database.reading() as session:
            page = deadletters.list_readable(session, principal, wanted, cursor=cursor, limit=limit)
        assert len(page.deadletters) <= limit
        found += page.deadletters
        cursor = page.next
        if cursor is None:
            return found


def _names(database: Database, principal: Principal, wanted: DeadLetterFilter = ALL) -> list[str]:
    return [letter.name for letter in _letters(database, principal, wanted)]


def _rows(database: Database) -> dict[tuple[str, str], tuple[str, int, int]]:
    with database.reading() as session:
        rows = session.scalars(select(StageRow))
        return {(str(row.version_id), row.name): (row.state, row.attempt, row.fence) for row in rows}


def _queued(database: Database) -> list[str]:
    with database.transaction() as session:
        return [wakeup.queue for wakeup in wakeups.drain(session)]


def test_a_dead_letter_keeps_what_is_known_of_the_failure(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    document = _fail(story, "a", reason=Reason.CORRUPT, page=7, excerpt="x" * 2 * MAX_EXCERPT + "the end")
    with database.reading() as session:
        letter = deadletters.show(session, ann, document)
    assert (letter.document, letter.name, letter.source) == (document, "a", "files")
    assert (letter.stage, letter.reason, letter.page, letter.attempts) == (StageName.PARSE, Reason.CORRUPT, 7, 1)
    assert letter.detail.endswith("(seen)")
    assert letter.excerpt is not None
    assert len(letter.excerpt) == MAX_EXCERPT
    assert letter.excerpt.endswith("the end")
    assert letter.failed_at > 0
    assert letter.searchable_version is None
    assert _letters(database, ann) == [letter]


def test_readers_and_the_uploader_see_a_dead_letter_and_to_others_it_does_not_exist(database: Database) -> None:
    story = Story.begin(database)
    ann, bob, eve = (_principal(database, name, role="reader") for name in ("ann", "bob", "eve"))
    own = _fail(story, "own")
    shared = _fail(story, "shared", allow=["user:bob"])
    _fail(story, "elsewhere", tenant=OTHER, allow=["*"])
    assert _names(database, ann) == ["shared", "own"]
    assert _names(database, bob) == ["shared"]
    assert _names(database, eve) == []
    assert _names(database, Principal(tenant=TENANT, closure=frozenset())) == []
    with database.reading() as session:
        assert deadletters.show(session, bob, shared).document == shared
        for who, document in ((bob, own), (eve, shared), (ann, unknown_document())):
            with pytest.raises(NotFound):
                deadletters.show(session, who, document)


def test_a_list_is_narrowed_by_reason_stage_source_and_time(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    _fail(story, "a", reason=Reason.EMPTY)
    _fail(story, "b", at=StageName.EMBED, reason=Reason.EMBEDDER_FAILED)
    last = _fail(story, "c", at=StageName.INDEX, reason=Reason.INDEX_FAILED, source="shelf")
    with database.reading() as session:
        moment = deadletters.show(session, ann, last).failed_at
    assert _names(database, ann) == ["c", "b", "a"]
    assert _names(database, ann, DeadLetterFilter(reason=Reason.EMPTY)) == ["a"]
    assert _names(database, ann, DeadLetterFilter(stage=StageName.EMBED)) == ["b"]
    assert _names(database, ann, DeadLetterFilter(source="shelf")) == ["c"]
    assert _names(database, ann, DeadLetterFilter(source="nowhere")) == []
    assert _names(database, ann, DeadLetterFilter(since=moment)) == ["c"]
    assert _names(database, ann, DeadLetterFilter(since=moment + 1)) == []
    assert _names(database, ann, DeadLetterFilter(reason=Reason.EMPTY, stage=StageName.INDEX)) == []


def test_what_is_searchable_queued_deleted_or_replaced_is_no_dead_letter(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    story.upload("fine")
    story.finish_everything()
    replaced = _fail(story, "replaced")
    gone = _fail(story, "gone")
    with database.transaction() as session:
        documents.delete(session, TENANT, gone, "user:ann")
    story.upload("replaced", "another content")
    assert _names(database, ann) == []
    for document in (replaced, gone):
        with database.reading() as session, pytest.raises(NotFound):
            deadletters.show(session, ann, document)
    with database.transaction() as session:
        assert deadletters.replay(session, ann, replaced).replayed == 0
    with database.transaction() as session, pytest.raises(NotFound):
        deadletters.replay(session, ann, gone)
    before = _rows(database)
    assert deadletters.replay_matching(database, _as(ann), ALL).replayed == 0
    assert _rows(database) == before


def test_a_failed_new_version_is_a_dead_letter_while_the_old_one_is_read(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    first = story.upload("a", "one")
    story.finish_everything()
    story.upload("a", "two")
    (claimed,) = story.claim()
    with database.transaction() as session:
        stages.fail(session, claimed, Reason.CORRUPT)
    (letter,) = _letters(database, ann)
    assert (letter.version, letter.searchable_version) == (claimed.version, first.version)


def test_replaying_queues_the_failed_stage_alone_and_judges_it_anew(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    document = _fail(story, "a", at=StageName.EMBED, reason=Reason.EMBEDDER_FAILED, page=1, excerpt="ValueError")
    before = _rows(database)
    _queued(database)
    with database.transaction() as session:
        assert deadletters.replay(session, ann, document).replayed == 1
    after = _rows(database)
    changed = {name for (_, name), row in after.items() if before[_, name] != row}
    assert changed == {"embed"}
    with database.reading() as session:
        row = session.scalars(select(StageRow).where(StageRow.name == "embed")).one()
    assert (row.state, row.attempt, row.reason, row.detail, row.page, row.excerpt) == ("queued", 0, *[None] * 4)
    assert (row.started_at, row.finished_at) == (None, None)
    assert _queued(database) == ["embed"]
    assert _names(database, ann) == []
    story.finish_everything()
    assert story.status(document).state is DocumentState.SEARCHABLE


def test_replaying_twice_is_replaying_once(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    document = _fail(story, "a")
    _queued(database)
    for expected in (1, 0):
        with database.transaction() as session:
            assert deadletters.replay(session, ann, document).replayed == expected
    (claimed,) = story.claim()
    with database.transaction() as session:  # Not even while somebody works on it.
        assert deadletters.replay(session, ann, document).replayed == 0
    assert story.do(claimed) is False
    assert _queued(database) == ["parse", "parse"]  # the replayed one, and the chunking that follows


@pytest.mark.parametrize("count", [2, 6])
def test_many_who_replay_at_once_replay_each_document_once(database: Database, count: int) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    for number in range(12):
        _fail(story, str(number))
    _queued(database)
    results: list[Replayed] = []
    barrier = threading.Barrier(count)

    def work() -> None:
        barrier.wait()
        results.append(deadletters.replay_matching(database, _as(ann), ALL))

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    assert sum(result.replayed for result in results) == 12
    assert _queued(database) == ["parse"] * 12


def test_to_replay_takes_the_right_to_change_the_document(database: Database) -> None:
    story = Story.begin(database)
    ann, bob = (_principal(database, name) for name in ("ann", "bob"))
    reader = _principal(database, "ann", role="reader")
    denied = _fail(story, "denied", allow=["user:bob"])
    hidden = _fail(story, "hidden")
    with database.transaction() as session:
        access.change_document_access(session, TENANT, denied, deny=["user:ann"])
    with database.transaction() as session:
        for who, document in ((bob, hidden), (ann, denied), (reader, hidden), (ann, unknown_document())):
            with pytest.raises(NotFound):
                deadletters.replay(session, who, document)
    assert deadletters.replay_matching(database, _as(reader), ALL) == Replayed(replayed=0, left=2, next=None)
    # Ann uploaded both and so sees both, but one is denied to her; of what Bob may not see, nothing is said.
    assert deadletters.replay_matching(database, _as(ann), ALL) == Replayed(replayed=1, left=1, next=None)
    assert deadletters.replay_matching(database, _as(bob), ALL) == Replayed(replayed=1, left=0, next=None)


def test_a_filter_replays_what_matches_it(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    _fail(story, "a", reason=Reason.EMPTY)
    _fail(story, "b", reason=Reason.CORRUPT)
    done = deadletters.replay_matching(database, _as(ann), DeadLetterFilter(reason=Reason.EMPTY))
    assert done == Replayed(replayed=1, left=0, next=None)
    assert _names(database, ann) == ["b"]


def test_many_are_replayed_in_batches_that_stand_each_for_itself(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadletters, "REPLAYED_AT_ONCE", 2)
    story = Story.begin(database)
    ann = _principal(database, "ann")
    for number in range(5):
        _fail(story, str(number))
    calls = 0

    def until_the_third(_session: Session) -> Principal:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ConnectionError
        return ann

    with pytest.raises(ConnectionError):
        deadletters.replay_matching(database, until_the_third, ALL)
    assert _names(database, ann) == ["0"]  # Broken off: what was replayed stays so, and the rest is for the next call.

    part = deadletters.replay_matching(database, _as(ann), ALL, batches=1)
    assert part.replayed == 1
    assert _names(database, ann) == []


def test_who_replays_more_than_one_call_takes_is_told_where_to_go_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadletters, "REPLAYED_AT_ONCE", 2)
    story = Story.begin(database)
    ann = _principal(database, "ann")
    for number in range(5):
        _fail(story, str(number))
    first = deadletters.replay_matching(database, _as(ann), ALL, batches=2)
    assert first.replayed == 4
    assert first.next is not None
    for claimed in story.claim():  # They fail again at once, and are not replayed a second time.
        with database.transaction() as session:
            stages.fail(session, claimed, Reason.INTERNAL)
    rest = deadletters.replay_matching(database, _as(ann), ALL, cursor=first.next)
    assert rest == Replayed(replayed=1, left=0, next=None)
    assert _names(database, ann) == ["4", "3", "2", "1"]


def test_rights_are_judged_by_every_batch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadletters, "REPLAYED_AT_ONCE", 1)
    story = Story.begin(database)
    ann = _principal(database, "ann")
    for number in range(3):
        _fail(story, str(number))
    whom = iter([ann, Principal(tenant=TENANT, closure=frozenset()), ann])
    assert deadletters.replay_matching(database, lambda _: next(whom), ALL, batches=3).replayed == 2


def test_several_failed_stages_of_one_document_are_one_dead_letter(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    document = _fail(story, "a", at=StageName.INDEX, reason=Reason.INDEX_FAILED)
    with database.transaction() as session:
        row = session.scalars(select(StageRow).where(StageRow.name == "index")).one()
        values = {column.name: getattr(row, column.name) for column in StageRow.__table__.columns}
        session.add(StageRow(**values | {"id": unknown_document(), "index_id": IndexId("another")}))
    assert [letter.document for letter in _letters(database, ann)] == [document]
    assert deadletters.replay_matching(database, _as(ann), ALL).replayed == 1
    assert sorted(stage.index_id for stage in story.claim()) == ["another", "index-1"]


def test_a_stage_that_is_done_after_it_failed_has_forgotten_the_failure(database: Database) -> None:
    story = Story.begin(database)
    ann = _principal(database, "ann")
    document = _fail(story, "a", page=3, excerpt="ValueError")
    with database.transaction() as session:
        deadletters.replay(session, ann, document)
    story.finish_everything()
    with database.reading() as session:
        rows = session.execute(select(StageRow.reason, StageRow.detail, StageRow.page, StageRow.excerpt)).all()
    assert {tuple(row) for row in rows} == {(None, None, None, None)}


@pytest.mark.parametrize("cursor", ["", "x", "!!!!", "A" * 21])
def test_a_cursor_that_no_page_gave_is_refused(database: Database, cursor: str) -> None:
    Story.begin(database)
    ann = _principal(database, "ann")
    with database.reading() as session, pytest.raises(InvalidInput):
        deadletters.list_readable(session, ann, cursor=cursor, limit=2)
    with pytest.raises(InvalidInput):
        deadletters.replay_matching(database, _as(ann), ALL, cursor=cursor)


def test_dead_letters_are_found_by_an_index_of_nothing_else(sqlite_database: Database) -> None:
    Story.begin(sqlite_database)
    with sqlite_database.reading() as session:
        statement = deadletters._ids_statement(TENANT, ALL, None, 100)
        compiled = statement.compile(sqlite_database.engine, compile_kwargs={"literal_binds": True})
        plan = " ".join(str(row) for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}"))
    assert "ix_stages_failed" in plan
    assert "SCAN" not in plan.replace("SCAN releases", "")  # There are a few of those.
