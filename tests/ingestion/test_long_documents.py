"""A long document comes to the same as if it were short, beside the others, and gives way when told to."""

import threading
import time
from collections.abc import Callable
from itertools import count

import pytest

from core.db import directory
from core.db.chunks import add_chunks
from core.db.stages import SUSPECT_AFTER
from core.domain import DocumentState, Principal, StageName
from core.ids import DocumentId, TenantId
from core.intake import UploadRequest
from ingestion import chunk_stage, embed_stage, indexing, long_documents
from retrieval.embedding.hashing import HashingTokenizer
from tests.ingestion.works import CHUNK_TOKENS, Chunks, Works, story

LONG = story("whales", 60)


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything that is bound be bound so tightly that sixty paragraphs are many slices."""
    monkeypatch.setattr(chunk_stage, "LONG_CHARS", 2_000)
    monkeypatch.setattr(chunk_stage, "CHUNKS_AT_ONCE", 7)
    monkeypatch.setattr(embed_stage, "TURN_TOKENS", 10 * CHUNK_TOKENS)
    monkeypatch.setattr(embed_stage, "SLICE_TOKENS", 4 * CHUNK_TOKENS)
    monkeypatch.setattr(indexing, "CHUNKS_AT_ONCE", 5)


def _work(works: Works) -> None:
    deadline = time.monotonic() + 120
    more = True
    while more and time.monotonic() < deadline:
        busy = works.pipeline.busy  # Asked first: who ends during the step leaves work behind.
        more = bool(works.step()) or busy
        time.sleep(0.001)


def _shape(chunks: Chunks) -> list[tuple[int, int, int, str]]:
    return sorted((ordinal, start, end, text) for _, ordinal, start, end, text in chunks.values())


def test_slices_come_to_the_same_as_the_whole(works: Works, request: pytest.FixtureRequest) -> None:
    whole = works.upload(LONG, "whole.txt")
    works.work()
    undisturbed = _shape(works.chunks())
    output = works.stage(whole, StageName.CHUNK).output_hash
    ids = set(works.chunks())
    with works.database.transaction() as session:
        stage = works.stage(whole, StageName.CHUNK)
        session.merge(stage)
        stage = session.merge(stage)
        stage.state, stage.attempt = "queued", 0
    request.getfixturevalue("small_limits")
    _work(works)

    again = works.stage(whole, StageName.CHUNK)
    assert (again.state, again.output_hash) == ("done", output)
    assert (_shape(works.chunks()), set(works.chunks())) == (undisturbed, ids)
    assert len(undisturbed) > 50


@pytest.mark.usefixtures("small_limits")
def test_a_long_document_becomes_searchable_in_slices(works: Works) -> None:
    document = works.upload(LONG)
    _work(works)
    status = works.status(document)
    assert (status.state, status.chunks) == (DocumentState.SEARCHABLE, len(works.chunks()))
    assert works.points() == dict.fromkeys(works.chunks(), 1)
    assert works.stage(document, StageName.EMBED).attempt <= 1  # A turn that ended was no attempt.
    assert len(works.embedder.calls) > 10


class _Gate(HashingTokenizer):
    """Reads nothing of a text about whales until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def offsets(self, text: str) -> list[tuple[int, int]]:
        if "whales" in text:
            self.reached.set()
            assert self.opened.wait(240)
        return super().offsets(text)


def _with(works: Works, tokenizer: HashingTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(works.embedder), "tokenizer", property(lambda _: tokenizer))


@pytest.mark.slow
@pytest.mark.usefixtures("small_limits")
def test_short_documents_do_not_wait_for_a_long_one(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = _Gate()
    _with(works, gate, monkeypatch)
    long, second = works.upload(LONG, "long.txt"), works.upload(LONG + "\n\nThe end.", "second.txt")
    short = works.upload(story("tea", 2), "short.txt")
    for _ in range(3):
        works.step()

    assert gate.reached.wait(60)
    assert works.pipeline.busy
    assert works.status(short).state is DocumentState.SEARCHABLE
    assert works.stage(long, StageName.CHUNK).state == "leased"
    assert works.stage(second, StageName.CHUNK).state == "queued"  # One at a time: they are large.
    assert works.stage(second, StageName.CHUNK).attempt == 0
    gate.opened.set()
    _work(works)
    assert {works.status(one).state for one in (long, second)} == {DocumentState.SEARCHABLE}


@pytest.mark.slow
@pytest.mark.usefixtures("small_limits")
def test_a_long_document_is_given_back_when_the_worker_ends(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = _Gate()
    _with(works, gate, monkeypatch)
    document = works.upload(LONG)
    works.pipeline.run_parse()
    works.pipeline.run_chunk()
    assert gate.reached.wait(60)
    monkeypatch.setattr(long_documents, "_PATIENCE_SECONDS", 60.0)
    stopping = works.pipeline._chunking._beside._stopping

    def open_gate() -> None:
        if stopping.wait(60):  # Opened before, the document might be done when it is asked for back.
            gate.opened.set()

    opening = threading.Thread(target=open_gate)
    opening.start()
    works.pipeline.close()
    opening.join()

    stage = works.stage(document, StageName.CHUNK)
    assert (stage.state, stage.attempt) == ("queued", 0)
    works.pipeline = works.new_pipeline("worker-2")
    _work(works)
    assert works.status(document).state is DocumentState.SEARCHABLE


@pytest.mark.usefixtures("small_limits")
def test_a_long_document_that_is_deleted_meanwhile_leaves_nothing(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = add_chunks
    document = works.upload(LONG)
    deleting = threading.Thread(target=works.delete, args=(document,))  # It waits for the slice that is being written.

    def delete_once(*arguments: object) -> None:
        added(*arguments)  # type: ignore[arg-type]
        if deleting.ident is None:
            deleting.start()

    monkeypatch.setattr(chunk_stage, "add_chunks", delete_once)
    _work(works)
    deleting.join()
    _work(works)
    assert (works.chunks(), works.points().total()) == ({}, 0)


@pytest.mark.usefixtures("small_limits")
def test_a_suspect_is_chunked_while_nothing_else_runs(works: Works) -> None:
    document = works.upload(LONG)
    works.pipeline.run_parse()
    works.wear(StageName.CHUNK, SUSPECT_AFTER)
    works.pipeline.run_chunk()
    assert works.stage(document, StageName.CHUNK).state == "done"  # And not beside.


@pytest.mark.slow
@pytest.mark.usefixtures("small_limits")
def test_a_kill_between_two_slices_leaves_what_the_next_attempt_completes(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    added, left = add_chunks, [2]

    def die(*arguments: object) -> None:
        if not left[0]:
            monkeypatch.setattr(chunk_stage, "add_chunks", added)
            raise RuntimeError("the process dies")
        left[0] -= 1
        added(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(chunk_stage, "add_chunks", die)
    document = works.upload(LONG)
    works.pipeline.run_parse()
    works.pipeline.run_chunk()
    works.pipeline.wait()
    assert len(works.chunks()) == 14
    works.hurry()
    _work(works)
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert [ordinal for ordinal, *_ in _shape(works.chunks())] == list(range(len(works.chunks())))


def test_the_first_is_never_passed_over_and_the_rest_of_a_turn_is_given_back_unattempted(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_stage, "TURN_TOKENS", 200)  # One of them has 184.
    names = [works.upload(story(topic, 4), f"{topic}.txt") for topic in ("tea", "coffee", "cocoa")]
    works.work_until(StageName.EMBED)
    works.pipeline.run_embed()
    assert [works.stage(one, StageName.EMBED).state for one in names] == ["done", "queued", "queued"]
    assert [works.stage(one, StageName.EMBED).attempt for one in names] == [1, 0, 0]
    works.work()
    assert {works.status(one).state for one in names} == {DocumentState.SEARCHABLE}


def _wait(works: Works, chunked: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not chunked():
        assert time.monotonic() < deadline
        works.pipeline.run_chunk()
        time.sleep(0.001)


@pytest.mark.slow
@pytest.mark.usefixtures("small_limits")
def test_long_documents_wait_as_old_as_they_are_and_cost_no_write_while_they_wait(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = _Gate()
    _with(works, gate, monkeypatch)
    documents = [works.upload(f"{LONG}\n\nThe end of {number}.", f"{number}.txt") for number in range(6)]
    for _ in range(2):
        works.pipeline.run_parse()
    before = [works.stage(one, StageName.CHUNK).ready_at for one in documents]
    works.pipeline.run_chunk()
    assert gate.reached.wait(60)
    waiting = [works.stage(one, StageName.CHUNK) for one in documents[1:]]
    assert {(stage.state, stage.attempt) for stage in waiting} == {("queued", 0)}
    assert [stage.ready_at for stage in waiting] == before[1:]
    fences = [stage.fence for stage in waiting]
    assert [works.pipeline.run_chunk() for _ in range(20)] == [0] * 20
    assert [works.stage(one, StageName.CHUNK).fence for one in documents[1:]] == fences == [1] * 5
    gate.opened.set()
    order: list[DocumentId] = []

    def chunked() -> bool:
        order.extend(one for one in documents if one not in order and works.stage(one, StageName.CHUNK).state == "done")
        return len(order) == len(documents)

    _wait(works, chunked)
    assert order == documents  # The oldest first.


@pytest.mark.usefixtures("small_limits")
def test_one_long_document_does_not_wait_behind_those_of_another_tenant(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it when its tenant is busy with short ones all the time."""
    other = TenantId("elsewhere")
    with works.database.transaction() as session:
        directory.add_tenant(session, other)
    neighbour = Principal(tenant=other, closure=frozenset({"user:ann"}), user="ann", role="editor")

    def upload(name: str, text: str) -> DocumentId:
        request = UploadRequest(name=name, source="files")
        return works.intake.upload(neighbour, request, text.encode()).document

    gate = _Gate()
    _with(works, gate, monkeypatch)
    archive = [works.upload(f"{LONG}\n\nThe end of {number}.", f"{number}.txt") for number in range(6)]
    single = upload("single.txt", LONG)
    for _ in range(2):
        works.pipeline.run_parse()
    works.pipeline.run_chunk()
    assert gate.reached.wait(60)
    shorts = count()

    def chunked() -> bool:
        upload(f"short-{next(shorts)}.txt", story("tea", 2))
        works.pipeline.run_parse()
        return works.stage(single, StageName.CHUNK).state == "done"

    gate.opened.set()
    _wait(works, chunked)
    done = [one for one in archive if works.stage(one, StageName.CHUNK).state == "done"]
    assert len(done) <= 2


def test_the_place_beside_is_free_again_when_no_thread_could_be_started(
    works: Works, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("small_limits")
    document = works.upload(LONG)
    works.pipeline.run_parse()
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "long-document":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        works.pipeline.run_chunk()
        assert not works.pipeline.busy
        assert works.held._stages == {}
        stage = works.stage(document, StageName.CHUNK)
        assert (stage.state, stage.attempt, stage.reason) == ("queued", 0, "internal")  # It was no attempt.
    works.hurry()
    _work(works)
    assert works.status(document).state is DocumentState.SEARCHABLE


def test_a_document_with_many_passages_does_not_wait_for_the_next_one(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_stage, "COMMIT_CHUNKS", 20)
    gate = _Gate()
    _with(works, gate, monkeypatch)
    first = works.upload(story("glaciers", 40), "first.txt")
    second = works.upload(story("whales", 4), "second.txt")
    works.pipeline.run_parse()
    chunking = threading.Thread(target=works.pipeline.run_chunk)
    chunking.start()
    assert gate.reached.wait(60)
    states = [works.stage(one, StageName.CHUNK).state for one in (first, second)]
    gate.opened.set()
    chunking.join()
    assert states == ["done", "leased"]
