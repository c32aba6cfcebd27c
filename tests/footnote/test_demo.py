import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from core.errors import Unavailable
from footnote.datadir import DataDirectory
from footnote.demo import RESTRICTED_QUESTION, SAMPLES, stop
from footnote.topology.servers import free_port
from tests.e2e.conftest import clean_environment, footnote, footnote_json

SMALL = clean_environment(FOOTNOTE_EMBEDDER="hashing:64", FOOTNOTE_RERANKER="none")


def _demo(data: Path, *arguments: str, environment: dict[str, str] = SMALL) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "footnote.demo", "--data", str(data), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=280,
    )


def test_stopping_where_nothing_runs_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop(DataDirectory(tmp_path / "none"))

    assert capsys.readouterr().out == "Nothing is running.\n"


def test_what_a_dead_server_left_behind_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a crash the process id may be anybody's."""
    directory = DataDirectory(tmp_path)
    directory.create()
    directory.announce("http://127.0.0.1:9")  # With the id of this very process.
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("somebody else's process"))

    stop(directory)

    assert capsys.readouterr().out == "Nothing is running.\n"


def test_a_server_that_does_not_stop_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("footnote.demo.STOP_SECONDS", 0.1)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    directory = DataDirectory(tmp_path)
    with directory.held():
        directory.announce("http://127.0.0.1:9")
        with pytest.raises(Unavailable, match="has not stopped"):
            stop(directory)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demonstration_answers_stays_up_is_reused_and_stops(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    questions = [line for line in (SAMPLES / "demo_questions.txt").read_text().splitlines() if line.strip()]
    try:
        first = _demo(data, "--port", str(port), environment=clean_environment())
        assert first.returncode == 0, first.stderr
        for question in questions:
            assert question in first.stdout
        answered, _, board = first.stdout.partition(f"? {RESTRICTED_QUESTION}")
        assert answered.count("\n  [1] ") == len(questions)
        assert "I don't know" not in answered
        withheld, _, told = board.partition(f"? {RESTRICTED_QUESTION}")
        assert "I don't know" in withheld
        assert "3.4 million" not in withheld
        assert "3.4 million" in told
        assert f"http://127.0.0.1:{port}/" in first.stdout
        assert "failed" not in first.stdout
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success

        second = _demo(data, "--port", str(port))
        assert second.returncode == 0, second.stderr
        assert f"Using the server on http://127.0.0.1:{port}." in second.stdout
    finally:
        stopped = _demo(data, "--stop")
    assert (stopped.returncode, stopped.stdout) == (0, "Stopped.\n")
    assert not DataDirectory(data).is_held()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_directory_of_somebody_who_works_here_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert footnote("user", "add", "zoe", data=data).returncode == 0
    try:
        assert _demo(data, "--port", str(free_port())).returncode == 0
        users = footnote_json("user", "list", data=data)["users"]
    finally:
        _demo(data, "--stop")
    assert {user["name"] for user in users} == {"owner", "zoe"}


@pytest.mark.slow
def test_a_taken_port_ends_the_demonstration_with_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = _demo(tmp_path / "data", "--port", str(taken.getsockname()[1]))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("footnote: The server did not start: ")
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
