from pathlib import Path

import pytest

from benchmarks.revocation import measure

pytestmark = pytest.mark.slow


def test_a_revoked_right_is_gone_at_once_and_soon_from_the_index_and_a_group_costs_no_write(
    tmp_path: Path,
) -> None:
    """How soon, `python -m benchmarks.revocation` tells of a machine that does nothing else; here it is waited for."""
    found = measure(tmp_path, chunks=400, per_document=5, revocations=8, members=300, dim=32, seed=1)
    assert found["revocations"] == 8
    assert found["seen_by_readers_after"] == 0
    assert found["searches_meanwhile"] > 0
    assert found["group_hits_before"] == 10
    assert found["group_hits_after"] == 0
    assert found["group_index_writes"] == 0
