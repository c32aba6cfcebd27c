"""Promise 7: nothing is fetched behind your back. It works on a machine that has no network at all."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import FOOTNOTE, SAMPLES, clean_environment

pytestmark = pytest.mark.slow

ALONE = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]


def test_ingesting_and_asking_work_without_any_network(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "ip link set lo up"], check=False).returncode:
        pytest.skip("this kernel gives no network namespace")
    program = " ".join(FOOTNOTE)
    script = (
        f"ip link set lo up && cd {tmp_path} && {program} ingest {SAMPLES / 'documents'} --data data --allow '*'"
        f" && {program} ask 'How often must the desiccant cartridge be replaced?' --data data"
    )
    done = subprocess.run([*ALONE, script], capture_output=True, text=True, check=False, env=clean_environment())

    assert done.returncode == 0, done.stdout + done.stderr
    assert "[1]" in done.stdout
