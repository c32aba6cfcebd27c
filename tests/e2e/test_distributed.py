"""The distributed mode, as processes of this machine: PostgreSQL, Redis, `footnote index`, the API and workers."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.jobs import QUEUES, celery_app, ring
from core.settings import Settings
from footnote.client import Client, Problem
from footnote.topology.distributed import Installation, distributed
from tests.e2e.conftest import FOOTNOTE, SAMPLES, clean_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is not installed (Debian: redis-server)"),
    pytest.mark.skipif(
        not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) and shutil.which("initdb") is None,
        reason="PostgreSQL is not installed (Debian: postgresql)",
    ),
]
SECONDS = 90.0


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="footnote-distributed-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as somebody else.
        with distributed(folder, durable=False, parse_workers=1, lease_seconds="5") as running:
            yield running


@pytest.fixture
def client(installation: Installation) -> Iterator[Client]:
    client = Client(installation.url, installation.owner_key)
    client.wait_until_ready()
    yield client
    client.close()


def _upload(client: Client, name: str, text: str) -> str:
    fields = {"name": name, "source": "tests", "allow": "*"}
    answer = client.call("POST", "/v1/documents", data=fields, files={"file": (name, text.encode())})
    return str(answer["documents"][0]["document"])


def _wait(client: Client, document: str) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            status: dict[str, Any] = client.call("GET", f"/v1/documents/{document}")
        except Problem as problem:
            if problem.status_code != 503:  # Part of the installation is just being started again.
                raise
            status = {"state": "unknown"}
        if status["state"] in {"searchable", "failed"}:
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


def test_documents_are_taken_in_by_workers_and_answered_from(installation: Installation) -> None:
    environment = clean_environment(FOOTNOTE_URL=installation.url, FOOTNOTE_API_KEY=installation.owner_key)

    def run(*arguments: str) -> Any:  # noqa: ANN401 - JSON
        done = subprocess.run(
            [*FOOTNOTE, *arguments, "--json"], capture_output=True, text=True, check=False, env=environment, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    report = run("ingest", str(SAMPLES / "documents"), "--allow", "*")
    assert {status["state"] for status in report["documents"]} == {"searchable"}
    answer = run("ask", "How quickly must a lost or stolen laptop be reported?")
    assert "two hours" in answer["answer"]
    assert answer["citations"][0]["name"] == "handbook/security-handbook.html"


def test_f3_an_upload_while_the_broker_is_down_and_wiped_is_accepted_and_searchable_later(
    installation: Installation, client: Client
) -> None:
    redis = installation.processes.pid("redis")
    assert redis is not None
    os.kill(redis, signal.SIGSTOP)
    try:
        document = _upload(client, "broker-away.txt", "The heron stood in the reeds while the broker was away.")
    finally:
        os.kill(redis, signal.SIGKILL)  # It keeps nothing on disk.

    assert _wait(client, document)["state"] == "searchable"


def test_f4_messages_that_are_doubled_forged_or_of_deleted_documents_have_no_effect(
    installation: Installation, client: Client
) -> None:
    settings = Settings(
        broker_url=SecretStr(installation.environment["FOOTNOTE_BROKER_URL"]),
        database_url=installation.environment["FOOTNOTE_DATABASE_URL"],
    )
    app = celery_app(settings)
    document = _upload(client, "once.txt", "The bittern booms once, and only once.")
    for queue in QUEUES:
        for stage in (document, "00000000-0000-0000-0000-000000000000", "'; DROP TABLE stages; --"):
            for _ in range(5):
                ring(app, queue, stage)
    status = _wait(client, document)
    hits = client.call("POST", "/v1/search", json={"query": "bittern booms", "limit": 50})["hits"]

    assert status["state"] == "searchable"
    assert [hit["document"] for hit in hits].count(document) == 1

    client.call("DELETE", f"/v1/documents/{document}")
    for queue in QUEUES:
        ring(app, queue, document)
    time.sleep(1)
    again = client.call("POST", "/v1/search", json={"query": "bittern booms", "limit": 50})["hits"]
    assert document not in {hit["document"] for hit in again}


def test_f8_an_index_that_is_killed_and_stalled_while_documents_come_in_ends_with_all_of_them(
    installation: Installation, client: Client
) -> None:
    documents = [_upload(client, f"index-{number}.txt", f"Warbler number {number} sang.") for number in range(6)]
    installation.processes.signal("index", signal.SIGKILL)
    documents += [_upload(client, f"later-{number}.txt", f"Late warbler {number} sang.") for number in range(6)]
    installation.processes.wait_until_ready("index")

    assert {_wait(client, document)["state"] for document in documents} == {"searchable"}


def test_workers_that_are_killed_are_replaced_and_what_they_held_is_done(
    installation: Installation, client: Client
) -> None:
    documents = [_upload(client, f"killed-{number}.txt", f"Plover number {number} ran.") for number in range(8)]
    for name in ("worker-parse-1", "worker-embed", "worker-index", "worker-maintenance"):
        installation.processes.signal(name, signal.SIGKILL)

    assert {_wait(client, document)["state"] for document in documents} == {"searchable"}


def test_f2_a_database_that_is_stopped_at_once_loses_nothing_that_was_accepted(
    installation: Installation, client: Client
) -> None:
    documents = [_upload(client, f"stopped-{number}.txt", f"Dunlin number {number} flew.") for number in range(8)]
    installation.processes.signal("postgres", signal.SIGQUIT)
    time.sleep(0.5)
    installation.processes.wait_until_ready("postgres")

    assert {_wait(client, document)["state"] for document in documents} == {"searchable"}
