"""Everything is killed, stalled, wiped and filled while documents come in: a short run of `make chaos`."""

import pytest

from benchmarks.chaos.run import chaos
from tests.e2e.conftest import NEEDS_SERVERS

pytestmark = [*NEEDS_SERVERS, pytest.mark.timeout(480)]


def test_whatever_happens_every_accepted_document_is_searchable_or_failed_with_a_reason() -> None:
    outcome = chaos(seed=7, count=100, seconds=40.0)

    assert outcome.accepted == 100
    assert outcome.passed, outcome
    assert outcome.searchable + outcome.failed == 100
    assert outcome.failed == outcome.poison
    assert sum(outcome.faults.values()) > 10
