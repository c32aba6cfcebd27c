"""The distributed mode over RabbitMQ instead of Redis, with a server of the test's own."""

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from footnote.client import Client
from footnote.topology.distributed import Installation, distributed
from footnote.topology.servers import rabbitmq_binary
from tests.e2e.conftest import NEEDS_SERVERS
from tests.e2e.test_distributed import SECONDS, upload, wait_until_done

pytestmark = [
    *NEEDS_SERVERS,
    pytest.mark.skipif(rabbitmq_binary() is None, reason="RabbitMQ is not installed (Debian: rabbitmq-server)"),
    pytest.mark.timeout(900),  # It waits several times.
]


@pytest.fixture
def installation() -> Iterator[Installation]:
    others = psutil.Process().children(recursive=True)  # servers that other tests of this process share
    with tempfile.TemporaryDirectory(prefix="footnote-rabbitmq-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as somebody else.
        with distributed(folder, durable=False, parse_workers=1, broker="rabbitmq", embedder="hashing:64") as running:
            yield running
            family = [child for child in psutil.Process().children(recursive=True) if child not in others]
        _, left = psutil.wait_procs(family, timeout=60)
        assert [process.name() for process in left] == []  # No name server of Erlang's either.


def test_documents_are_taken_in_over_rabbitmq_and_workers_outlive_its_restart(installation: Installation) -> None:
    client = Client(installation.url, installation.owner_key)
    client.wait_until_ready()
    first = [upload(client, f"first-{number}.txt", f"Egret number {number} waded.") for number in range(3)]
    assert {wait_until_done(client, document)["state"] for document in first} == {"searchable"}
    workers = {name: installation.processes.pid(name) for name in installation.processes.names if "worker" in name}

    for number in (signal.SIGKILL, signal.SIGTERM):
        ends = installation.processes.restarts["rabbitmq"]
        installation.processes.signal("rabbitmq", number)
        away = upload(client, f"away-{number}.txt", f"A crane came while the broker was away, {number}.")
        deadline = time.monotonic() + SECONDS
        while installation.processes.restarts["rabbitmq"] == ends:  # While it shuts down it is still ready.
            assert time.monotonic() < deadline
            time.sleep(0.05)
        installation.processes.wait_until_ready("rabbitmq")
        back = upload(client, f"back-{number}.txt", f"A crane came when the broker was back, {number}.")
        assert {wait_until_done(client, document)["state"] for document in (away, back)} == {"searchable"}

    assert client.call("POST", "/v1/search", json={"query": "crane broker", "limit": 9})["hits"]
    assert installation.processes.restarts["rabbitmq"] == 2
    # They went on, unless one heard nothing from the new connection and had itself started again.
    assert sum(installation.processes.pid(name) == pid for name, pid in workers.items()) >= 1
    client.close()
