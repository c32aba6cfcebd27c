"""One suite for every broker: what `core.jobs` sends arrives at a worker, over a real wire."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from core.errors import Unavailable
from core.jobs import QUEUES, celery_app, ring, waiting_messages
from core.settings import Settings
from footnote.topology.processes import Processes
from footnote.topology.servers import free_port, rabbitmq, rabbitmq_binary, redis
from tests.e2e.conftest import clean_environment
from tests.processes import end_with_the_tests, ended

pytestmark = pytest.mark.slow
DATABASE = "postgresql+psycopg://nobody@127.0.0.1:9/none"  # Named because a broker needs one; nobody connects.
SECONDS = 60.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a broker: the one that the environment names, or one of the test's own."""
    variable = f"FOOTNOTE_TEST_{request.param.upper()}_URL"
    named = os.environ.get(variable)
    if named is not None:
        yield named
        return
    if request.param == "redis" and shutil.which("redis-server") is None:
        pytest.skip(f"Redis is not installed (Debian: redis-server), and {variable} is not set")
    if request.param == "rabbitmq" and rabbitmq_binary() is None:
        pytest.skip(f"RabbitMQ is not installed (Debian: rabbitmq-server), and {variable} is not set")
    with _started(request.param, tmp_path_factory.mktemp(request.param)) as (url, _):
        yield url


@contextmanager
def _started(kind: str, folder: Path) -> Iterator[tuple[str, Processes]]:
    """Start a broker of the test's own; yield its URL, and its processes by the name of their program."""
    port, processes = free_port(), Processes()
    try:
        if kind == "redis":
            processes.start(redis(folder, port, durable=False))
            url = f"redis://127.0.0.1:{port}/0"
        else:
            for program in rabbitmq(folder, port):
                processes.start(program)
            url = f"amqp://guest:guest@127.0.0.1:{port}//"
        _wait_until_answered(url)
        yield url, processes
    finally:
        processes.stop()


def _wait_until_answered(url: str) -> None:
    """Return once the broker answers: one that listens may still take longer for its first answer than a limit."""
    app = celery_app(Settings(broker_url=SecretStr(url), database_url=DATABASE))
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            waiting_messages(app, "parse")
        except Unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@pytest.fixture(name="settings")
def settings_of_the_broker(broker: str) -> Settings:
    return Settings(broker_url=SecretStr(broker), database_url=DATABASE)


@contextmanager
def _worker(broker: str, queue: str, heard: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.contracts.echo_worker", queue, str(heard)],
        env=clean_environment(FOOTNOTE_BROKER_URL=broker, FOOTNOTE_DATABASE_URL=DATABASE, PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL,
        cwd=heard.parent,
        preexec_fn=end_with_the_tests,  # noqa: PLW1509 - it calls the kernel alone
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)  # It acknowledges what it has heard.
        ended(process)


def _wait_for(heard: Path, count: int) -> list[str]:
    deadline = time.monotonic() + SECONDS
    while True:
        lines = heard.read_text().splitlines() if heard.exists() else []
        if len(lines) >= count:
            return lines
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)


@pytest.mark.parametrize("queue", QUEUES)
def test_a_message_arrives_at_a_worker_of_its_queue_alone(
    broker: str, settings: Settings, tmp_path: Path, queue: str
) -> None:
    app, stage = celery_app(settings), uuid4().hex
    other = next(name for name in QUEUES if name != queue)
    with _worker(broker, queue, tmp_path / "heard"):
        ring(app, other, "not yours")
        ring(app, queue, stage)

        assert _wait_for(tmp_path / "heard", 1) == [f"{queue} {stage}"]
    with _worker(broker, other, tmp_path / "of the other"):
        assert _wait_for(tmp_path / "of the other", 1) == [f"{other} not yours"]


def test_messages_wait_for_a_worker_and_are_counted_until_it_comes(
    broker: str, settings: Settings, tmp_path: Path
) -> None:
    app = celery_app(settings)
    stages = [uuid4().hex for _ in range(5)]
    assert waiting_messages(app, "embed") == 0
    for stage in stages:
        ring(app, "embed", stage)
    assert waiting_messages(app, "embed") == 5

    with _worker(broker, "embed", tmp_path / "heard"):
        assert sorted(_wait_for(tmp_path / "heard", 5)) == sorted(f"embed {stage}" for stage in stages)
    assert waiting_messages(app, "embed") == 0


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_not_there_is_said_to_be_unavailable(scheme: str) -> None:
    app = celery_app(Settings(broker_url=SecretStr(f"{scheme}://127.0.0.1:{free_port()}//"), database_url=DATABASE))

    with pytest.raises(Unavailable):
        ring(app, "parse", "x")
    with pytest.raises(Unavailable):
        waiting_messages(app, "parse")


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_f3_a_broker_that_stands_still_is_not_waited_for_and_answers_when_it_goes_on(kind: str, tmp_path: Path) -> None:
    if (shutil.which("redis-server") if kind == "redis" else rabbitmq_binary()) is None:
        pytest.skip(f"{kind} is not installed")
    with _started(kind, tmp_path) as (url, processes):
        app = celery_app(Settings(broker_url=SecretStr(url), database_url=DATABASE))
        assert waiting_messages(app, "embed") == 0
        processes.signal(kind, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(Unavailable):
                waiting_messages(app, "embed")
            assert time.monotonic() - began < SECONDS
        finally:
            processes.signal(kind, signal.SIGCONT)
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                ring(app, "embed", "on")
                break
            except Unavailable:
                assert time.monotonic() < deadline
        assert waiting_messages(app, "embed") == 1
