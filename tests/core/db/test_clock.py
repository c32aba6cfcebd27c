from sqlalchemy import select

from core.db.base import db_now
from core.db.clock import SECOND, now
from core.db.session import Database


def test_the_clock_is_the_databases_and_counts_microseconds_since_1970(database: Database) -> None:
    with database.reading() as session:
        first, second = (now(session) for _ in range(2))
        asked = session.scalars(select(db_now())).one()
    assert 1_700_000_000_000_000 < first <= second < 4_000_000_000_000_000
    assert abs(asked - second) < SECOND  # Also where the database need not be asked.
