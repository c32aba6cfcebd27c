"""The distributed mode with its files on S3: no folder that the processes share, and every one sees every file."""

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from core.blobs.s3 import S3Blobs, connect
from core.db.session import Database
from core.intake import Intake
from core.settings import Settings
from footnote.client import Client, Problem
from footnote.topology.distributed import Installation, distributed
from tests.e2e.conftest import NEEDS_SERVERS, SAMPLES
from tests.object_store import Swift, environment_of

pytestmark = [*NEEDS_SERVERS, pytest.mark.timeout(900)]  # A test waits several times.
SECONDS = 200.0


@pytest.fixture(scope="module")
def installation(swift: Swift) -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="footnote-s3-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as somebody else.
        service: dict[str, Any] = environment_of(swift, uuid4().hex)
        with distributed(folder, durable=False, parse_workers=1, lease_seconds="5", **service) as running:
            yield running


@pytest.fixture
def client(installation: Installation) -> Iterator[Client]:
    client = Client(installation.url, installation.owner_key)
    client.wait_until_ready()
    yield client
    client.close()


def _upload(client: Client, name: str, content: bytes) -> str:
    fields = {"name": name, "source": "tests", "allow": "*"}
    answer = client.call("POST", "/v1/documents", data=fields, files={"file": (name, content)})
    return str(answer["documents"][0]["document"])


def _wait(client: Client, document: str) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while True:
        status: dict[str, Any] = client.call("GET", f"/v1/documents/{document}")
        if status["state"] in {"searchable", "failed"}:
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


def test_documents_on_s3_become_searchable_and_their_pages_and_citations_are_shown(
    installation: Installation, client: Client
) -> None:
    files = sorted(path for path in (SAMPLES / "documents").rglob("*") if path.is_file())
    documents = {path.name: _upload(client, path.name, path.read_bytes()) for path in files}

    assert {name: _wait(client, document)["state"] for name, document in documents.items()} == dict.fromkeys(
        documents, "searchable"
    )
    assert not (installation.folder / "blobs").exists()
    answer = client.call("POST", "/v1/chat", json={"question": "How quickly must a lost laptop be reported?"})
    citation = answer["citations"][0]
    assert citation["name"] == "security-handbook.html"
    assert "two hours" in answer["answer"]
    pdf = next(document for name, document in documents.items() if name.endswith(".pdf"))
    page = httpx.get(
        f"{installation.url}/v1/documents/{pdf}/pages/1.png",
        headers={"Authorization": f"Bearer {installation.owner_key}"},
        trust_env=False,
        timeout=SECONDS,
    )
    assert page.status_code == 200
    assert page.content.startswith(b"\x89PNG")


def test_an_upload_while_the_store_is_away_is_refused_and_accepted_later(client: Client, swift: Swift) -> None:
    text = b"The shearwater came back when the store did."
    before = _upload(client, "before.txt", b"The petrel was accepted before the store went away.")
    swift.kill("proxy")
    try:
        with pytest.raises(Problem) as refused:
            _upload(client, "away.txt", text)
        assert (refused.value.status_code, refused.value.code) == (503, "unavailable")
        listed = client.call("GET", "/v1/documents", params={"limit": 100})["documents"]
        assert "away.txt" not in {document["name"] for document in listed}
    finally:
        swift.restart("proxy")

    assert _wait(client, before)["state"] == "searchable"
    assert _wait(client, _upload(client, "away.txt", text))["state"] == "searchable"
    hits = client.call("POST", "/v1/search", json={"query": "shearwater", "limit": 5})["hits"]
    assert hits[0]["name"] == "away.txt"


def test_a_deleted_document_leaves_no_object_that_can_be_read(
    installation: Installation, client: Client, tmp_path: Path
) -> None:
    settings = _settings(installation)
    bucket = connect(settings, tmp_path)
    before = _objects(bucket)
    document = _upload(client, "gone.txt", b"The auk is gone.")
    assert _wait(client, document)["state"] == "searchable"
    own = _objects(bucket) - before
    assert any(sha256(b"The auk is gone.").hexdigest() in key for key in own)
    assert len(own) > 1  # Its text, too.
    installation.processes.signal("worker-parse-1", signal.SIGKILL)  # Its local copies are no second store.

    client.call("DELETE", f"/v1/documents/{document}")

    with pytest.raises(Problem) as gone:
        client.call("GET", f"/v1/documents/{document}/text")
    assert gone.value.status_code == 404
    with closing(Database(str(settings.database_url))) as database:
        intake = Intake(database=database, blobs=bucket, max_bytes=1)
        deadline = time.monotonic() + SECONDS
        while _objects(bucket) & own:
            assert time.monotonic() < deadline
            intake.collect(older_than=0)  # As the index does after an hour; first a worker takes the document apart.
            time.sleep(0.2)


def _settings(installation: Installation) -> Settings:
    given: dict[str, Any] = {
        name.removeprefix("FOOTNOTE_").lower(): value
        for name, value in installation.environment.items()
        if name.startswith("FOOTNOTE_")
    }
    return Settings(**given)


def _objects(bucket: S3Blobs) -> set[str]:
    """Return the keys of all that the installation has in the bucket."""
    return {key for key, _ in bucket._listed("")}
