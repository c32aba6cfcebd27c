from datetime import UTC, datetime

import pytest

from core.retry_after import asked_seconds

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Sat, 21 Nov 2026 12:01:30 GMT", 90.0),
        ("Sat, 21 Nov 2026 12:01:30 -0000", 90.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),  # The time has come already.
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("Sat, 99 Nov 2026 12:01:30 GMT", None),
    ],
)
def test_seconds_and_dates_are_understood_and_nothing_else(value: str, seconds: float | None) -> None:
    assert asked_seconds({"Retry-After": value}, moment=NOON) == seconds


def test_an_answer_without_the_header_asks_for_nothing() -> None:
    assert asked_seconds({}) is None
    assert asked_seconds(None) is None
