from pathlib import Path

import pytest

from benchmarks.deleting import measure
from tests.ingestion.conftest import Logged

pytestmark = pytest.mark.slow


def test_f10_documents_deleted_while_the_index_fails_are_never_found_again_and_leave_nothing(
    tmp_path: Path, logged: Logged
) -> None:
    found = measure(tmp_path, documents=60, kept=20, chunks=4, dim=32, rate=0.2, seed=1, fault_seconds=0.5)
    assert sum(found["faults"].values()) > 0
    assert "index_task_failed" in {event["event"] for event in logged}
    assert found["searches"] > 0
    assert found["hits_after_acknowledgement"] == 0
    assert found["orphans"] == 0
    assert found["removed_by_the_audit"] == 0
    assert found["refilled_by_the_audit"] == 0
    assert found["receipts_complete"] == 60
