"""How often each stored blob is needed, and the removal of those that nothing needs any more.

Rows and bytes can disagree for a while after a crash, in one direction only: bytes without a row. Bytes are stored
before the row that needs them, and removed after it.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update
from sqlalchemy.orm import Session, aliased

from core.db.clock import SECOND, now
from core.db.inserting import insert_missing
from core.db.tables import BlobRow, DeletionReceiptRow, SourceRow, StageResultRow
from core.ids import TenantId

BATCH = 500  # Parameters per statement and rows per transaction stay small.
HOLD_SECONDS = 1.0  # A turn of removing that has taken so long ends with the blob it is at.

T = TypeVar("T")


class Removable(Protocol):
    """What collecting asks of the blob store; `core.blobs.BlobStore` has it."""

    def delete(self, tenant: TenantId, hash: str, *, min_age_seconds: float = 0.0) -> bool: ...  # noqa: A002


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A turn of removing: how many of the blobs it came to, the first ones of those it was given, and removed."""

    seen: int
    removed: int


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


def stored_sizes(session: Session, tenant: TenantId, hashes: Collection[str]) -> dict[str, int]:
    """Return the sizes in bytes of those of the tenant's blobs that are known, by hash."""
    wanted = sorted(set(hashes))
    found: dict[str, int] = {}
    for start in range(0, len(wanted), BATCH):
        rows = session.execute(
            select(BlobRow.hash, BlobRow.size).where(
                BlobRow.tenant == tenant, BlobRow.hash.in_(wanted[start : start + BATCH])
            )
        )
        found.update({row.hash: row.size for row in rows})
    return found


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


def unreferenced_blobs(session: Session, *, older_than: float, limit: int) -> list[tuple[TenantId, str]]:
    """Return tenant and hash of blobs that nothing has needed for so many seconds, those not needed longest first."""
    found = session.execute(
        select(BlobRow.tenant, BlobRow.hash)
        .where(_unreferenced(session, older_than))
        .order_by(BlobRow.unreferenced_at, BlobRow.tenant, BlobRow.hash)
        .limit(limit)
    )
    return [(TenantId(row.tenant), row.hash) for row in found]


def collect_blobs(
    session: Session,
    store: Removable,
    blobs: Sequence[tuple[TenantId, str]],
    *,
    older_than: float,
    at_most_seconds: float = HOLD_SECONDS,
) -> Collected:
    """Remove those of the blobs that nothing has needed for `older_than` seconds still, with their stage results.

    It runs under the lock that an upload takes (the write lock on SQLite, the blob's row elsewhere), and the store
    itself spares bytes written meanwhile. So that a slow store does not hold that lock, give it few, and go on with
    the others in another transaction: it ends early when it takes longer than `at_most_seconds`.
    """
    old = _unreferenced(session, older_than)
    seen = removed = 0
    for tenant, hash_ in while_short(blobs, at_most_seconds):
        seen += 1
        this = and_(BlobRow.tenant == tenant, BlobRow.hash == hash_)
        still = select(BlobRow.hash).where(this, old).with_for_update(skip_locked=True)
        if session.scalars(still).first() is None:
            continue
        if not store.delete(tenant, hash_, min_age_seconds=older_than):
            continue
        session.execute(delete(BlobRow).where(this).execution_options(synchronize_session=False))
        session.execute(
            delete(StageResultRow)
            .where(StageResultRow.tenant == tenant, StageResultRow.output_hash == hash_)
            .execution_options(synchronize_session=False)
        )
        removed += 1
    return Collected(seen=seen, removed=removed)


def while_short(items: Iterable[T], at_most_seconds: float) -> Iterator[T]:
    """Yield the items, the first one in any case, until so many seconds have gone by."""
    begun = time.monotonic()
    for item in items:
        yield item
        if time.monotonic() - begun >= at_most_seconds:
            return


def unknown_blobs(session: Session, tenant: TenantId, hashes: Sequence[str]) -> list[str]:
    """Return those of the stored blobs, by hash, that no row knows of."""
    known: set[str] = set()
    for start in range(0, len(hashes), BATCH):
        some = hashes[start : start + BATCH]
        known.update(session.scalars(select(BlobRow.hash).where(BlobRow.tenant == tenant, BlobRow.hash.in_(some))))
    return [hash_ for hash_ in hashes if hash_ not in known]


def confirm_receipts(session: Session, *, older_than: float) -> None:
    """Confirm that the bytes of deleted documents are gone, of tenants of whom nothing that old is left to remove.

    A blob that was spared, or that is being removed by somebody else, keeps its row: nothing is confirmed before it.
    """
    # What was unreferenced until then is gone, or needed again by another document: so deletions whose catalogue part
    # was done by then have nothing of their own left.
    cutoff = now(session) - round(older_than * SECOND)
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
            ~exists(
                select(1)
                .select_from(BlobRow)
                .where(
                    BlobRow.tenant == DeletionReceiptRow.tenant,
                    BlobRow.references == 0,
                    BlobRow.unreferenced_at <= cutoff,
                )
            ),
        )
        .values(confirmed_at=now(session))
        .execution_options(synchronize_session=False)
    )


def _unreferenced(session: Session, older_than: float) -> ColumnElement[bool]:
    cutoff = now(session) - round(older_than * SECOND)
    return and_(BlobRow.references == 0, BlobRow.unreferenced_at <= cutoff)
