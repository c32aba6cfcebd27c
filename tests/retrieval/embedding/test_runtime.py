import os
import subprocess
import sys
from pathlib import Path


def test_loading_the_runtime_starts_no_telemetry(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from retrieval.embedding.runtime import best_precision, load_openvino\n"
        "print(best_precision(load_openvino().Core()), 'openvino_telemetry.main' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() in (["bf16", "False"], ["f32", "False"])
    assert list(tmp_path.iterdir()) == []
