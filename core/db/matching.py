"""Finding rows by their keys."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ColumnElement, and_, false, or_

from core.db.tables import IndexTaskRow, StageRow, VersionRow, WakeupRow

Owned = StageRow | WakeupRow | IndexTaskRow | VersionRow


def with_keys(table: type[Owned], keys: Collection[tuple[str, UUID]]) -> ColumnElement[bool]:
    """Return the condition that a row of the table has one of these keys (tenant, id).

    Spelled tenant by tenant: SQLite answers `(tenant, id) IN (VALUES ...)` by reading the whole table.
    """
    ids: dict[str, list[UUID]] = {}
    for tenant, key in keys:
        ids.setdefault(tenant, []).append(key)
    return or_(false(), *(and_(table.tenant == tenant, table.id.in_(found)) for tenant, found in sorted(ids.items())))
