import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import deadletters, directory, documents, stages
from core.db.chunks import chunks_of, embeddings_of, replace_chunks
from core.db.tables import EmbeddingRow, StageRow
from core.domain import Chunk, DocumentState, Principal, Reason, Span, StageName
from core.errors import LeaseLost, ModelUnavailable, StorageFull
from core.ids import TenantId, VersionId, chunk_id
from core.intake import UploadRequest
from core.parsed import from_bytes
from ingestion import chunk_stage, embed_stage, endings, parse_stage
from ingestion.chunking import chunk_document, chunker_version
from ingestion.endings import MOST_ATTEMPTS
from ingestion.sandbox import ParsedResult
from retrieval.embedding.hashing import HashingTokenizer
from tests.ingestion.works import CHUNK_TOKENS, TENANT, Chunks, Killed, PlainParser, Works, plain_document, story

Vectors = NDArray[np.float32]
Step = Callable[[Works], object]

STEPS: dict[str, Step] = {
    "parse": lambda works: works.pipeline.run_parse(),
    "chunk": lambda works: works.pipeline.run_chunk(),
    "embed": lambda works: works.pipeline.run_embed(),
    "index": lambda works: works.loop.run_once(),
}


def _take_in(works: Works) -> None:
    for topic in ("flamingos", "glaciers", "teapots"):
        works.upload(story(topic), f"{topic}.txt")


def _expected_ids(works: Works) -> set[object]:
    """The ids that any run must give, computed from the versions alone."""
    chunker = chunker_version(max_tokens=32, overlap_tokens=0, tokenizer=works.embedder.id)
    return {
        chunk_id(TENANT, found.document, found.version, chunker, found.ordinal)
        for version in {row[0] for row in works.chunks().values()}
        for found, _ in _chunks_of(works, VersionId(version))
    }


def _chunks_of(works: Works, version: VersionId) -> list[tuple[Chunk, str]]:
    with works.database.reading() as session:
        return chunks_of(session, TENANT, version)


def _texts(chunks: Chunks) -> list[tuple[int, int, int, str]]:
    return sorted(row[1:] for row in chunks.values())


def _assert_as_if_run_once(works: Works) -> None:
    chunks = works.chunks()
    expected = [chunk for topic in ("flamingos", "glaciers", "teapots") for chunk in _drafts(story(topic))]
    assert _texts(chunks) == sorted(expected)
    assert set(chunks) == _expected_ids(works)
    assert works.points() == dict.fromkeys(chunks, 1)
    assert len(works.search("what is told of flamingos", user="ann")) == len(chunks)
    assert works.open_tasks() == 0


def _drafts(text: str) -> list[tuple[int, int, int, str]]:
    drafts = chunk_document(
        plain_document(text), name="x.txt", tokenizer=HashingTokenizer(), max_tokens=32, overlap_tokens=0
    )
    spans = [(draft.span.start, draft.span.end) for draft in drafts]
    return [(ordinal, start, end, text[start:end]) for ordinal, (start, end) in enumerate(spans)]


def test_what_is_uploaded_is_found_under_its_own_words(works: Works) -> None:
    document = works.upload(story("flamingos"))
    works.work()

    status = works.status(document)
    assert (status.state, status.stage, status.reason) == (DocumentState.SEARCHABLE, None, None)
    assert status.version == status.searchable_version
    assert status.pages == 1
    chunks = works.chunks()
    assert status.chunks == len(chunks) == len(works.points()) > 1
    assert all(text == story("flamingos")[start:end] for _, _, start, end, text in chunks.values())


def test_an_undisturbed_run_is_what_the_others_are_compared_with(works: Works) -> None:
    _take_in(works)
    works.work()

    _assert_as_if_run_once(works)


@pytest.mark.slow
@pytest.mark.parametrize("stage", StageName)
def test_a_stage_claimed_by_a_worker_that_died_is_done_by_the_next_one(works: Works, stage: StageName) -> None:
    _take_in(works)
    works.work_until(stage)
    with works.database.transaction() as session:  # A worker claims everything, and is never heard of again.
        assert stages.claim(session, [stage], owner="dead", limit=64, lease_seconds=60)
    works.work()
    assert works.points().total() == 0

    works.lapse()
    works.work()

    _assert_as_if_run_once(works)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_commit_leaves_what_the_next_start_completes(
    works: Works, step: str, moment: Literal["before", "after"]
) -> None:
    """Dies at the first commit of the step, after a restart at the second, and so on, until the step survives."""
    _take_in(works)
    for name, run in STEPS.items():
        if name == step:
            break
        run(works)
    deaths = 0
    while deaths < 20:
        try:
            with _dies_at_commit(works, survived=deaths, moment=moment):
                STEPS[step](works)
            break
        except Killed:
            deaths += 1
            works.restart()
    assert 0 < deaths < 20
    works.work()

    _assert_as_if_run_once(works)


@contextmanager
def _dies_at_commit(works: Works, *, survived: int, moment: Literal["before", "after"]) -> Iterator[None]:
    """Let the process die around the commit that follows so many survived ones."""
    transaction = works.database.transaction
    left = survived

    @contextmanager
    def mortal() -> Iterator[Session]:
        nonlocal left
        left -= 1
        dies = left < 0
        with transaction() as session:
            yield session
            if dies and moment == "before":
                raise Killed
        if dies:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(works.database, "transaction", mortal)
        yield


def test_a_kill_before_the_parsed_text_is_stored_parses_again(works: Works) -> None:
    _take_in(works)

    def die() -> None:
        raise Killed

    works.blobs.before_put = die
    with suppress(Killed):
        works.pipeline.run_parse()
    works.blobs.before_put = None
    works.restart()
    works.work()

    _assert_as_if_run_once(works)


def test_the_first_parse_of_some_bytes_counts_whatever_a_second_one_gives(works: Works) -> None:
    document = works.upload("The first reading.")
    with works.database.transaction() as session:
        (claimed,) = stages.claim(session, [StageName.PARSE], owner="slow", limit=1, lease_seconds=60)
    works.lapse()
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE

    works.parser.parse = lambda *_: pytest.fail("the text is known")  # type: ignore[method-assign]
    works.pipeline._endings.guarded(claimed, works.pipeline._parsing.parse)

    assert [text for *_, text in works.chunks().values()] == ["The first reading."]
    assert works.status(document).state is DocumentState.SEARCHABLE


@pytest.mark.parametrize("stage", [StageName.PARSE, StageName.CHUNK])
def test_f6_two_kills_and_a_new_parser_in_between_give_the_ids_of_an_undisturbed_run(
    works: Works, monkeypatch: pytest.MonkeyPatch, stage: StageName
) -> None:
    """Whatever the parser is by then, passages are slices of the text that was recorded, under the ids it gives."""
    _take_in(works)
    works.work_until(stage)
    for death, moment in enumerate(("before", "after")):
        with suppress(Killed), _dies_at_commit(works, survived=1, moment=moment):  # type: ignore[arg-type]  # literals
            STEPS[stage.value](works)
            pytest.fail("it lives")
        works.restart()
        # From here on another parser is installed, which reads a word more in every file.
        monkeypatch.setattr(parse_stage, "PARSER_VERSION", f"another-{death}")
        parse = PlainParser().parse
        monkeypatch.setattr(works.parser, "parse", lambda path, name, parse=parse: _with_a_word(parse(path, name)))
    works.work()

    chunks = works.chunks()
    assert set(chunks) == _expected_ids(works)
    assert works.points() == dict.fromkeys(chunks, 1)
    assert works.open_tasks() == 0
    with works.database.reading() as session:
        rows = session.execute(select(StageRow.version_id, StageRow.output_hash).where(StageRow.name == "parse"))
        parsed = {row.version_id: row.output_hash for row in rows}
    for version, _, start, end, text in chunks.values():
        recorded = from_bytes(works.blobs.read(TENANT, str(parsed[version]))).text
        assert recorded[start:end] == text
    if stage is StageName.CHUNK:  # The text was there: ids and passages are those of the first parser.
        _assert_as_if_run_once(works)


def _with_a_word(result: ParsedResult) -> ParsedResult:
    return ParsedResult(
        media_type=result.media_type, document=plain_document(f"{result.document.text} Another."), peak_rss=0
    )


def test_f9_a_worker_whose_lease_was_taken_over_changes_nothing(works: Works) -> None:
    """Neither while the other one works on the stage, nor when that one is done."""
    uploaded = works.upload(story("glaciers"))
    works.work_until(StageName.CHUNK)
    with works.database.transaction() as session:
        (slow,) = stages.claim(session, [StageName.CHUNK], owner="slow", limit=1, lease_seconds=60)
    works.lapse()
    with works.database.transaction() as session:
        (quick,) = stages.claim(session, [StageName.CHUNK], owner="quick", limit=1, lease_seconds=600)

    document = works.pipeline._chunking._parsed(slow)
    made = {slow.id: list(works.pipeline._chunking._chunks(slow, document, works.embedder.tokenizer))[:1]}
    works.pipeline._chunking._commit([slow], made)

    assert works.chunks() == {}
    stage = works.stage(uploaded, StageName.CHUNK)
    assert (stage.state, stage.lease_owner, stage.fence) == ("leased", "quick", quick.fence)

    works.lapse()
    works.work()
    before = works.chunks()
    assert len(before) > 1
    works.pipeline._chunking._commit([slow], made)

    assert works.chunks() == before
    assert works.points() == dict.fromkeys(before, 1)


def test_the_same_bytes_under_two_names_are_parsed_and_embedded_once(works: Works) -> None:
    works.upload(story("teapots"), "one.txt")
    works.work()
    calls, parses = len(works.embedder.calls), len(works.parser.parsed)
    second = works.upload(story("teapots"), "two.txt")
    works.work()

    assert works.status(second).state is DocumentState.SEARCHABLE
    assert len(works.parser.parsed) == parses
    assert len(works.embedder.calls) == calls


def test_a_known_text_whose_bytes_are_gone_is_parsed_again(works: Works) -> None:
    first = works.upload(story("teapots"), "one.txt")
    works.work()
    (parsed_hash,) = {works.stage(first, StageName.PARSE).output_hash}
    assert parsed_hash is not None
    works.blobs.delete(TENANT, parsed_hash)
    second = works.upload(story("teapots"), "two.txt")
    works.work()

    assert works.status(second).state is DocumentState.SEARCHABLE
    assert works.parser.parsed == ["one.txt", "two.txt"]


@pytest.mark.parametrize("reason", [Reason.UNSUPPORTED, Reason.ENCRYPTED, Reason.PARSER_TIMEOUT])
def test_a_parse_failure_ends_failed_with_its_reason_and_harms_no_other_document(works: Works, reason: Reason) -> None:
    bad = works.upload(f"!{reason} page 3 is at fault", "bad.txt")
    good = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee")]
    works.work()

    status = works.status(bad)
    assert (status.state, status.stage, status.reason) == (DocumentState.FAILED, StageName.PARSE, reason)
    assert "page 3 is at fault" in str(status.detail)
    assert {works.status(document).state for document in good} == {DocumentState.SEARCHABLE}
    assert works.parser.parsed.count("bad.txt") == 1  # A verdict on the file itself is not asked for twice.


def test_a_document_without_text_fails_as_such(works: Works) -> None:
    empty = works.upload(" \n\n ", "blank.txt")
    good = works.upload(story("tea"), "tea.txt")
    works.work()

    status = works.status(empty)
    assert (status.state, status.stage, status.reason) == (DocumentState.FAILED, StageName.CHUNK, Reason.NO_TEXT)
    assert works.status(good).state is DocumentState.SEARCHABLE


@pytest.mark.usefixtures("no_hurry")
def test_a_parser_that_throws_something_unknown_is_tried_again_and_then_given_up(works: Works) -> None:
    document = works.upload("Content.", "odd.txt")
    works.parser.parse = _raise(RuntimeError("odd"))  # type: ignore[method-assign]
    works.pipeline.run_parse()
    stage = works.stage(document, StageName.PARSE)
    assert (stage.state, stage.reason, stage.detail, stage.attempt) == ("queued", "internal", "RuntimeError", 1)
    assert works.pipeline.run_parse() == 0  # Not at once.

    works.wear(StageName.PARSE, MOST_ATTEMPTS - 1)
    works.hurry()
    works.pipeline.run_parse()

    status = works.status(document)
    assert (status.state, status.stage, status.reason) == (DocumentState.FAILED, StageName.PARSE, Reason.INTERNAL)


def test_a_blob_that_is_missing_is_told_and_harms_no_other_document(works: Works) -> None:
    lost = works.upload(story("lost"), "lost.txt")
    good = works.upload(story("found"), "found.txt")
    works.blobs.delete(TENANT, str(works.stage(lost, StageName.PARSE).input_hash))
    works.work()

    assert works.stage(lost, StageName.PARSE).detail == "FileNotFoundError"
    assert works.status(good).state is DocumentState.SEARCHABLE


def _raise(error: Exception) -> Callable[..., Any]:
    def call(*_: object) -> NoReturn:
        raise error

    return call


def _not_a_number(_: Sequence[str], vectors: Vectors) -> Vectors:
    return np.where(np.arange(vectors.shape[1]) == 3, np.nan, vectors).astype(np.float32)


BAD_VECTORS: dict[str, Callable[[Sequence[str], Vectors], Vectors]] = {
    "raises": _raise(ValueError("no")),
    "is away": _raise(ModelUnavailable("The model is away.")),
    "not a number": _not_a_number,
    "infinite": lambda _, vectors: vectors * np.float32(np.inf),
    "too narrow": lambda _, vectors: vectors[:, :-1],
    "flat": lambda _, vectors: vectors.ravel(),
    "too few": lambda _, vectors: vectors[:-1],
    "too many": lambda _, vectors: np.vstack([vectors, vectors[:1]]),
}


@pytest.mark.parametrize("kind", BAD_VECTORS)
def test_f7_vectors_that_are_none_are_refused_and_the_document_tried_again(works: Works, kind: str) -> None:
    document = works.upload(story("flamingos"))
    works.embedder.spoil = BAD_VECTORS[kind]
    works.work()

    stage = works.stage(document, StageName.EMBED)
    assert (stage.state, stage.reason) == ("queued", "embedder_failed")
    assert (stage.attempt > 0) == (kind != "is away")
    assert stage.detail
    assert works.points().total() == 0
    with works.database.reading() as session:
        hashes = [text_hash for _, text_hash in chunks_of(session, TENANT, VersionId(stage.version_id))]
        assert embeddings_of(session, TENANT, works.embedder.id, hashes) == {}

    works.embedder.spoil = None
    works.hurry()
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.points() == dict.fromkeys(works.chunks(), 1)


@pytest.mark.slow
def test_f7_an_embedder_with_every_fault_in_turn_leaves_no_passage_without_a_true_vector(
    works: Works, chance: random.Random
) -> None:
    """Saturation (429), defects (500), time-outs and vectors that are none, in any order, while documents come in."""
    faults = {
        **BAD_VECTORS,
        "saturated": _raise(ModelUnavailable("429: too many requests.", retry_after=1.0)),
        "internal": _raise(ModelUnavailable("500: internal error.")),
        "late": _raise(TimeoutError("60 s")),
        "cut off": _raise(ConnectionResetError("reset by peer")),
    }
    order = chance.sample(sorted(faults), len(faults))
    taken_in = [works.upload(story(f"topic {number}"), f"{number}.txt") for number in range(3)]
    for kind in order:
        asked = len(works.embedder.calls)
        works.embedder.spoil = faults[kind]
        works.restart()  # Nobody remembers that it was to be left alone for a while.
        works.hurry()
        works.work()
        assert len(works.embedder.calls) > asked
        assert {works.status(document).state for document in taken_in} == {DocumentState.QUEUED}, kind
        assert works.points().total() == 0
        assert _vectors(works) == []
        taken_in.append(works.upload(story(f"later {kind}"), f"{kind}.txt"))
    assert works.stage(taken_in[0], StageName.EMBED).reason == "embedder_failed"
    works.embedder.spoil = None
    works.restart()
    works.hurry()
    works.work()

    assert {works.status(document).state for document in taken_in} == {DocumentState.SEARCHABLE}
    assert works.points() == dict.fromkeys(works.chunks(), 1)
    assert len(_vectors(works)) == len({text for *_, text in works.chunks().values()})
    assert all(vector.shape == (works.embedder.dim,) and np.isfinite(vector).all() for vector in _vectors(works))


def _vectors(works: Works) -> list[NDArray[np.float32]]:
    with works.database.reading() as session:
        return [np.frombuffer(row, dtype=np.float32) for row in session.scalars(select(EmbeddingRow.vector))]


@pytest.mark.slow
@pytest.mark.usefixtures("no_hurry")
def test_an_embedder_that_never_works_ends_in_failure_and_can_be_retried(works: Works) -> None:
    document = works.upload(story("flamingos"))
    works.embedder.spoil = BAD_VECTORS["not a number"]
    works.work()
    for _ in range(MOST_ATTEMPTS - 1):
        assert works.status(document).state is DocumentState.QUEUED
        works.hurry()
        works.work()

    status = works.status(document)
    assert (status.state, status.stage, status.reason) == (
        DocumentState.FAILED,
        StageName.EMBED,
        Reason.EMBEDDER_FAILED,
    )
    assert "not finite" in str(status.detail)

    works.embedder.spoil = None
    with works.database.transaction() as session:
        assert documents.retry(session, TENANT, document)
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE


def test_one_text_that_the_model_cannot_take_harms_no_other_document(works: Works) -> None:
    bad = works.upload(story("krakens"), "bad.txt")
    good = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee")]

    def spoil(texts: Sequence[str], vectors: Vectors) -> Vectors:
        if any("krakens" in text for text in texts):
            raise RuntimeError("krakens")
        return vectors

    works.embedder.spoil = spoil
    works.work()

    assert works.stage(bad, StageName.EMBED).reason == "embedder_failed"
    assert {works.status(document).state for document in good} == {DocumentState.SEARCHABLE}
    assert {works.stage(document, StageName.EMBED).attempt for document in good} == {1}


@pytest.mark.usefixtures("no_hurry")
def test_a_model_that_is_away_is_asked_once_per_batch(works: Works) -> None:
    for topic in ("tea", "coffee", "milk"):
        works.upload(story(topic), f"{topic}.txt")
    works.embedder.spoil = BAD_VECTORS["is away"]
    works.work()

    assert len(works.embedder.calls) == 1


def test_texts_of_many_documents_are_embedded_together_and_sorted_by_their_tokens(works: Works) -> None:
    for number in range(6):
        works.upload(story(f"topic {'x' * number}"), f"{number}.txt")
    works.work()

    (texts,) = works.embedder.calls
    assert len(texts) > 6
    tokens = works.embedder.tokenizer.count(texts)
    assert tokens == sorted(tokens)


def test_a_kill_between_two_embedding_slices_keeps_the_first(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_stage, "SLICE_TOKENS", 8 * CHUNK_TOKENS)
    document = works.upload(story("flamingos", 16))
    works.work_until(StageName.EMBED)

    def die_at_the_second(texts: Sequence[str], vectors: Vectors) -> Vectors:
        if list(texts) != works.embedder.calls[0]:  # Two are under way at once, whichever comes first.
            raise Killed
        return vectors

    works.embedder.spoil = die_at_the_second
    with suppress(Killed):
        works.pipeline.run_embed()
    first = set(works.embedder.calls[0])
    assert len(first) >= 8
    works.embedder.spoil = None
    works.restart()
    works.work()

    assert works.status(document).state is DocumentState.SEARCHABLE
    assert not first & {text for call in works.embedder.calls[2:] for text in call}
    assert works.points() == dict.fromkeys(works.chunks(), 1)


def test_a_document_deleted_while_it_is_embedded_leaves_nothing(works: Works) -> None:
    document = works.upload(story("secrets"))
    works.work_until(StageName.EMBED)

    def delete(_: Sequence[str], vectors: Vectors) -> Vectors:
        works.delete(document)
        works.loop.run_once()
        return vectors

    works.embedder.spoil = delete
    works.work()

    assert works.status(document).state is DocumentState.DELETED
    assert works.chunks() == {}
    assert works.points().total() == 0


def test_chunks_that_the_database_refuses_harm_no_other_document(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = works.upload(story("krakens"), "bad.txt")
    good = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee")]

    def refuse(session: Session, tenant: str, version: VersionId, chunks: Sequence[Chunk], *rest: object) -> None:
        if any("krakens" in chunk.text for chunk in chunks):
            raise ValueError("a row that cannot be written")
        replace_chunks(session, tenant, version, chunks, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(chunk_stage, "replace_chunks", refuse)
    works.work()

    stage = works.stage(bad, StageName.CHUNK)
    assert (stage.state, stage.reason, stage.detail) == ("queued", "internal", "ValueError")
    assert {works.status(document).state for document in good} == {DocumentState.SEARCHABLE}


def test_a_full_disk_postpones_the_whole_batch_and_loses_nothing(works: Works) -> None:
    _take_in(works)

    def full() -> None:
        raise StorageFull("The disk is full.")

    works.blobs.before_put = full
    works.work()
    assert works.points().total() == 0
    works.blobs.before_put = None
    works.hurry()
    works.work()

    _assert_as_if_run_once(works)


def test_a_stage_whose_end_cannot_be_written_is_not_kept_leased(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its heartbeat would go on for ever, and with it those of the rest of the batch."""
    for number in range(5):
        works.upload("!corrupt", f"{number}.txt")
    with monkeypatch.context() as patch:
        patch.setattr(endings, "fail", _raise(StorageFull("The disk is full.")))
        assert works.pipeline.run_parse() == 5
    assert works.held._stages == {}
    works.lapse()
    works.work()

    with works.database.reading() as session:
        assert not stages.has_open(session, list(StageName))


def test_a_stage_whose_workers_always_die_is_given_up(works: Works) -> None:
    document = works.upload(story("killers"))
    works.wear(StageName.PARSE, MOST_ATTEMPTS)
    works.work()

    status = works.status(document)
    assert (status.state, status.stage, status.reason) == (DocumentState.FAILED, StageName.PARSE, Reason.INTERNAL)
    assert f"died {MOST_ATTEMPTS} times" in str(status.detail)
    assert works.parser.parsed == []
    assert works.held._stages == {}


def test_leases_are_held_while_a_stage_is_worked_on_and_not_after(works: Works) -> None:
    seen: list[int] = []
    works.upload(story("tea"))

    def look(_: Sequence[str], vectors: Vectors) -> Vectors:
        seen.append(len(works.held._stages))
        return vectors

    works.embedder.spoil = look
    works.work()

    assert seen == [1]
    assert works.held._stages == {}


def test_losing_the_lease_is_no_failure(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    document = works.upload(story("tea"))

    def lost(*_: object, **__: object) -> None:
        raise LeaseLost("gone")

    with monkeypatch.context() as patch:
        patch.setattr(parse_stage, "finish", lost)
        works.pipeline.run_parse()
    stage = works.stage(document, StageName.PARSE)
    assert (stage.state, stage.reason) == ("leased", None)


def test_a_chunk_is_the_slice_of_the_text_that_its_span_names(works: Works) -> None:
    text = story("ligatures ﬁ and emoji 👩‍🚀 and combining é", 6)
    works.upload(text)
    works.work()

    with works.database.reading() as session:
        versions = {VersionId(row[0]) for row in works.chunks().values()}
        chunks = [chunk for version in versions for chunk, _ in chunks_of(session, TENANT, version)]
    assert chunks
    for chunk in chunks:
        assert chunk.span == Span(start=chunk.span.start, end=chunk.span.start + len(chunk.text))
        assert chunk.text == text[chunk.span.start : chunk.span.end]
        assert chunk.page_first == chunk.page_last == 1


@pytest.mark.slow
def test_work_of_two_tenants_is_kept_apart(works: Works) -> None:
    other = TenantId("elsewhere")
    with works.database.transaction() as session:
        directory.add_tenant(session, other)
    neighbour = Principal(tenant=other, closure=frozenset({"user:ann"}), user="ann", role="editor")
    works.upload(story("tea"))
    works.intake.upload(neighbour, UploadRequest(name="a.txt", source="files"), story("tea").encode())
    works.work()

    tenants = [stored.tenant for stored in works.index.stored()]
    assert tenants.count(TENANT) == tenants.count(other) > 0
    assert len(works.parser.parsed) == 2  # Deduplication across tenants would tell who owns what.
    assert len(works.embedder.calls) == 2


def test_what_a_parser_says_of_a_failure_is_kept_with_the_stage(works: Works) -> None:
    at_a_page = works.upload("!corrupt@3 damaged", "bad.txt")
    nowhere = works.upload("!empty nothing", "empty.txt")
    works.work()

    stage = works.stage(at_a_page, StageName.PARSE)
    assert (stage.page, stage.excerpt, stage.attempt) == (3, "  a.parser, line 1, in parse", 1)
    assert stage.finished_at is not None
    assert works.stage(nowhere, StageName.PARSE).page is None


@pytest.mark.parametrize("name", [StageName.PARSE, StageName.CHUNK, StageName.EMBED])
def test_what_breaks_on_our_side_leaves_an_excerpt_of_where_and_no_word_of_the_document(
    works: Works, monkeypatch: pytest.MonkeyPatch, name: StageName
) -> None:
    text = story("the secret sum that the director earns")
    document = works.upload(text, "odd.txt")
    works.work_until(name)
    works.wear(name, MOST_ATTEMPTS - 1)

    def burst(*_: object, **__: object) -> NoReturn:
        raise RuntimeError(text)

    monkeypatch.setattr(works.parser, "parse", burst)
    monkeypatch.setattr(chunk_stage, "chunk_document", burst)
    monkeypatch.setattr(works.embedder, "embed_documents", burst)
    works.work()

    stage = works.stage(document, name)
    assert stage.state == "failed"
    lines = str(stage.excerpt).splitlines()
    assert lines[-1] == "RuntimeError"
    assert lines[-2].startswith("  tests.ingestion.test_pipeline, line ")
    assert lines[-2].endswith(", in burst")
    assert any(line.startswith(f"  ingestion.{name}_stage, line ") for line in lines)
    assert "secret" not in f"{stage.excerpt} {stage.detail}"


def test_a_replayed_document_is_judged_anew_however_often_its_worker_died_of_it(works: Works) -> None:
    document = works.upload(story("krakens"))
    works.work_until(StageName.EMBED)
    works.wear(StageName.EMBED, MOST_ATTEMPTS)
    works.work()
    assert works.status(document).state is DocumentState.FAILED
    parsed = len(works.parser.parsed)

    with works.database.transaction() as session:
        assert deadletters.replay(session, works.principal("ann"), document).replayed == 1
    works.work()

    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.stage(document, StageName.EMBED).attempt == 1
    assert len(works.parser.parsed) == parsed  # What was done is not done again.
    assert works.stage(document, StageName.PARSE).attempt == 1
