"""Receipts of deletion: when each store confirmed that it holds nothing of a document any more."""

from dataclasses import dataclass

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.inserting import insert_missing
from core.db.tables import DeletionReceiptRow, DocumentRow
from core.errors import NotFound
from core.ids import DocumentId, TenantId

STORES = ("catalogue", "embeddings", "index", "blobs", "answers")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReceipt:
    """What one store removed (rows, vectors, points, blobs, answers) and when it was sure; None: not yet."""

    store: str
    removed: int
    confirmed_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionReceipt:
    """A deleted document, which nobody reads since `deleted_at` (UTC microseconds), and the stores it has to leave."""

    document: DocumentId
    deleted_at: int
    stores: tuple[StoreReceipt, ...]

    @property
    def complete(self) -> bool:
        """Whether every store has confirmed."""
        return all(store.confirmed_at is not None for store in self.stores)


def open_receipt(session: Session, tenant: TenantId, document: DocumentId) -> None:
    """Begin the receipt of a deleted document, with every store unconfirmed."""
    insert_missing(
        session,
        DeletionReceiptRow,
        [{"tenant": tenant, "document_id": document, "store": store, "removed": 0} for store in STORES],
    )


def confirm(session: Session, tenant: TenantId, document: DocumentId, store: str, removed: int) -> None:
    """Note that the store holds nothing of the document any more; the first confirmation counts."""
    ours = and_(
        DeletionReceiptRow.tenant == tenant,
        DeletionReceiptRow.document_id == document,
        DeletionReceiptRow.store == store,
    )
    session.execute(
        update(DeletionReceiptRow)
        .where(ours, DeletionReceiptRow.confirmed_at.is_(None))
        .values(removed=removed, confirmed_at=now(session))
        .execution_options(synchronize_session=False)
    )


def note_removed(session: Session, tenant: TenantId, document: DocumentId, store: str, removed: int) -> None:
    """Note how much the store is about to remove; it confirms when that is done."""
    ours = and_(
        DeletionReceiptRow.tenant == tenant,
        DeletionReceiptRow.document_id == document,
        DeletionReceiptRow.store == store,
    )
    session.execute(
        update(DeletionReceiptRow)
        .where(ours, DeletionReceiptRow.confirmed_at.is_(None))
        .values(removed=removed)
        .execution_options(synchronize_session=False)
    )


def receipt(session: Session, tenant: TenantId, document: DocumentId) -> DeletionReceipt:
    """Return the receipt of a deleted document. Raises `NotFound` if there is none, or it is not deleted."""
    deleted_at = session.scalars(
        select(DocumentRow.deleted_at).where(DocumentRow.tenant == tenant, DocumentRow.id == document)
    ).one_or_none()
    if deleted_at is None:
        raise NotFound("There is no such document.")
    rows = session.execute(
        select(DeletionReceiptRow.store, DeletionReceiptRow.removed, DeletionReceiptRow.confirmed_at)
        .where(DeletionReceiptRow.tenant == tenant, DeletionReceiptRow.document_id == document)
        .order_by(DeletionReceiptRow.store)
    )
    return DeletionReceipt(
        document=document,
        deleted_at=deleted_at,
        stores=tuple(StoreReceipt(store=row.store, removed=row.removed, confirmed_at=row.confirmed_at) for row in rows),
    )
