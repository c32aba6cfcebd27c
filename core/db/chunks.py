"""Chunks and the vectors of their texts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Integer,
    Row,
    Select,
    String,
    and_,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    select,
    update,
    values,
)
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

# Where nobody counted (a chunk of before migration 0007), four characters are taken for one.
_TOKENS = func.coalesce(
    ChunkRow.tokens, (func.length(ChunkRow.header) + func.length(ChunkRow.text)) // literal(4, Integer) + 1
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
    remove_chunks(session, tenant, version)
    add_chunks(session, tenant, version, chunks, embedded_hashes)
    count_added(session, tenant, version)


def remove_chunks(session: Session, tenant: TenantId, version: VersionId) -> None:
    """Remove the chunks of a version that is about to get others: no reader sees it yet."""
    session.execute(
        delete(ChunkRow)
        .where(ChunkRow.tenant == tenant, ChunkRow.version_id == version)
        .execution_options(synchronize_session=False)
    )


def add_chunks(
    session: Session, tenant: TenantId, version: VersionId, chunks: Sequence[Chunk], embedded_hashes: Sequence[str]
) -> None:
    """Add some of the version's chunks, for those too many to be written in one transaction.

    Belongs into a transaction that has made sure, with `stages.held`, that the writer may.
    """
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
            "tokens": chunk.tokens,
        }
        for chunk, embedded_hash in zip(chunks, embedded_hashes, strict=True)
    ]
    if rows:
        session.execute(insert(ChunkRow), rows)


def count_added(session: Session, tenant: TenantId, version: VersionId) -> None:
    """Note on the version how many chunks it has: all of them are there now."""
    session.execute(
        update(VersionRow)
        .where(VersionRow.tenant == tenant, VersionRow.id == version)
        .values(chunk_count=count_chunks(session, tenant, version))
        .execution_options(synchronize_session=False)
    )


def chunks_of(
    session: Session, tenant: TenantId, version: VersionId, *, first: int = 0, limit: int | None = None
) -> list[tuple[Chunk, str]]:
    """Return the version's chunks in order, each with the hash of its embedded text: from ordinal `first` on."""
    rows = session.execute(
        select(*_COLUMNS, ChunkRow.embedded_hash)
        .where(ChunkRow.tenant == tenant, ChunkRow.version_id == version, ChunkRow.ordinal >= first)
        .order_by(ChunkRow.ordinal)
        .limit(limit)
    )
    return [(_chunk(tenant, row), row.embedded_hash) for row in rows]


def embedded_tokens(session: Session, tenant: TenantId, version: VersionId) -> dict[str, int]:
    """Return the tokens of the version's embedded texts, by their hash."""
    rows = session.execute(
        select(ChunkRow.embedded_hash, _TOKENS.label("tokens")).where(
            ChunkRow.tenant == tenant, ChunkRow.version_id == version
        )
    )
    return {row.embedded_hash: row.tokens for row in rows}


def token_totals(session: Session, tenant: TenantId, versions: Collection[VersionId]) -> dict[VersionId, int]:
    """Return the tokens of all embedded texts of each version; 0 for one without chunks."""
    rows = session.execute(
        select(ChunkRow.version_id, func.sum(_TOKENS).label("tokens"))
        .where(ChunkRow.tenant == tenant, ChunkRow.version_id.in_(versions))
        .group_by(ChunkRow.version_id)
    )
    return dict.fromkeys(versions, 0) | {VersionId(row.version_id): int(row.tokens) for row in rows}


def embedded_texts(session: Session, tenant: TenantId, hashes: Collection[str]) -> dict[str, str]:
    """Return the embedded texts that some chunk of the tenant has (still), by their hash.

    It reads one chunk for each, however many have the same text.
    """
    found: dict[str, str] = {}
    wanted = sorted(set(hashes))
    for start in range(0, len(wanted), BATCH):
        chunks = [chunk for _, chunk in session.execute(_one_of_each(tenant, wanted[start : start + BATCH])) if chunk]
        rows = session.execute(
            select(*_COLUMNS, ChunkRow.embedded_hash).where(ChunkRow.tenant == tenant, ChunkRow.id.in_(chunks))
        )
        found.update({row.embedded_hash: _chunk(tenant, row).embedded_text for row in rows})
    return found


def _one_of_each(tenant: TenantId, hashes: Sequence[str], *, kept: bool = False) -> Select[str, UUID | None]:
    """Return the statement that finds one chunk for each of the texts, None where there is none: hash and id.

    One step along the index for each; with `kept` nobody removes the chunk until the transaction ends.
    """
    wanted = values(column("hash", String), name="given").data([(one,) for one in hashes]).cte("wanted")
    some = (
        select(ChunkRow.id)
        .where(ChunkRow.tenant == tenant, ChunkRow.embedded_hash == wanted.c.hash)
        .limit(1)
        .correlate(wanted)
    )
    if kept:
        some = some.with_for_update(read=True, key_share=True)
    return select(wanted.c.hash, some.scalar_subquery())


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
    its purge may be over. One chunk of a text is enough, and is locked: while it stays, no purge of another one takes
    the vector away, and its own purge waits for these vectors and then finds them.
    """
    wanted = sorted(vectors)
    needed: set[str] = set()
    for start in range(0, len(wanted), BATCH):
        found = session.execute(_one_of_each(tenant, wanted[start : start + BATCH], kept=True))
        needed.update(text_hash for text_hash, chunk in found if chunk)
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
