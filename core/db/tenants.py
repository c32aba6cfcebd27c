"""Tenants: nothing is shared across them."""

import re

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from core.db.base import Base
from core.db.clock import now
from core.db.inserting import insert_missing
from core.db.tables import DocumentRow, IndexTaskRow, TenantRow
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import TenantId

_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # It names a folder of blobs, so it is spelled narrowly.
_HELD = -1  # No tenant was added then: so the row is known as ours, and is never committed.


def add_tenant(session: Session, tenant: str) -> TenantId:
    """Add a tenant and return its id.

    :raises InvalidInput: the name is not made of 1 to 64 of these: a-z, 0-9, `.`, `_`, `-`.
    :raises Conflict: there is one of that name.
    """
    if not _TENANT.fullmatch(tenant):
        raise InvalidInput(
            f"{tenant[:80]!r} is no tenant name: use 1 to 64 of a-z, 0-9, `.`, `_`, `-`, a letter or digit first."
        )
    if session.get(TenantRow, tenant) is not None:
        raise Conflict(f"There is a tenant {tenant!r} already.")
    session.execute(insert(TenantRow).values(id=tenant, created_at=now(session)))
    return TenantId(tenant)


def list_tenants(session: Session) -> list[TenantId]:
    """Return every tenant, by name."""
    return [TenantId(name) for name in session.execute(select(TenantRow.id).order_by(TenantRow.id)).scalars()]


def remove_tenant(session: Session, tenant: TenantId) -> None:
    """Remove the tenant and every row of it. Its blobs go when bytes are next collected, however new they are.

    :raises NotFound: there is no such tenant.
    :raises Conflict: it has documents, or some that are deleted but not yet purged from every index.
    """
    if session.get(TenantRow, tenant) is None:
        raise NotFound("There is no such tenant.")
    live = select(func.count()).select_from(DocumentRow)
    live = live.where(DocumentRow.tenant == tenant, DocumentRow.deleted_at.is_(None))
    if count := session.execute(live).scalar_one():
        raise Conflict(f"The tenant {tenant!r} has {count} documents. Delete them first.")
    open_tasks = select(IndexTaskRow.id).where(IndexTaskRow.tenant == tenant, IndexTaskRow.done_at.is_(None))
    if session.execute(open_tasks.limit(1)).first() is not None:
        raise Conflict(f"Deleted documents of {tenant!r} are still being purged. Try again in a moment.")
    session.expunge_all()
    for table in reversed(Base.metadata.sorted_tables):
        if "tenant" in table.columns:
            session.execute(delete(table).where(table.columns.tenant == tenant))
    session.execute(delete(TenantRow).where(TenantRow.id == tenant))


def hold_absent(session: Session, tenant: TenantId) -> bool:
    """Return whether there is no such tenant. If so, nobody can add it before this transaction ends.

    For removing what lies outside the catalogue under the name of a tenant that is gone.
    """
    if session.execute(select(TenantRow.id).where(TenantRow.id == tenant)).first() is not None:
        return False
    # The name is taken and given back: whoever adds it meanwhile waits for us. (SQLite has its write lock as well.)
    insert_missing(session, TenantRow, [{"id": tenant, "created_at": _HELD}])
    held = delete(TenantRow).where(TenantRow.id == tenant, TenantRow.created_at == _HELD).returning(TenantRow.id)
    return session.execute(held.execution_options(synchronize_session=False)).first() is not None


def require_tenant(session: Session, tenant: TenantId) -> None:
    """Do nothing.

    :raises NotFound: there is no such tenant.
    """
    if session.get(TenantRow, tenant) is None:
        raise NotFound("There is no such tenant.")
