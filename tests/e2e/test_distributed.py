"""The distributed mode, as processes of this machine: PostgreSQL, Redis, `footnote index`, the API and workers."""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
import redis
from pydantic import SecretStr
from sqlalchemy import func, select, text

from core.db.session import Database
from core.db.tables import ChunkRow, DocumentRow, StageRow, VersionRow, WakeupRow
from core.domain import StageName
from core.jobs import QUEUES, celery_app, ring
from core.settings import Settings
from footnote.client import Client, Problem
from footnote.topology.distributed import Installation, distributed
from tests.e2e.conftest import FOOTNOTE, NEEDS_SERVERS, SAMPLES, clean_environment

pytestmark = [*NEEDS_SERVERS, pytest.mark.timeout(900)]  # A test waits several times.
SECONDS = 200.0
LEASE_SECONDS = 20  # Workers get what processor time is left: a heartbeat may well come some seconds late.
VISIBILITY_SECONDS = 5
LONG_PARSE_SECONDS = 60.0
AT_LEAST = 12  # Uploads while connections are cut
PARSE_WORKERS = ("worker-parse-1", "worker-parse-2")


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="footnote-distributed-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as somebody else.
        with distributed(
            folder, durable=False, lease_seconds=str(LEASE_SECONDS), visibility_seconds=str(VISIBILITY_SECONDS)
        ) as running:
            yield running


@pytest.fixture
def client(installation: Installation) -> Iterator[Client]:
    client = Client(installation.url, installation.owner_key)
    client.wait_until_ready()
    yield client
    client.close()


@pytest.fixture
def catalogue(installation: Installation) -> Iterator[Database]:
    database = Database(installation.environment["FOOTNOTE_DATABASE_URL"])
    yield database
    database.close()


@pytest.fixture
def broker(installation: Installation) -> Iterator[redis.Redis]:
    with redis.Redis(port=installation.ports.broker, decode_responses=True) as broker:
        yield broker


def upload(client: Client, name: str, text: str) -> str:
    fields = {"name": name, "source": "tests", "allow": "*"}
    answer = client.call("POST", "/v1/documents", data=fields, files={"file": (name, text.encode())})
    return str(answer["documents"][0]["document"])


def wait_until_done(client: Client, document: str) -> dict[str, Any]:
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
            [*FOOTNOTE, *arguments, "--json"], capture_output=True, text=True, check=False, env=environment, timeout=280
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
        document = upload(client, "broker-away.txt", "The heron stood in the reeds while the broker was away.")
    finally:
        os.kill(redis, signal.SIGKILL)  # It keeps nothing on disk.

    assert wait_until_done(client, document)["state"] == "searchable"


def test_f3_uploads_while_the_broker_has_no_memory_left_are_accepted_and_searchable_soon_after(
    client: Client, catalogue: Database, broker: redis.Redis
) -> None:
    broker.config_set("maxmemory", "1")  # It evicts nothing: what it has no room for is refused.
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            broker.rpush("anything", "more")
        documents = [upload(client, f"full-{number}.txt", f"Godwit number {number} probed.") for number in range(5)]
        time.sleep(2)
        assert _unsent(catalogue) > 0
    finally:
        broker.config_set("maxmemory", "0")
    _wait_for(lambda: _unsent(catalogue) == 0, seconds=10 + 5)  # 10 s is the longest that a relay waits.

    assert {wait_until_done(client, document)["state"] for document in documents} == {"searchable"}


def test_f4_messages_that_are_doubled_forged_or_of_deleted_documents_have_no_effect(
    installation: Installation, client: Client, catalogue: Database
) -> None:
    settings = Settings(
        broker_url=SecretStr(installation.environment["FOOTNOTE_BROKER_URL"]),
        database_url=installation.environment["FOOTNOTE_DATABASE_URL"],
    )
    app = celery_app(settings)
    document = upload(client, "once.txt", "The bittern booms once, and only once.")
    stages = [str(stage.id) for stage in _stages(catalogue, document)]
    assert len(stages) == len(StageName)
    for queue in reversed(QUEUES):  # Each is told of its step before there is anything to do.
        for stage in (*stages, document, "00000000-0000-0000-0000-000000000000", "'; DROP TABLE stages; --"):
            for _ in range(5):
                ring(app, queue, stage)
    status = wait_until_done(client, document)
    for queue in QUEUES:
        for stage in stages:
            ring(app, queue, stage)
    hits = client.call("POST", "/v1/search", json={"query": "bittern booms", "limit": 50})["hits"]

    assert status["state"] == "searchable"
    assert [hit["document"] for hit in hits].count(document) == 1
    assert {(stage.name, stage.state, stage.attempt) for stage in _stages(catalogue, document)} == {
        (name.value, "done", 1) for name in StageName
    }

    client.call("DELETE", f"/v1/documents/{document}")
    for queue in QUEUES:
        ring(app, queue, document)
    time.sleep(1)
    again = client.call("POST", "/v1/search", json={"query": "bittern booms", "limit": 50})["hits"]
    assert document not in {hit["document"] for hit in again}
    _wait_for(lambda: not _stages(catalogue, document))  # It is purged, and nothing brought it back.


def test_f8_an_index_that_is_killed_and_stalled_while_documents_come_in_ends_with_all_of_them(
    installation: Installation, client: Client, catalogue: Database
) -> None:
    documents = [upload(client, f"index-{number}.txt", f"Warbler number {number} sang.") for number in range(6)]
    installation.processes.signal("index", signal.SIGKILL)
    documents += [upload(client, f"later-{number}.txt", f"Late warbler {number} sang.") for number in range(6)]
    installation.processes.wait_until_ready("index")
    assert {wait_until_done(client, document)["state"] for document in documents} == {"searchable"}

    installation.processes.signal("index", signal.SIGSTOP)
    try:
        stalled = [upload(client, f"stalled-{number}.txt", f"Stalled warbler {number} sang.") for number in range(6)]
        _wait_for(lambda: any(_stage(catalogue, one, StageName.INDEX).started_at is not None for one in stalled))
    finally:
        installation.processes.signal("index", signal.SIGCONT)

    assert {wait_until_done(client, document)["state"] for document in stalled} == {"searchable"}


def test_workers_that_are_killed_are_replaced_and_what_they_held_is_done(
    installation: Installation, client: Client
) -> None:
    documents = [upload(client, f"killed-{number}.txt", f"Plover number {number} ran.") for number in range(8)]
    for name in ("worker-parse-1", "worker-embed", "worker-index", "worker-maintenance"):
        installation.processes.signal(name, signal.SIGKILL)

    assert {wait_until_done(client, document)["state"] for document in documents} == {"searchable"}


def test_f2_a_database_that_is_stopped_at_once_loses_nothing_that_was_accepted(
    installation: Installation, client: Client
) -> None:
    documents = [upload(client, f"stopped-{number}.txt", f"Dunlin number {number} flew.") for number in range(8)]
    installation.processes.signal("postgres", signal.SIGQUIT)
    time.sleep(0.5)
    installation.processes.wait_until_ready("postgres")

    assert {wait_until_done(client, document)["state"] for document in documents} == {"searchable"}


def test_f2_connections_cut_in_the_middle_of_commits_leave_one_document_per_key(
    installation: Installation, client: Client, catalogue: Database
) -> None:
    """Commits take a fifth of a second here, so that connections are often cut inside them."""
    sent: list[str] = []
    failures = 0
    url, headers = f"{installation.url}/v1/documents", {"Authorization": f"Bearer {installation.owner_key}"}
    with _slow_commits(catalogue), _connections_cut(catalogue), httpx.Client(trust_env=False, timeout=30) as http:
        while len(sent) < AT_LEAST or not failures:  # Or nothing was cut where it matters.
            assert len(sent) < 20 * AT_LEAST
            sent.append(f"cut-{len(sent)}.txt")
            file = {"file": (sent[-1], f"Sanderling {sent[-1]} ran.".encode())}
            deadline = time.monotonic() + SECONDS
            while True:
                key = headers | {"Idempotency-Key": sent[-1]}
                with suppress(httpx.TransportError):
                    answer = http.post(url, files=file, headers=key, data={"allow": "*"})
                    if answer.status_code == 202:
                        break
                    assert answer.status_code == 503, answer.text
                failures += 1
                assert time.monotonic() < deadline

    with catalogue.reading() as session:
        names = session.scalars(select(DocumentRow.name).where(DocumentRow.name.like("cut-%"))).all()
        rows = session.execute(
            select(DocumentRow.id, func.count(StageRow.id))
            .outerjoin(StageRow, StageRow.document_id == DocumentRow.id)
            .where(DocumentRow.name.like("cut-%"))
            .group_by(DocumentRow.id)
        ).all()
    assert sorted(names) == sorted(sent)
    assert {stages for _, stages in rows} == {len(StageName)}  # Row and work together, or neither.
    assert {wait_until_done(client, str(document))["state"] for document, _ in rows} == {"searchable"}


def test_f9_a_worker_stopped_past_its_lease_changes_nothing_when_it_goes_on_and_readers_see_one_version(
    installation: Installation, client: Client, catalogue: Database
) -> None:
    document = upload(client, "curlew.txt", "The curlew of version 1 called over the moor.")
    assert wait_until_done(client, document)["state"] == "searchable"
    with _versions_read(installation, document) as seen:
        _wait_for(lambda: {"1"} in seen)
        with _fork_servers_stopped(installation, client) as servers:
            upload(client, "curlew.txt", "The curlew of version 2 called over the moor.")
            _wait_for(lambda: _stage(catalogue, document, StageName.PARSE).state == "leased")
            stale = _stage(catalogue, document, StageName.PARSE)
            *_, holder = map(int, re.findall(r"\d+", str(stale.lease_owner)))
            own = {child.pid for child in psutil.Process(holder).children(recursive=True)}
            with _stopped(holder):
                for server in servers - own:
                    os.kill(server, signal.SIGCONT)
                _wait_for(lambda: _stage(catalogue, document, StageName.INDEX).state == "done")
                assert _stage(catalogue, document, StageName.PARSE).fence > stale.fence
                _wait_for(lambda: {"2"} in seen)
                upload(client, "curlew.txt", "The curlew of version 3 called over the moor.")
                _wait_for(lambda: _versions(catalogue, document) == (3, 3))
        _wait_for(lambda: not _parses(own))  # Its lease is somebody else's, and done with; its parse ends now.
        after = upload(client, "later.txt", "A later bird.")
        assert wait_until_done(client, after)["state"] == "searchable"
        _wait_for(lambda: {"3"} in seen)

    assert _versions(catalogue, document) == (3, 3)
    assert {len(versions) for versions in seen} == {1}  # Never two, never none.
    order = [next(iter(versions)) for versions in seen]
    assert order == sorted(order)
    assert set(order) == {"1", "2", "3"}
    with catalogue.reading() as session:
        states = session.scalars(select(StageRow.state).where(StageRow.document_id == UUID(document))).all()
        live = select(DocumentRow.current_version).where(DocumentRow.id == UUID(document)).scalar_subquery()
        chunks = session.scalars(select(ChunkRow.version_id).where(ChunkRow.document_id == UUID(document))).all()
        assert set(chunks) == {session.scalar(select(live))}
    assert set(states) == {"done"}


def test_f12_a_right_that_is_taken_while_the_index_is_down_is_gone_when_it_is_back(
    installation: Installation, client: Client
) -> None:
    document = upload(client, "osprey.txt", "The osprey took a bream from the loch.")
    assert wait_until_done(client, document)["state"] == "searchable"
    body = {"query": "osprey bream loch", "limit": 50}

    def found() -> bool:
        hits = client.call("POST", "/v1/search", json=body, headers={"X-Footnote-As": "user:bob"})["hits"]
        return document in {hit["document"] for hit in hits}

    assert found()
    for number in (signal.SIGSTOP, signal.SIGKILL):
        installation.processes.signal("index", number)
        client.call("PATCH", f"/v1/documents/{document}/acl", json={"deny": ["user:bob"]})
        installation.processes.signal("index", signal.SIGCONT)
        installation.processes.wait_until_ready("index")
        for _ in range(20):
            assert not found()
        client.call("PATCH", f"/v1/documents/{document}/acl", json={"remove": ["user:bob"]})
        _wait_for(found)


def test_a_parse_of_a_minute_under_a_visibility_timeout_of_five_seconds_has_its_effects_once(
    installation: Installation, client: Client, catalogue: Database, broker: redis.Redis
) -> None:
    with _redelivered(broker) as redelivered, _fork_servers_stopped(installation, client):
        document = upload(client, "minute.txt", "The nightjar churred for a minute.\n\n" * 3)
        _wait_for(lambda: _stage(catalogue, document, StageName.PARSE).state == "leased")
        began = time.monotonic()
        while time.monotonic() - began < LONG_PARSE_SECONDS:
            time.sleep(1)
            assert _stage(catalogue, document, StageName.PARSE).attempt == 1
    assert wait_until_done(client, document)["state"] == "searchable"

    assert redelivered  # Its message went to others meanwhile: workers look every 10 s for such.
    assert {(stage.name, stage.state, stage.attempt, stage.fence) for stage in _stages(catalogue, document)} == {
        (name.value, "done", 1, 1) for name in StageName
    }
    with catalogue.reading() as session:
        chunks = session.scalars(select(ChunkRow.ordinal).where(ChunkRow.document_id == UUID(document))).all()
    hits = client.call("POST", "/v1/search", json={"query": "nightjar churred", "limit": 50})["hits"]
    assert sorted(chunks) == list(range(len(chunks)))
    assert [hit["document"] for hit in hits].count(document) == len(chunks)


def _wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _stages(catalogue: Database, document: str) -> list[StageRow]:
    """Return the stages of the newest version."""
    newest = select(DocumentRow.newest_version).where(DocumentRow.id == UUID(document)).scalar_subquery()
    with catalogue.reading() as session:
        return list(session.scalars(select(StageRow).where(StageRow.version_id == newest)))


def _stage(catalogue: Database, document: str, name: StageName) -> StageRow:
    return next(stage for stage in _stages(catalogue, document) if stage.name == name.value)


def _versions(catalogue: Database, document: str) -> tuple[int, int]:
    """Return the numbers of the version that readers see and of the newest one."""
    with catalogue.reading() as session:
        row = session.execute(
            select(DocumentRow.current_version, DocumentRow.newest_version).where(DocumentRow.id == UUID(document))
        ).one()
        numbers = dict(
            session.execute(
                select(VersionRow.id, VersionRow.ordinal).where(VersionRow.document_id == UUID(document))
            ).all()
        )
    return numbers[row.current_version], numbers[row.newest_version]


def _unsent(catalogue: Database) -> int:
    with catalogue.reading() as session:
        return session.scalar(select(func.count()).select_from(WakeupRow)) or 0


def _parses(servers: set[int]) -> bool:
    for pid in servers:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).children():
                return True
    return False


@contextmanager
def _versions_read(installation: Installation, document: str) -> Iterator[list[set[str]]]:
    """Search for the document again and again until the block ends; yield the versions that each answer told of."""
    seen: list[set[str]] = []
    over = threading.Event()
    body = {"query": "curlew called over the moor", "limit": 50}

    def read() -> None:
        with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {installation.owner_key}"}) as http:
            while not over.wait(0.05):  # Without a pause it would leave the workers no processor.
                answer = http.post(f"{installation.url}/v1/search", json=body, timeout=SECONDS)
                if answer.status_code == 503:  # It tells of no version, and not that there is none.
                    continue
                assert answer.status_code == 200, answer.text
                hits = [hit["text"] for hit in answer.json()["hits"] if hit["document"] == document]
                seen.append({re.findall(r"version (\d)", hit)[0] for hit in hits})

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            yield seen
        finally:
            over.set()
            reading.result()  # Its own error is told before any that followed from it.


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """Let the process stand still until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _fork_servers_stopped(installation: Installation, client: Client) -> Iterator[set[int]]:
    """Let no parse begin until the block ends, in whichever worker: each has its fork server, and that stands still."""
    number = 0
    while not all(_fork_servers(installation, name) for name in PARSE_WORKERS):
        number += 1
        assert number < 40
        warm = [upload(client, f"warm-{time.time_ns()}.txt", f"Warm {time.time_ns()}.") for _ in range(3)]
        assert {wait_until_done(client, document)["state"] for document in warm} == {"searchable"}
    servers = {pid for name in PARSE_WORKERS for pid in _fork_servers(installation, name)}
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield servers
    finally:
        for pid in servers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _fork_servers(installation: Installation, worker: str) -> set[int]:
    pid = installation.processes.pid(worker)
    family = psutil.Process(pid).children(recursive=True) if pid is not None else []
    found = set()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            if "ingestion.sandbox.server" in process.cmdline() and "sandbox.server" not in " ".join(
                process.parent().cmdline()
            ):
                found.add(process.pid)
    return found


@contextmanager
def _redelivered(broker: redis.Redis) -> Iterator[list[str]]:
    """Yield the commands by which the broker's clients give a message to somebody else, as they come."""
    found: list[str] = []
    over = threading.Event()

    def watch() -> None:
        with broker.monitor() as monitor:  # type: ignore[no-untyped-call]  # it ships some types only
            while not over.is_set():
                if monitor.connection.can_read(timeout=0.2):
                    command = str(monitor.next_command()["command"])
                    if re.search(r"redelivered\W+true", command) and command.split(maxsplit=1)[0] in {"RPUSH", "LPUSH"}:
                        found.append(command)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@contextmanager
def _slow_commits(catalogue: Database) -> Iterator[None]:
    """Let every commit of a new document take a while."""
    with catalogue.transaction() as session:
        session.execute(
            text(
                "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END$$"
            )
        )
        session.execute(
            text(
                "CREATE CONSTRAINT TRIGGER dawdling AFTER INSERT ON documents DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION dawdle()"
            )
        )
    try:
        yield
    finally:
        with catalogue.transaction() as session:
            session.execute(text("DROP TRIGGER dawdling ON documents"))
            session.execute(text("DROP FUNCTION dawdle()"))


@contextmanager
def _connections_cut(catalogue: Database) -> Iterator[None]:
    """Cut connections that are committing, a third of the time, until the block ends."""
    over = threading.Event()
    cut = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active' AND query = 'COMMIT'"
    )

    def go_on() -> None:
        while not over.wait(0.31):
            with catalogue.transaction() as session:
                session.execute(cut)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
