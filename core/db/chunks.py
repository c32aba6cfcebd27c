"""Chunks and the vectors of their texts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from core.db.inserting import insert_missing
from core.db.tables import ChunkRow, DocumentRow, EmbeddingRow, VersionRow
from core.domain import Chunk, Span
from core.ids import ChunkId, DocumentId, TenantId, VersionId

BATCH = 1_000  # Bound values per statement.

_COLUMNS = (
    ChunkRow.id,
    ChunkRow.document_id,
    ChunkRow.version_id,
    ChunkRow.ordinal,
    ChunkRow.start_offset,
    ChunkRow.end_offset,
    ChunkRow.page_first,
    ChunkRow.page_last,
    ChunkRow.headings,
    ChunkRow.header,
    ChunkRow.text,
)

# Built once, and over the tables: composing it, and the ORM's part in the result, cost more than SQLite's answer.
_CHUNK, _VERSION, _DOCUMENT = ChunkRow.__table__.c, VersionRow.__table__.c, DocumentRow.__table__.c
_SHOWN = (
    select(
        _CHUNK.id,
        _CHUNK.document_id,
        _CHUNK.version_id,
        _CHUNK.ordinal,
        _CHUNK.start_offset,
        _CHUNK.end_offset,
        _CHUNK.page_first,
        _CHUNK.page_last,
        _CHUNK.headings,
        _CHUNK.header,
        _CHUNK.text,
        _DOCUMENT.name.label("document_name"),
        _VERSION.title,
        and_(_DOCUMENT.deleted_at.is_(None), _DOCUMENT.current_version == _CHUNK.version_id).label("current"),
    )
    .join(VersionRow.__table__, and_(_VERSION.tenant == _CHUNK.tenant, _VERSION.id == _CHUNK.version_id))
    .join(DocumentRow.__table__, and_(_DOCUMENT.tenant == _CHUNK.tenant, _DOCUMENT.id == _CHUNK.document_id))
    .where(_CHUNK.tenant == bindparam("tenant"), _CHUNK.id.in_(bindparam("chunks", expanding=True)))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRecord:
    """A chunk with what a hit shows of its document. `current`: readers see this version of it."""

    chunk: Chunk
    name: str
    title: str | None
    current: bool


def replace_chunks(
    session: Session, tenant: TenantId, version: VersionId, chunks: Sequence[Chunk], embedded_hashes: Sequence[str]
) -> None:
    """Make these the chunks of the version; `embedded_hashes` are those of their embedded texts, in the same order.

    Belongs into the transaction of `stages.finish`, after it, so that only the holder of the lease writes.
    """
    session.execute(
        delete(ChunkRow)
        .where(ChunkRow.tenant == tenant, ChunkRow.version_id == version)
        .execution_options(synchronize_session=False)
    )
    rows = [
        {
            "tenant": tenant,
            "id": chunk.id,
            "document_id": chunk.document,
            "version_id": version,
            "ordinal": chunk.ordinal,
            "start_offset": chunk.span.start,
            "end_offset": chunk.span.end,
            "page_first": chunk.page_first,
            "page_last": chunk.page_last,
            "headings": list(chunk.headings),
            "header": chunk.header,
            "text": chunk.text,
            "embedded_hash": embedded_hash,
        }
        for chunk, embedded_hash in zip(chunks, embedded_hashes, strict=True)
    ]
    if rows:
        session.execute(insert(ChunkRow), rows)
    session.execute(
        update(VersionRow)
        .where(VersionRow.tenant == tenant, VersionRow.id == version)
        .values(chunk_count=len(rows))
        .execution_options(synchronize_session=False)
    )


def chunks_of(session: Session, tenant: TenantId, version: VersionId) -> list[tuple[Chunk, str]]:
    """Return the version's chunks in order, each with the hash of its embedded text."""
    rows = session.execute(
        select(*_COLUMNS, ChunkRow.embedded_hash)
        .where(ChunkRow.tenant == tenant, ChunkRow.version_id == version)
        .order_by(ChunkRow.ordinal)
    )
    return [(_chunk(tenant, row), row.embedded_hash) for row in rows]


def count_chunks(session: Session, tenant: TenantId, version: VersionId) -> int:
    """Return how many chunks the version has: what an index must count before the version goes live."""
    return session.execute(
        select(func.count()).select_from(ChunkRow).where(ChunkRow.tenant == tenant, ChunkRow.version_id == version)
    ).scalar_one()


def load_chunks(session: Session, tenant: TenantId, ids: Collection[ChunkId]) -> dict[ChunkId, ChunkRecord]:
    """Return the chunks with these ids that exist. It checks no access: `core.db.access.readable` does."""
    wanted = list(ids)
    found: dict[ChunkId, ChunkRecord] = {}
    for start in range(0, len(wanted), BATCH):
        rows = session.execute(_SHOWN, {"tenant": tenant, "chunks": wanted[start : start + BATCH]})
        for row in rows:
            found[ChunkId(row.id)] = ChunkRecord(
                chunk=_chunk(tenant, row),
                name=row.document_name,
                title=row.title,
                current=bool(row.current),
            )
    return found


def missing_embeddings(session: Session, tenant: TenantId, model: str, hashes: Collection[str]) -> set[str]:
    """Return those of the texts, by hash, whose vector under the model is not stored yet."""
    wanted = list(set(hashes))
    missing = set(wanted)
    for start in range(0, len(wanted), BATCH):
        missing.difference_update(
            session.scalars(
                select(EmbeddingRow.text_hash).where(
                    EmbeddingRow.tenant == tenant,
                    EmbeddingRow.model == model,
                    EmbeddingRow.text_hash.in_(wanted[start : start + BATCH]),
                )
            )
        )
    return missing


def put_embeddings(session: Session, tenant: TenantId, model: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
    """Store the vectors by the hash of their text; one that is there already stays.

    Vectors of texts that no chunk of the tenant has are left out: the document was deleted while it was embedded, and
    its purge may be over.
    """
    wanted = sorted(vectors)
    needed: set[str] = set()
    for start in range(0, len(wanted), BATCH):
        needed.update(
            session.scalars(
                select(ChunkRow.embedded_hash)
                .where(ChunkRow.tenant == tenant, ChunkRow.embedded_hash.in_(wanted[start : start + BATCH]))
                .with_for_update(read=True, key_share=True)  # A purge waits, and then finds these vectors.
            )
        )
    rows = [
        {"tenant": tenant, "model": model, "text_hash": one, "vector": np.asarray(vectors[one], dtype="<f4").tobytes()}
        for one in wanted
        if one in needed
    ]
    insert_missing(session, EmbeddingRow, rows)


def embeddings_of(
    session: Session, tenant: TenantId, model: str, hashes: Collection[str]
) -> dict[str, NDArray[np.float32]]:
    """Return the stored vectors, shape (dim,) float32, read-only, by the hash of their text."""
    wanted = list(set(hashes))
    found: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(wanted), BATCH):
        rows = session.execute(
            select(EmbeddingRow.text_hash, EmbeddingRow.vector).where(
                EmbeddingRow.tenant == tenant,
                EmbeddingRow.model == model,
                EmbeddingRow.text_hash.in_(wanted[start : start + BATCH]),
            )
        )
        found.update({row.text_hash: np.frombuffer(row.vector, dtype="<f4") for row in rows})
    return found


def _chunk(tenant: TenantId, row: Row[*tuple[object, ...]]) -> Chunk:
    return Chunk(
        id=ChunkId(row.id),
        tenant=tenant,
        document=DocumentId(row.document_id),
        version=VersionId(row.version_id),
        ordinal=row.ordinal,
        span=Span(start=row.start_offset, end=row.end_offset),
        text=row.text,
        header=row.header,
        headings=tuple(row.headings),
        page_first=row.page_first,
        page_last=row.page_last,
    )
