from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingestion.sandbox import ParserLimits
from ingestion.sandbox.client import ForkServerClient

LIMITS = ParserLimits(
    wall_seconds=20,
    cpu_seconds=5,
    memory_bytes=300_000_000,
    output_bytes=1_000_000,
    file_bytes=1_000_000,
    open_files=64,
    scratch_bytes=5_000_000,
    scratch_files=100,
)
ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., ForkServerClient]


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    """Let the fork server import this folder's parsers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@pytest.fixture(scope="module")
def hostile() -> Iterator[ForkServerClient]:
    """Children that misbehave, under small limits."""
    client = ForkServerClient("tests.ingestion.sandbox.hostile", LIMITS, processes=2)
    yield client
    client.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path
