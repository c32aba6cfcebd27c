"""Signs of life that no stage keeps: when something that leaves no row behind was last done.

They are turns, too: a tenant and a name that is none of a stage's. A missing one means "never, as far as is known".
"""

from collections.abc import Collection

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.inserting import insert_missing
from core.db.tables import TenantRow, TurnRow
from core.ids import DEFAULT_TENANT, TenantId

RECONCILED = "reconciled"  # The reconciler came round; of the whole installation, so of the default tenant.
TASKS = "index tasks"  # Somebody took changes that an index has yet to make: what is done of those is deleted.


def note(session: Session, name: str, tenant: TenantId = DEFAULT_TENANT) -> None:
    """Note that this was done now. Nothing is noted of a tenant that does not exist."""
    moment = now(session)
    ours = update(TurnRow).where(TurnRow.tenant == tenant, TurnRow.name == name).values(served_at=moment)
    noted = session.execute(ours.returning(TurnRow.name).execution_options(synchronize_session=False)).first()
    if noted is None and session.get(TenantRow, tenant) is not None:
        insert_missing(session, TurnRow, [{"tenant": tenant, "name": name, "served_at": moment}])


def last(session: Session, names: Collection[str]) -> int | None:
    """Return when one of these was last done of any tenant, in the database's microseconds; None: never."""
    return session.execute(select(func.max(TurnRow.served_at)).where(TurnRow.name.in_(names))).scalar_one()


def age_seconds(session: Session, name: str) -> float | None:
    """Return for how many seconds this was not done; None: it never was."""
    moment = last(session, [name])
    return None if moment is None else max(0, now(session) - moment) / SECOND
