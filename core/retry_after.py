"""The header `Retry-After`: how long somebody who is overloaded asks to be left alone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

NAME = "Retry-After"


def asked_seconds(headers: Mapping[str, str] | None, *, moment: datetime | None = None) -> float | None:
    """Return the seconds that a server's answer asks to wait: None where it does not say, or not legibly.

    The header is a whole number of seconds or a date; `moment` is the time from which a date is counted (default: now).
    `headers` finds names whatever their case, as the clients' own do.
    """
    value = (headers or {}).get(NAME, "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:  # "-0000": a time in UTC, of which nobody says where it was taken
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (moment or datetime.now(UTC))).total_seconds())
