import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from footnote.datadir import DataDirectory
from tests.e2e.conftest import FOOTNOTE, clean_environment
from tests.footnote.served import CommandLine
from tests.ingestion.works import story
from tests.processes import end_with_the_tests

pytestmark = pytest.mark.timeout(600)  # Some wait several times.
SMALL = clean_environment(FOOTNOTE_EMBEDDER="hashing:32", FOOTNOTE_RERANKER="none")
SECONDS = 280.0  # A worker gets a processor only when nobody else wants it.


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FOOTNOTE, *arguments], capture_output=True, text=True, check=False, env=SMALL, timeout=SECONDS
    )


@contextmanager
def _up(data: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start `footnote up` and wait until it has said where it answers."""
    with subprocess.Popen(
        [*FOOTNOTE, "up", "--data", str(data), "--port", "0", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=SMALL | {"PYTHONUNBUFFERED": "1"},
        cwd=data.parent,
        preexec_fn=end_with_the_tests,  # noqa: PLW1509 - it calls the kernel alone
    ) as process:
        try:
            deadline = time.monotonic() + SECONDS
            while DataDirectory(data).server() is None:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_server_is_reached_under_the_very_address_that_it_listens_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with _up(data, "--host", "127.0.0.2"):
        done = _run("status", "--data", str(data), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == []


@pytest.mark.parametrize("arguments", [["--port", "-1"], ["--port", "65536"], ["--port", "http"], ["elsewhere"]])
def test_a_port_that_is_none_is_wrong_usage(footnote: CommandLine, arguments: list[str]) -> None:
    assert footnote("up", *arguments).code == 2


def test_a_taken_port_is_told_at_once_and_touches_no_data(
    footnote: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.observability.structlog.configure", lambda **_: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = footnote("up", "--port", port, "--data", str(tmp_path / "data"))

    assert done.code == 1
    assert done.err.startswith(f"footnote: Port {port} on 127.0.0.1 cannot be used")
    assert done.out == ""
    assert not (tmp_path / "data").exists()


def test_a_held_directory_is_told(footnote: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.observability.structlog.configure", lambda **_: None)
    data = tmp_path / "data"
    with DataDirectory(data).held():
        done = footnote("up", "--port", "0", "--data", str(data), "--json")

    assert done.code == 1
    assert done.json["error"]["code"] == "data_directory_in_use"
    assert str(data) in done.json["error"]["detail"]


def test_a_directory_that_cannot_be_made_is_told(footnote: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = footnote("status", "--data", str(tmp_path / "file" / "data"), "--json")

    assert done.code == 1
    assert done.json["error"]["code"] == "storage_full"


@pytest.mark.slow
def test_up_says_where_it_answers_and_ends_in_order_when_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in (signal.SIGTERM, signal.SIGINT):
        with _up(data) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            server = DataDirectory(data).server()
            assert server is not None
            assert server.url in line
            assert str(data) in line
            assert httpx.get(f"{server.url}/readyz", trust_env=False).is_success
            process.send_signal(number)
            rest, told = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, told
        assert "token" not in line + rest  # A link that signs its reader in is for a terminal alone.
        assert told == ""
        assert not (data / "server.json").exists()


@pytest.mark.slow
def test_a_second_up_is_refused_and_the_first_one_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with _up(data):
        server = DataDirectory(data).server()
        assert server is not None
        port = server.url.rpartition(":")[2]

        same_directory = _run("up", "--data", str(data), "--port", "0")
        same_port = _run("up", "--data", str(tmp_path / "other"), "--port", port, "--json")

        assert (same_directory.returncode, same_directory.stdout) == (1, "")
        assert same_directory.stderr.startswith("footnote: Another process holds the data directory")
        assert same_directory.stderr.count("\n") == 1
        assert same_port.returncode == 1
        assert json.loads(same_port.stdout)["error"]["code"] == "unavailable"
        assert DataDirectory(data).server() == server
        assert httpx.get(f"{server.url}/readyz", trust_env=False).is_success


@pytest.mark.slow
def test_commands_at_the_same_time_on_a_directory_without_a_server_all_succeed(tmp_path: Path) -> None:
    """One of them serves itself and the others; when it ends first, another takes its place."""
    data = tmp_path / "data"
    for number in range(3):
        folder = tmp_path / f"files-{number}"
        folder.mkdir()
        for file in range(1 + 6 * number):
            (folder / f"{file}.txt").write_text(story(f"topic {number} {file}"))
    commands = [["ingest", str(tmp_path / f"files-{number}")] for number in range(3)] + [["status"], ["user", "list"]]
    running = [
        subprocess.Popen(
            [*FOOTNOTE, *command, "--data", str(data), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=SMALL,
            preexec_fn=end_with_the_tests,  # noqa: PLW1509 - it calls the kernel alone
        )
        for command in commands
    ]
    try:
        outcomes = [(*process.communicate(timeout=SECONDS), process.returncode) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()

    for out, told, code in outcomes:
        assert code == 0, out + told
    assert [json.loads(out)["totals"] for out, *_ in outcomes[:3]] == [
        {"searchable": 1},
        {"searchable": 7},
        {"searchable": 13},
    ]
    assert json.loads(_run("status", "--data", str(data), "--json").stdout)["totals"] == {"searchable": 21}
    assert not DataDirectory(data).is_held()


@pytest.mark.slow
def test_a_command_survives_the_death_of_the_server_it_speaks_to(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "files"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text(story(f"topic {number}"))
    command = [*FOOTNOTE, "ingest", str(folder), "--data", str(data), "--json"]
    with (
        _up(data) as server,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=SMALL,
            preexec_fn=end_with_the_tests,  # noqa: PLW1509 - it calls the kernel alone
        ) as ingesting,
    ):
        try:
            deadline = time.monotonic() + SECONDS
            while not any((data / "blobs").glob("default/*/*")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            server.kill()
            server.wait()
            out, told = ingesting.communicate(timeout=SECONDS)
        finally:
            ingesting.kill()

    assert ingesting.returncode == 0, out + told
    assert json.loads(out)["totals"] == {"searchable": 20}
