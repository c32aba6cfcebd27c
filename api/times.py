"""Times at the edge: ISO 8601 in UTC; inside they are microseconds since 1970."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def iso(microseconds: int | None) -> str | None:
    """Return a time of the database as text."""
    return None if microseconds is None else (EPOCH + microseconds * MICROSECOND).isoformat()


def micros(moment: datetime) -> int:
    """Return an aware time as the database has it."""
    return (moment - EPOCH) // MICROSECOND
