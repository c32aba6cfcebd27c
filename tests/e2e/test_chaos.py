"""Everything is killed, stalled, wiped and filled while documents come in: a short run of `make chaos`."""

import shutil
from pathlib import Path

import pytest

from benchmarks.chaos.run import chaos

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is not installed (Debian: redis-server)"),
    pytest.mark.skipif(
        not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) and shutil.which("initdb") is None,
        reason="PostgreSQL is not installed (Debian: postgresql)",
    ),
]


def test_whatever_happens_every_accepted_document_is_searchable_or_failed_with_a_reason() -> None:
    outcome = chaos(seed=7, count=100, seconds=40.0)

    assert outcome.accepted == 100
    assert outcome.passed, outcome
    assert outcome.searchable + outcome.failed == 100
    assert outcome.failed == outcome.poison
    assert sum(outcome.faults.values()) > 10
