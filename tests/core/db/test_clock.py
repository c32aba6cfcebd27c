from sqlalchemy import select

from core.db.base import db_now
from core.db.clock import now
from core.db.session import Database

MILLISECOND = 1_000


def test_the_clock_is_the_databases_and_counts_microseconds_since_1970(database: Database) -> None:
    with database.reading() as session:
        first, second = (now(session) for _ in range(2))
        asked = session.scalars(select(db_now())).one()
        third = now(session)
    assert 1_700_000_000_000_000 < first <= second <= third < 4_000_000_000_000_000
    # Also where the database need not be asked; it counts in milliseconds there.
    assert second - 2 * MILLISECOND <= asked <= third + 2 * MILLISECOND
