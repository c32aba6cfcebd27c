"""A catalogue and an index filled without parsers and models: random unit vectors, for figures of many chunks."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.blobs import DirectoryBlobs
from core.db import directory, releases
from core.db.chunks import put_embeddings, replace_chunks
from core.db.session import Database, sqlite_url
from core.db.stages import ClaimedStage, Finished, VersionFacts, claim, finish_many
from core.domain import EVERYONE, Chunk, Principal, Span, StageName
from core.ids import DEFAULT_TENANT, DocumentId, IndexId, chunk_id
from core.intake import Intake, UploadRequest
from ingestion.indexing import IndexLoop

MODEL = "random"
WORDS = ("holiday", "contract", "engine", "river", "salary", "garden", "window", "planet")
AT_ONCE = 100


def uploader() -> Principal:
    """Return who uploads everything."""
    return Principal(tenant=DEFAULT_TENANT, closure=frozenset({"user:filler", EVERYONE}), user="filler", role="editor")


def open_catalogue(folder: Path, index: IndexId) -> Database:
    """Make a catalogue in the folder, with the uploader and a release that serves the index."""
    database = Database(sqlite_url(folder))
    database.upgrade()
    with database.transaction() as session:
        directory.add_tenant(session, DEFAULT_TENANT)
        directory.add_user(session, DEFAULT_TENANT, "filler")
        releases.ensure_live_release(session, index, {})
    return database


def fill(
    database: Database,
    blobs: DirectoryBlobs,
    loop: IndexLoop,
    *,
    documents: int,
    chunks: int,
    dim: int,
    allow: Sequence[str],
) -> list[DocumentId]:
    """Take in so many documents of so many chunks each, all the way into the index; return their ids."""
    intake = Intake(database=database, blobs=blobs, max_bytes=1_000_000)
    rng = np.random.default_rng(7)
    ids: list[DocumentId] = []
    for start in range(0, documents, AT_ONCE):
        for number in range(start, min(start + AT_ONCE, documents)):
            request = UploadRequest(name=f"{number}.txt", source="filling", allow=list(allow))
            ids.append(intake.upload(uploader(), request, f"file {number}".encode()).document)
        for name in (StageName.PARSE, StageName.CHUNK, StageName.EMBED):
            _end_all(database, name, chunks, dim, rng)
        while loop.run_once():
            pass
    return ids


def _end_all(database: Database, name: StageName, chunks: int, dim: int, rng: np.random.Generator) -> None:
    while True:
        with database.transaction() as session:
            stages = claim(session, [name], owner="filler", limit=AT_ONCE, lease_seconds=600)
            facts = VersionFacts(media_type="text/plain", title="Filler", page_count=1)
            ends = [
                Finished(stage=stage, output_hash=_hash(f"{name} {stage.version}"), facts=facts) for stage in stages
            ]
            finish_many(session, ends)
            for stage in stages if name is StageName.CHUNK else ():
                made = [_chunk(stage, ordinal) for ordinal in range(chunks)]
                hashes = [_hash(str(chunk.id)) for chunk in made]
                replace_chunks(session, stage.tenant, stage.version, made, hashes)
                drawn = rng.normal(size=(chunks, dim)).astype(np.float32)
                drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
                put_embeddings(session, stage.tenant, MODEL, dict(zip(hashes, drawn, strict=True)))
        if not stages:
            return


def _chunk(stage: ClaimedStage, ordinal: int) -> Chunk:
    text = f"{WORDS[ordinal % len(WORDS)]} {WORDS[(ordinal // 3) % len(WORDS)]} passage {ordinal}"
    return Chunk(
        id=chunk_id(stage.tenant, stage.document, stage.version, "filling", ordinal),
        tenant=stage.tenant,
        document=stage.document,
        version=stage.version,
        ordinal=ordinal,
        span=Span(start=ordinal * 100, end=ordinal * 100 + len(text)),
        text=text,
        page_first=1,
        page_last=1,
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
