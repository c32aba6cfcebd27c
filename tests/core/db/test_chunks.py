"""Chunks and vectors come back as they were stored, to their tenant alone."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Executable, Row

from core.db import chunks, documents, purging
from core.db.session import Database
from core.domain import StageName
from core.ids import ChunkId
from tests.core.db.scenario import MODEL, OTHER, TENANT, Story, digest, some_chunks


def test_chunks_come_back_as_they_were_stored(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (claimed,) = story.claim()
    stored = [
        dataclasses.replace(chunk, header="T > One", page_first=None, page_last=None)
        for chunk in some_chunks(claimed, 5)
    ]
    hashes = [digest(chunk.embedded_text) for chunk in stored]
    with database.transaction() as session:
        chunks.replace_chunks(session, TENANT, claimed.version, some_chunks(claimed, 9), [digest("x")] * 9)
        chunks.replace_chunks(session, TENANT, claimed.version, stored, hashes)
    with database.reading() as session:
        assert chunks.chunks_of(session, TENANT, claimed.version) == list(zip(stored, hashes, strict=True))
        assert chunks.count_chunks(session, TENANT, claimed.version) == 5
        assert chunks.chunks_of(session, OTHER, claimed.version) == []
    assert story.status(claimed.document).chunks == 5


def test_tokens_are_told_as_they_were_counted_and_else_guessed_from_the_letters(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    story.upload("b.txt", "two")
    first, second = story.claim(limit=2)
    counted = [dataclasses.replace(chunk, tokens=7) for chunk in some_chunks(first, 3)]
    guessed = [dataclasses.replace(chunk, text="x" * 400, tokens=None) for chunk in some_chunks(second, 2)]
    with database.transaction() as session:
        for stage, some in ((first, counted), (second, guessed)):
            hashes = [digest(f"{stage.id}{chunk.ordinal}") for chunk in some]
            chunks.replace_chunks(session, TENANT, stage.version, some, hashes)
    with database.reading() as session:
        assert list(chunks.embedded_tokens(session, TENANT, first.version).values()) == [7, 7, 7]
        totals = chunks.token_totals(session, TENANT, [first.version, second.version])
        assert totals == {first.version: 21, second.version: 202}
        assert chunks.token_totals(session, OTHER, [first.version]) == {first.version: 0}


def test_a_hash_for_every_chunk_or_nothing(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (claimed,) = story.claim()
    with pytest.raises(ValueError, match="shorter"), database.transaction() as session:
        chunks.replace_chunks(session, TENANT, claimed.version, some_chunks(claimed, 2), ["x"])


def test_a_loaded_chunk_knows_its_document_and_whether_it_is_current(database: Database) -> None:
    story = Story.begin(database)
    story.upload("folder/a.txt")
    (claimed,) = story.claim(StageName.PARSE)
    story.do(claimed)
    (claimed,) = story.claim(StageName.CHUNK)
    story.do(claimed)
    wanted = [chunk.id for chunk in some_chunks(claimed, 3)]

    def current() -> set[bool]:
        with database.reading() as session:
            found = chunks.load_chunks(session, TENANT, wanted)
        assert set(found) == set(wanted)
        assert {(record.name, record.title) for record in found.values()} == {("folder/a.txt", "Title")}
        assert [found[one].chunk for one in wanted] == some_chunks(claimed, 3)
        return {record.current for record in found.values()}

    assert current() == {False}
    story.finish_everything()
    assert current() == {True}
    with database.reading() as session:
        assert chunks.load_chunks(session, OTHER, wanted) == {}
        assert chunks.load_chunks(session, TENANT, []) == {}
        assert chunks.load_chunks(session, TENANT, [ChunkId(claimed.document)]) == {}
    with database.transaction() as session:
        documents.delete(session, TENANT, claimed.document, "user:ann")
    assert current() == {False}


def test_many_chunks_are_loaded_at_once(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (claimed,) = story.claim()
    stored = some_chunks(claimed, 2_500)
    with database.transaction() as session:
        chunks.replace_chunks(session, TENANT, claimed.version, stored, [digest("x")] * 2_500)
    with database.reading() as session:
        assert len(chunks.load_chunks(session, TENANT, [chunk.id for chunk in stored])) == 2_500


def test_vectors_are_stored_once_per_tenant_and_model(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (claimed,) = story.claim()
    vectors = {digest(str(n)): np.random.default_rng(n).random(8, dtype=np.float32) for n in range(1_200)}
    with database.transaction() as session:
        chunks.replace_chunks(session, TENANT, claimed.version, some_chunks(claimed, 1_200), list(vectors))
        assert chunks.missing_embeddings(session, TENANT, MODEL, vectors) == set(vectors)
        chunks.put_embeddings(session, TENANT, MODEL, vectors)
        chunks.put_embeddings(session, TENANT, MODEL, {name: np.zeros(8, dtype=np.float32) for name in vectors})
        chunks.put_embeddings(session, TENANT, MODEL, {})
    with database.reading() as session:
        assert chunks.missing_embeddings(session, TENANT, MODEL, [*vectors, "new"]) == {"new"}
        assert chunks.missing_embeddings(session, TENANT, "other", ["0"]) == {"0"}
        found = chunks.embeddings_of(session, TENANT, MODEL, [*vectors, "new"])
        assert chunks.embeddings_of(session, OTHER, MODEL, vectors) == {}
    assert set(found) == set(vectors)
    assert all(np.array_equal(found[name], vector) for name, vector in vectors.items())
    assert {vector.dtype for vector in found.values()} == {np.dtype(np.float32)}


def test_a_vector_of_a_text_that_no_chunk_has_is_not_kept(database: Database) -> None:
    Story.begin(database)
    with database.transaction() as session:
        chunks.put_embeddings(session, TENANT, MODEL, {digest("gone"): np.ones(8, dtype=np.float32)})
        assert chunks.missing_embeddings(session, TENANT, MODEL, [digest("gone")]) == {digest("gone")}


def test_a_text_that_many_documents_have_is_read_once(database: Database) -> None:
    story = Story.begin(database)
    for number in range(40):
        story.upload(f"{number}.txt")
    claimed = story.claim(limit=40)
    stored = some_chunks(claimed[0], 3)
    texts = {digest(chunk.embedded_text): chunk.embedded_text for chunk in stored}
    with database.transaction() as session:
        for stage in claimed:
            copies = [
                dataclasses.replace(chunk, text=original.text, header=original.header)
                for chunk, original in zip(some_chunks(stage, 3), stored, strict=True)
            ]
            chunks.replace_chunks(session, TENANT, stage.version, copies, list(texts))
    read: list[object] = []
    with database.reading() as session, pytest.MonkeyPatch.context() as patch:
        execute = session.execute

        def noted(statement: Executable) -> list[Row[*tuple[Any, ...]]]:
            rows = list(execute(statement).all())
            read.extend(rows)
            return rows

        patch.setattr(session, "execute", noted)
        assert chunks.embedded_texts(session, TENANT, [*texts, digest("gone")]) == texts
        assert len(read) <= 2 * len(texts) + 1  # And not one for each of the forty documents.
        assert chunks.embedded_texts(session, OTHER, texts) == {}


def test_a_vector_stays_while_any_document_has_its_text_and_goes_with_the_last(database: Database) -> None:
    story = Story.begin(database)
    first, second = story.upload("first.txt"), story.upload("second.txt")
    text = digest("the same")
    claimed = story.claim()
    with database.transaction() as session:
        for stage in claimed:
            chunks.replace_chunks(session, TENANT, stage.version, some_chunks(stage, 1), [text])
        documents.delete(session, TENANT, first.document, "user:ann")
        documents.delete(session, TENANT, second.document, "user:ann")
    with database.transaction() as session:
        chunks.put_embeddings(session, TENANT, MODEL, {text: np.ones(8, dtype=np.float32)})
    left: set[str]
    for document, left in ((first.document, set()), (second.document, {text})):
        with database.transaction() as session:
            purging.purge_catalogue(session, TENANT, document)
            assert chunks.missing_embeddings(session, TENANT, MODEL, [text]) == left


@pytest.mark.slow
def test_the_purge_of_a_document_waits_for_the_vectors_of_its_texts(postgres_database: Database) -> None:
    """Of many chunks with one text one is locked; whichever it is, no vector outlives the last of them."""
    database = postgres_database
    story = Story.begin(database)
    both = [story.upload("first.txt"), story.upload("second.txt")]
    text = digest("the same")
    claimed = story.claim()
    with database.transaction() as session:
        for stage in claimed:
            chunks.replace_chunks(session, TENANT, stage.version, some_chunks(stage, 1), [text])
        for one in both:
            documents.delete(session, TENANT, one.document, "user:ann")

    def purge() -> None:
        for one in both:
            with database.transaction() as session:
                purging.purge_catalogue(session, TENANT, one.document)

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            chunks.put_embeddings(session, TENANT, MODEL, {text: np.ones(8, dtype=np.float32)})
            ended = pool.submit(purge)
            with pytest.raises(TimeoutError):
                ended.result(0.5)
        ended.result(30)
    with database.reading() as session:
        assert chunks.missing_embeddings(session, TENANT, MODEL, [text]) == {text}
