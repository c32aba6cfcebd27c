"""A server that can be busy, for the adapter and for its connection."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.retrieval.index.gateway import Gateway, gateway
from tests.retrieval.index.index_process import IndexProcess


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    process = IndexProcess(Path(tmp_path_factory.mktemp("gateway")) / "data").start()
    with gateway(process.url) as found:
        yield found
    process.end(signal.SIGKILL)
