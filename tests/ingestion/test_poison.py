"""A document that kills its worker ends by itself, and takes no other with it."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from core.db import access, stages
from core.db.stages import SUSPECT_AFTER
from core.domain import DocumentState, Reason, StageName
from core.errors import ModelUnavailable, StorageFull
from core.ids import IndexId
from ingestion import chunk_stage, endings, parse_stage
from ingestion.endings import MOST_ATTEMPTS, MOST_KILLS
from ingestion.turns import Turns
from retrieval.ports import IndexPoint
from tests.ingestion.works import TENANT, Killed, Works, story

Vectors = NDArray[np.float32]


def test_a_document_that_kills_its_worker_is_given_up_and_harms_no_other(works: Works) -> None:
    poison = works.upload(story("krakens"), "poison.txt")
    innocent = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee", "milk")]
    works.work_until(StageName.EMBED)

    def die(texts: Sequence[str], vectors: Vectors) -> Vectors:
        if any("krakens" in text for text in texts):
            raise Killed
        return vectors

    works.embedder.spoil = die
    deaths = 0
    while True:
        try:
            works.pipeline.run_embed()
            break
        except Killed:
            deaths += 1
            with works.database.transaction() as session:  # As the supervisor does.
                stages.reclaim_owned(session, "worker-1")
    works.work()

    assert deaths == MOST_ATTEMPTS
    status = works.status(poison)
    assert (status.state, status.reason) == (DocumentState.FAILED, Reason.INTERNAL)
    assert f"died {MOST_ATTEMPTS} times" in str(status.detail)
    assert {works.status(document).state for document in innocent} == {DocumentState.SEARCHABLE}
    assert {works.stage(document, StageName.EMBED).attempt for document in innocent} == {SUSPECT_AFTER + 1}


def test_a_suspect_waits_until_nothing_else_runs_and_lets_nothing_begin() -> None:
    turns, order = Turns(), []
    waits, ended = threading.Event(), threading.Event()

    def alone() -> None:
        waits.set()
        with turns.alone():
            order.append("alone")
        ended.set()

    with turns.together(), turns.together():
        thread = threading.Thread(target=alone)
        thread.start()
        waits.wait()
        order.append("together")
    assert ended.wait(60)
    with turns.together():
        order.append("after")
    thread.join()

    assert order == ["together", "alone", "after"]


def test_a_document_whose_parser_is_killed_by_others_is_parsed_in_the_end(works: Works) -> None:
    document = works.upload(story("flamingos"))
    works.parser.kills = MOST_KILLS - 1
    for _ in range(MOST_KILLS):
        works.work()
        works.hurry()
    assert works.status(document).state is DocumentState.SEARCHABLE


def test_a_document_whose_parser_is_killed_every_time_fails_with_the_reason(works: Works) -> None:
    document = works.upload(story("flamingos"))
    works.parser.kills = MOST_KILLS
    while works.parser.kills:  # However many attempts come into one call: the pause after a kill is short.
        assert works.status(document).state is DocumentState.QUEUED
        works.hurry()
        works.work()
    status = works.status(document)
    assert (status.state, status.reason) == (DocumentState.FAILED, Reason.PARSER_OOM)
    works.hurry()
    works.work()
    assert len(works.parser.parsed) == MOST_KILLS


@pytest.mark.parametrize("error", [ModelUnavailable("Away."), StorageFull("Full.")])
def test_f7_what_may_come_back_is_waited_for_however_long(works: Works, error: Exception) -> None:
    document = works.upload(story("flamingos"))
    works.work_until(StageName.EMBED)
    works.wear(StageName.EMBED, MOST_ATTEMPTS - 1)

    def fail(_: Sequence[str], __: Vectors) -> Vectors:
        raise error

    works.embedder.spoil = fail
    for _ in range(3):
        works.hurry()
        works.work()
        assert works.status(document).state is DocumentState.QUEUED
    assert works.stage(document, StageName.EMBED).attempt == MOST_ATTEMPTS - 1

    works.embedder.spoil = None
    works.hurry()
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE


def test_leases_are_let_go_of_whatever_happens(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    works.upload(story("flamingos"))
    works.work_until(StageName.CHUNK)

    def refuse(*_: object) -> None:
        raise RuntimeError("not even that")

    monkeypatch.setattr(chunk_stage.ChunkStage, "_commit", refuse)
    with pytest.raises(RuntimeError):
        works.pipeline.run_chunk()

    assert works.held._stages == {}


def test_a_known_text_that_was_collected_meanwhile_is_replaced_by_the_one_just_made(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = works.upload(story("flamingos"))
    record = stages.record_stage_result
    inputs: list[str] = []

    def after_another(*arguments: object) -> str:
        session, tenant, input_hash, output = arguments
        inputs.append(str(input_hash))
        record(session, tenant, input_hash, "f" * 64)  # type: ignore[arg-type]  # passed on as they came
        return record(session, tenant, input_hash, output)  # type: ignore[arg-type]

    monkeypatch.setattr(parse_stage, "record_stage_result", after_another)
    works.work()

    assert works.status(document).state is DocumentState.SEARCHABLE
    with works.database.reading() as session:
        winner = stages.stage_result(session, TENANT, inputs[0])
    assert winner is not None
    assert works.blobs.path(TENANT, winner) is not None


def test_a_change_of_access_does_not_wait_for_the_batch(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    first = works.upload(story("flamingos"), "first.txt")
    works.work()
    for topic in ("tea", "coffee"):
        works.upload(story(topic), f"{topic}.txt")
    works.work_until(StageName.INDEX)
    order: list[str] = []
    upsert, set_access = works.index.upsert, works.index.set_access

    def noted_upsert(points: Sequence[object]) -> None:
        if not order:
            with works.database.transaction() as session:
                access.change_document_access(session, TENANT, first, allow=["user:bob"])
        order.append("document")
        upsert(points)  # type: ignore[arg-type]  # passed on as they came

    def noted_access(*arguments: object, **named: object) -> None:
        order.append("access")
        set_access(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(works.index, "upsert", noted_upsert)
    monkeypatch.setattr(works.index, "set_access", noted_access)
    works.loop.run_once()

    assert order == ["document", "access", "document"]


def test_a_loop_leaves_the_stages_of_other_indexes_alone(works: Works) -> None:
    document = works.upload(story("flamingos"))
    works.work_until(StageName.INDEX)
    works.loop._index_ids = (IndexId("another"),)
    assert works.loop.run_once() == 0
    works.loop._index_ids = (IndexId("works"),)
    works.loop.run_once()
    assert works.status(document).state is DocumentState.SEARCHABLE


def test_deaths_of_whole_workers_are_not_counted_as_the_parsers_own(works: Works) -> None:
    document = works.upload(story("flamingos"))
    works.wear(StageName.PARSE, 2 * MOST_KILLS)
    works.parser.kills = MOST_KILLS - 1
    while works.parser.kills:
        works.pipeline.run_parse()
        works.hurry()
        assert works.status(document).state is DocumentState.QUEUED
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.stage(document, StageName.PARSE).child_deaths == MOST_KILLS - 1


def test_a_reason_that_the_database_does_not_take_does_not_keep_the_document_from_failing(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = works.upload("!corrupt what it says")
    told: list[Reason] = []
    plainly = stages.fail

    def refuse(*arguments: object, **named: object) -> None:
        told.append(arguments[2])  # type: ignore[arg-type]  # a reason
        if len(told) == 1:
            raise ValueError("A string literal cannot contain NUL (0x00) characters.")  # As psycopg says.
        plainly(*arguments, **named)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(endings, "fail", refuse)
    works.work()
    assert told == [Reason.CORRUPT, Reason.INTERNAL]
    status = works.status(document)
    assert (status.state, status.reason) == (DocumentState.FAILED, Reason.INTERNAL)


def test_a_version_that_kills_the_index_is_given_up_and_harms_no_other(works: Works) -> None:
    poison = works.upload(story("krakens"), "poison.txt")
    innocent = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee")]
    works.work_until(StageName.INDEX)
    upsert = works.index.upsert

    def die(points: Sequence[IndexPoint]) -> None:
        if any(point.document == poison for point in points):
            raise Killed
        upsert(points)

    works.index.upsert = die  # type: ignore[method-assign]
    deaths = 0
    while True:
        try:
            works.loop.run_once()
            break
        except Killed:
            deaths += 1
            works.lapse()

    works.work()

    assert deaths == MOST_ATTEMPTS
    status = works.status(poison)
    assert (status.state, status.reason) == (DocumentState.FAILED, Reason.INTERNAL)
    assert {works.status(document).state for document in innocent} == {DocumentState.SEARCHABLE}
    assert {works.stage(document, StageName.INDEX).attempt for document in innocent} <= {SUSPECT_AFTER + 1}
