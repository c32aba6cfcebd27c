"""Chunks and vectors come back as they were stored, to their tenant alone."""

import dataclasses

import numpy as np
import pytest

from core.db import chunks, documents
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
