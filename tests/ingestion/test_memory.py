"""What a large file may cost the worker, in a process of its own with the real parts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory import write_csv

MEGABYTE = 1_000_000
MOST_GROWTH = 95 * MEGABYTE  # Some 66 are needed; with all units, drafts and rows in memory it was 120 and more.
MOST_CPU_SECONDS = 100.0  # 24 on a quiet machine: what else runs there makes the caches colder, and time dearer.
# As many threads and arenas, and so as much memory, however many processors the machine has.
AS_ON_TWO_PROCESSORS = {"RAYON_NUM_THREADS": "2", "MALLOC_ARENA_MAX": "2"}


@pytest.mark.slow
def test_a_csv_of_ten_megabytes_is_parsed_and_chunked_in_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    write_csv(file, 10 * MEGABYTE)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.ingestion.memory_probe", str(file), str(tmp_path)],
        capture_output=True,
        check=False,
        timeout=280,
        env=os.environ | AS_ON_TWO_PROCESSORS,
    )
    assert ended.returncode == 0, ended.stderr.decode()[-2_000:]
    figures = json.loads(ended.stdout)
    assert figures["chunks"] > 20_000
    assert figures["most"] - figures["before"] < MOST_GROWTH
    assert figures["cpu_seconds"] < MOST_CPU_SECONDS
