"""The database's clock: the only one that leases and time stamps are compared by."""

import time

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.base import db_now

SECOND = 1_000_000


def now(session: Session) -> int:
    """Return the database's time in UTC microseconds since 1970.

    SQLite has no clock but this machine's, in milliseconds; it need not be asked for that.
    """
    if session.get_bind().dialect.name == "sqlite":
        return time.time_ns() // 1_000_000 * 1_000
    return session.scalars(select(db_now())).one()
