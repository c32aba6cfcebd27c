"""How often each stored blob is needed, and the removal of those that nothing needs any more.

Rows and bytes can disagree for a while after a crash, in one direction only: bytes without a row. Bytes are stored
before the row that needs them, and removed after it.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sqlalchemy import and_, delete, exists, func, select, update
from sqlalchemy.orm import Session, aliased

from core.db.clock import SECOND, now
from core.db.inserting import insert_missing
from core.db.tables import BlobRow, DeletionReceiptRow, SourceRow, StageResultRow
from core.ids import TenantId

BATCH = 500  # Parameters per statement and rows per transaction stay small.


class Removable(Protocol):
    """What collecting asks of the blob store; `core.blobs.BlobStore` has it."""

    def delete(self, tenant: TenantId, hash: str, *, min_age_seconds: float = 0.0) -> bool: ...  # noqa: A002


def add_references(session: Session, tenant: TenantId, blobs: Mapping[str, int]) -> None:
    """Count one more row that needs each blob, given as hash and size in bytes; the bytes are stored already."""
    rows = [{"tenant": tenant, "hash": hash_, "size": size, "references": 0} for hash_, size in sorted(blobs.items())]
    insert_missing(session, BlobRow, rows)
    session.execute(
        update(BlobRow)
        .where(BlobRow.tenant == tenant, BlobRow.hash.in_(blobs))
        .values(references=BlobRow.references + 1, unreferenced_at=None)
        .execution_options(synchronize_session=False)
    )


def sample_of_blobs(session: Session, limit: int = 20) -> list[tuple[TenantId, str]]:
    """Return the tenant and hash of some blobs that are needed, for a look whether they are where they should be."""
    rows = session.execute(select(BlobRow.tenant, BlobRow.hash).where(BlobRow.references > 0).limit(limit)).all()
    return [(TenantId(row.tenant), row.hash) for row in rows]


def has_taken_in(session: Session) -> bool:
    """Return whether this database ever accepted an upload: sources outlive their documents."""
    return session.execute(select(exists(select(SourceRow.id)))).scalar_one()


def drop_references(session: Session, tenant: TenantId, hashes: Sequence[str]) -> int:
    """Count one row fewer for each hash (one may be given several times); return how many are needed no more."""
    moment = now(session)
    for hash_ in sorted(hashes):
        session.execute(
            update(BlobRow)
            .where(BlobRow.tenant == tenant, BlobRow.hash == hash_, BlobRow.references > 0)
            .values(references=BlobRow.references - 1)
            .execution_options(synchronize_session=False)
        )
    unreferenced = and_(BlobRow.tenant == tenant, BlobRow.references == 0, BlobRow.unreferenced_at.is_(None))
    gone = 0
    unique = sorted(set(hashes))
    for start in range(0, len(unique), BATCH):
        some = and_(unreferenced, BlobRow.hash.in_(unique[start : start + BATCH]))
        gone += session.execute(select(func.count()).select_from(BlobRow).where(some)).scalar_one()
        session.execute(
            update(BlobRow).where(some).values(unreferenced_at=moment).execution_options(synchronize_session=False)
        )
    return gone


def collect_blobs(session: Session, store: Removable, *, older_than: float, limit: int = BATCH) -> int:
    """Remove blobs that nothing has needed for `older_than` seconds, with their stage results; return how many.

    At most `limit` per call, so that the transaction stays short: call again while it returns `limit`. It runs under
    the lock that an upload takes (the write lock on SQLite, the blob's row elsewhere), and the store itself spares
    bytes written meanwhile. When nothing is left to remove, receipts of deletions that old are confirmed.
    """
    cutoff = now(session) - round(older_than * SECOND)
    doomed = (
        select(BlobRow.tenant, BlobRow.hash)
        .where(BlobRow.references == 0, BlobRow.unreferenced_at <= cutoff)
        .order_by(BlobRow.unreferenced_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    removed, spared = 0, 0
    for tenant, hash_ in session.execute(doomed).all():
        if not store.delete(TenantId(tenant), hash_, min_age_seconds=older_than):
            spared += 1
            continue
        session.execute(delete(BlobRow).where(BlobRow.tenant == tenant, BlobRow.hash == hash_))
        session.execute(
            delete(StageResultRow).where(StageResultRow.tenant == tenant, StageResultRow.output_hash == hash_)
        )
        removed += 1
    if removed + spared < limit:
        _confirm_receipts(session, cutoff)
    return removed


def unknown_blobs(session: Session, tenant: TenantId, hashes: Sequence[str]) -> list[str]:
    """Return those of the stored blobs, by hash, that no row knows of."""
    known: set[str] = set()
    for start in range(0, len(hashes), BATCH):
        some = hashes[start : start + BATCH]
        known.update(session.scalars(select(BlobRow.hash).where(BlobRow.tenant == tenant, BlobRow.hash.in_(some))))
    return [hash_ for hash_ in hashes if hash_ not in known]


def _confirm_receipts(session: Session, cutoff: int) -> None:
    # Everything unreferenced until the cutoff is gone, or needed again by another document: so deletions whose
    # catalogue part was done by then have nothing of their own left.
    catalogue = aliased(DeletionReceiptRow)
    session.execute(
        update(DeletionReceiptRow)
        .where(
            DeletionReceiptRow.store == "blobs",
            DeletionReceiptRow.confirmed_at.is_(None),
            exists(
                select(1)
                .select_from(catalogue)
                .where(
                    catalogue.tenant == DeletionReceiptRow.tenant,
                    catalogue.document_id == DeletionReceiptRow.document_id,
                    catalogue.store == "catalogue",
                    catalogue.confirmed_at <= cutoff,
                )
            ),
        )
        .values(confirmed_at=now(session))
        .execution_options(synchronize_session=False)
    )
