import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import os
from pathlib import Path
from ingestion.priority import weigh_session, yield_to_everybody
yield_to_everybody()
weigh_session()
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE)
print(Path("/proc/self/autogroup").read_text() if Path("/proc/self/autogroup").exists() else "none")
"""


def test_a_worker_yields_as_a_process_and_as_a_session() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, start_new_session=True
    )
    process, session, *_ = done.stdout.splitlines()
    assert process == "19 True"
    if session == "none" or not Path("/proc/sys/kernel/sched_autogroup_enabled").exists():
        pytest.skip("this kernel does not share out between sessions")
    assert session.split()[-1] == "19"
