"""What becomes of a claimed stage, and that only its holder decides."""

from typing import Any

import pytest
from sqlalchemy import select

from core.db import documents, stages, wakeups
from core.db.session import Database
from core.db.stages import Failed, Finished, VersionFacts
from core.db.tables import BlobRow, VersionRow
from core.domain import DocumentState, Reason, StageName
from core.errors import LeaseLost, NotFound
from tests.core.db.scenario import TENANT, Story, digest, unknown_document


def _version(database: Database) -> Any:  # noqa: ANN401 - a row, read by name
    with database.reading() as session:
        return session.execute(select(VersionRow.__table__)).one()


def _references(database: Database) -> dict[str, int]:
    with database.reading() as session:
        return {row.hash: row.references for row in session.execute(select(BlobRow.hash, BlobRow.references))}


def test_each_stage_queues_the_next_and_the_last_makes_it_searchable(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    seen = []
    while claimed := story.claim():
        (stage,) = claimed
        seen.append((stage.name, stage.input_hash))
        assert story.status(accepted.document).stage == stage.name
        story.do(stage)
    assert [name for name, _ in seen] == list(StageName)
    assert seen[1][1] == digest(f"parse of {digest('one')}")
    status = story.status(accepted.document)
    assert status.state is DocumentState.SEARCHABLE
    assert (status.stage, status.reason, status.detail) == (None, None, None)
    assert status.version == status.searchable_version == accepted.version
    assert (status.pages, status.pages_lost, status.chunks) == (1, (), 3)


def test_the_next_stage_is_announced_with_the_end_of_the_one_before(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    with database.transaction() as session:
        assert [wakeup.queue for wakeup in wakeups.drain(session)] == ["parse"]
    (claimed,) = story.claim()

    def finish_in_a_transaction_that_fails() -> None:
        with database.transaction() as session:
            stages.finish(session, claimed, output_hash="x")
            documents.get(session, TENANT, unknown_document())

    with pytest.raises(NotFound):
        finish_in_a_transaction_that_fails()
    with database.transaction() as session:
        assert wakeups.drain(session) == []
        stages.finish(session, claimed, output_hash="x")
    with database.transaction() as session:
        assert len(wakeups.drain(session)) == 1
        assert wakeups.drain(session) == []


def test_facts_are_kept_and_the_parsed_text_is_referenced_once(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (claimed,) = story.claim()
    facts = VersionFacts(
        media_type="application/pdf",
        title="T",
        language="en",
        page_count=3,
        pages_lost=(2,),
        notes=("n",),
        parsed_hash=digest("parsed"),
        parsed_size=5,
    )
    with database.transaction() as session:
        stages.finish(session, claimed, output_hash="x", facts=facts)
    version = _version(database)
    assert (version.media_type, version.title, version.language) == ("application/pdf", "T", "en")
    assert (version.page_count, version.pages_lost, version.notes) == (3, [2], ["n"])
    assert _references(database) == {digest("one"): 1, digest("parsed"): 1}
    (chunk,) = story.claim()
    assert (chunk.media_type, chunk.parsed_hash) == ("application/pdf", digest("parsed"))
    with database.transaction() as session:  # Told again, it counts once; another text takes its place.
        stages.finish(session, chunk, output_hash="y", facts=VersionFacts(parsed_hash=digest("parsed"), chunk_count=9))
    (embed,) = story.claim()
    with database.transaction() as session:
        stages.finish(session, embed, output_hash="z", facts=VersionFacts(parsed_hash=digest("other")))
    assert _references(database) == {digest("one"): 1, digest("parsed"): 0, digest("other"): 1}
    assert _version(database).title == "T"


def test_a_lost_lease_changes_nothing(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    (old,) = story.claim(lease=0.0)
    (new,) = story.claim()
    with pytest.raises(LeaseLost), database.transaction() as session:
        stages.finish(session, old, output_hash="old")
    with pytest.raises(LeaseLost), database.transaction() as session:
        stages.fail(session, old, Reason.CORRUPT)
    with pytest.raises(LeaseLost), database.transaction() as session:
        stages.retry_later(session, old, 0.0)
    with database.transaction() as session:
        assert stages.finish_many(session, [Finished(stage=old, output_hash="old")]) == []
        assert stages.fail_many(session, [Failed(stage=old, reason=Reason.CORRUPT)]) == []
        assert stages.renew(session, [old], 60.0) == []
        stages.release(session, [old])
    assert story.status(accepted.document).state is DocumentState.LEASED
    story.do(new)
    with pytest.raises(LeaseLost):
        story.do(new)


def test_of_many_only_the_lost_ones_are_left_out(database: Database) -> None:
    story = Story.begin(database)
    for name in "abc":
        story.upload(name)
    lost, *rest = story.claim(lease=0.0)
    story.claim(limit=1)
    with database.transaction() as session:
        ends = [Finished(stage=stage, output_hash="x") for stage in (lost, *rest)]
        assert stages.finish_many(session, ends) == ends[1:]


def test_an_index_stage_cannot_end_without_the_flip(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    for name in (StageName.PARSE, StageName.CHUNK, StageName.EMBED):
        story.do(story.claim(name)[0])
    (index,) = story.claim()
    with pytest.raises(ValueError, match="make_current"), database.transaction() as session:
        stages.finish(session, index, output_hash="x")


def test_a_failed_document_says_why_and_what_to_do(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    (claimed,) = story.claim()
    with database.transaction() as session:
        stages.fail(session, claimed, Reason.ENCRYPTED, "page 3")
    status = story.status(accepted.document)
    assert (status.state, status.stage, status.reason) == (DocumentState.FAILED, StageName.PARSE, Reason.ENCRYPTED)
    assert status.detail is not None
    assert "password" in status.detail
    assert "page 3" in status.detail
    assert story.claim() == []


def test_a_later_attempt_waits_its_delay_and_keeps_its_count(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    (claimed,) = story.claim()
    with database.transaction() as session:
        stages.retry_later(session, claimed, 3_600.0, Reason.EMBEDDER_FAILED, "model is loading")
    assert story.claim() == []
    status = story.status(accepted.document)
    assert (status.state, status.reason, status.detail) == (DocumentState.QUEUED, None, "model is loading")
    with database.reading() as session:
        assert stages.has_open(session, [StageName.PARSE])
        assert not stages.has_claimable(session, [StageName.PARSE])


def test_a_later_attempt_counts_on(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (claimed,) = story.claim()
    with database.transaction() as session:
        stages.retry_later(session, claimed, 0.0)
    (again,) = story.claim()
    assert (again.attempt, again.fence) == (2, 2)


def test_delays_double_up_to_five_minutes_and_are_never_in_step() -> None:
    for attempt in range(1, 40):
        full = min(300.0, 2.0 ** (attempt - 1))
        assert all(full / 2 <= stages.retry_delay(attempt) <= full for _ in range(5))
    assert len({stages.retry_delay(5) for _ in range(20)}) > 1


def test_the_first_result_of_a_stage_is_the_one_that_counts(database: Database) -> None:
    Story.begin(database)
    with database.transaction() as session:
        assert stages.stage_result(session, TENANT, "input") is None
        assert stages.record_stage_result(session, TENANT, "input", "first") == "first"
    with database.transaction() as session:
        assert stages.record_stage_result(session, TENANT, "input", "second") == "first"
        assert stages.stage_result(session, TENANT, "input") == "first"
