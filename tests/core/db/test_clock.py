from core.db.clock import now
from core.db.session import Database


def test_the_clock_is_the_databases_and_counts_microseconds_since_1970(database: Database) -> None:
    with database.reading() as session:
        first, second = (now(session) for _ in range(2))
    assert 1_700_000_000_000_000 < first <= second < 4_000_000_000_000_000
