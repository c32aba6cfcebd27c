import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from core.domain import Reason
from core.errors import Unavailable
from ingestion.parsing.failures import ChildKilled, ParseFailed
from ingestion.sandbox import client as sandbox_client
from ingestion.sandbox.client import ForkServerClient
from tests.ingestion.sandbox.conftest import LIMITS, ROOT

pytestmark = pytest.mark.slow

MISDEEDS = "tests.ingestion.sandbox.hostile"


def _reason(client: ForkServerClient, file: Path, deed: str) -> Reason:
    with pytest.raises(ParseFailed) as caught:
        client.run(file, {"do": deed})
    assert client.run(file, {"do": "echo"}).payload == b"content"  # The server lives on.
    return caught.value.reason


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("loop", Reason.PARSER_TIMEOUT),
        ("hog", Reason.PARSER_OOM),
        ("gulp", Reason.PARSER_OOM),
        ("segfault", Reason.PARSER_CRASHED),
        ("abort", Reason.PARSER_CRASHED),
        ("exit", Reason.PARSER_CRASHED),
        ("defect", Reason.PARSER_CRASHED),
        ("recursion", Reason.PARSER_CRASHED),
        ("gibberish", Reason.PARSER_CRASHED),
        ("forged failure", Reason.PARSER_CRASHED),
        ("flood", Reason.OUTPUT_TOO_LARGE),
        ("sneaky flood", Reason.OUTPUT_TOO_LARGE),
        ("hoard", Reason.OUTPUT_TOO_LARGE),
        ("nameless hoard", Reason.OUTPUT_TOO_LARGE),
        ("litter", Reason.OUTPUT_TOO_LARGE),
        ("shaft", Reason.OUTPUT_TOO_LARGE),
        ("typed", Reason.ENCRYPTED),
    ],
)
def test_f5_whatever_a_child_does_ends_as_a_typed_reason(
    hostile: ForkServerClient, file: Path, deed: str, reason: Reason
) -> None:
    assert _reason(hostile, file, deed) is reason


@pytest.mark.parametrize(
    ("deed", "function", "words"),
    [
        ("segfault", "_segfault", "Fatal Python error: Segmentation fault"),
        ("abort", "_abort", "Fatal Python error: Aborted"),
        ("defect", "_defect", "KeyError"),
    ],
)
def test_the_last_words_of_a_child_tell_where_it_was_and_nothing_else(
    hostile: ForkServerClient, file: Path, deed: str, function: str, words: str
) -> None:
    *lines, last = _last_words(hostile, file, deed)
    assert last == words
    _assert_tells_where(lines, function)


def test_the_last_words_of_a_child_that_used_up_its_cpu_time_tell_where_it_was(file: Path) -> None:
    # Whom the clock ends has none: it is to be CPU time that ends this one, also where it gets half a processor.
    client = ForkServerClient(MISDEEDS, replace(LIMITS, cpu_seconds=1, wall_seconds=60.0), processes=1)
    with closing(client):
        _assert_tells_where(_last_words(client, file, "loop"), "_loop")


def _last_words(client: ForkServerClient, file: Path, deed: str) -> list[str]:
    with pytest.raises(ParseFailed) as caught:
        client.run(file, {"do": deed})
    return (caught.value.excerpt or "").splitlines()


def _assert_tells_where(lines: Sequence[str], function: str) -> None:
    here = rf"  tests\.ingestion\.sandbox\.hostile, line \d+, in {function}"
    assert any(re.fullmatch(here, line) for line in lines)
    assert all(re.fullmatch(r"  \.\.\.|  [\w.<>]+, line \d+, in [\w.<>]+", line) for line in lines)


@pytest.mark.parametrize("deed", ["confession", "forged page"])
def test_what_a_child_says_of_its_document_is_not_kept(hostile: ForkServerClient, file: Path, deed: str) -> None:
    with pytest.raises(ParseFailed) as caught:
        hostile.run(file, {"do": deed})
    assert (caught.value.reason, caught.value.page, caught.value.excerpt) == (Reason.PARSER_CRASHED, None, None)


def test_a_defect_is_told_by_its_kind_and_no_word_of_the_document(hostile: ForkServerClient, file: Path) -> None:
    with pytest.raises(ParseFailed) as caught:
        hostile.run(file, {"do": "defect"})
    assert (caught.value.reason, caught.value.detail) == (Reason.PARSER_CRASHED, "KeyError")


def test_a_typed_failure_keeps_its_page(hostile: ForkServerClient, file: Path) -> None:
    with pytest.raises(ParseFailed) as caught:
        hostile.run(file, {"do": "typed"})
    assert (caught.value.page, caught.value.excerpt) == (3, None)


def test_a_child_that_sleeps_is_ended_by_the_clock(file: Path) -> None:
    client = ForkServerClient(MISDEEDS, replace(LIMITS, wall_seconds=10.0), processes=1)
    assert _reason(client, file, "sleep") is Reason.PARSER_TIMEOUT
    client.close()


def test_memory_stays_near_the_limit(hostile: ForkServerClient, file: Path) -> None:
    outcome = hostile.run(file, {"do": "echo"})
    assert 0 < outcome.peak_rss < LIMITS.memory_bytes


def test_a_child_reaches_nothing_outside(hostile: ForkServerClient, file: Path) -> None:
    if not {"seccomp", "landlock"} <= set(hostile.layers()):
        pytest.skip("this kernel has neither seccomp nor Landlock")
    with tempfile.TemporaryDirectory() as folder:
        outside = Path(folder)
        outside.chmod(0o777)
        (outside / "victim").write_text("x")
        (outside / "secret").write_text("x")
        (outside / "secret").chmod(0o666)
        task = {"do": "attempts", "outside": folder, "secret": str(outside / "secret")}
        assert hostile.run(file, task).payload == b""
        assert sorted(path.name for path in outside.iterdir()) == ["secret", "victim"]


def test_the_private_folder_is_gone_afterwards_and_no_secret_was_passed_on(
    hostile: ForkServerClient, file: Path
) -> None:
    folder, _, _, names = hostile.run(file, {"do": "where"}).payload.decode().split("\n")
    assert not Path(folder).exists()
    assert "FOOTNOTE" not in names


@pytest.mark.parametrize("deed", ["hoard", "litter", "shaft"])
def test_what_a_child_hoarded_is_gone_with_it(hostile: ForkServerClient, file: Path, deed: str) -> None:
    folder, _, _, _ = hostile.run(file, {"do": "where"}).payload.decode().split("\n")
    with pytest.raises(ParseFailed):
        hostile.run(file, {"do": deed})
    assert list(Path(folder).parent.iterdir()) == []


def test_folders_without_end_are_removed_and_the_server_lives_on(hostile: ForkServerClient, file: Path) -> None:
    folder, _, server, _ = hostile.run(file, {"do": "where"}).payload.decode().split("\n")
    with suppress(ParseFailed):  # Where the machine is so slow that it was seen at it.
        assert hostile.run(file, {"do": "abyss"}).payload == b"left"
    assert list(Path(folder).parent.iterdir()) == []
    assert hostile.run(file, {"do": "where"}).payload.decode().split("\n")[2] == server


def test_children_run_at_once_and_answers_are_not_mixed_up(hostile: ForkServerClient, file: Path) -> None:
    def say(number: int) -> bytes:
        return hostile.run(file, {"do": "echo", "say": str(number)}).payload

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(say, range(60))) == [f"{number}content".encode() for number in range(60)]


def test_one_document_s_end_does_not_touch_its_neighbour(hostile: ForkServerClient, file: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        crash = pool.submit(hostile.run, file, {"do": "hog"})
        while not crash.done():
            assert hostile.run(file, {"do": "echo"}).payload == b"content"
    assert isinstance(crash.exception(), ParseFailed)


def test_a_child_killed_from_outside_is_told_apart(hostile: ForkServerClient, file: Path) -> None:
    _, _, parent, _ = hostile.run(file, {"do": "where"}).payload.decode().split("\n")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hostile.run, file, {"do": "sleep"})
        _wait(lambda: bool(psutil.Process(int(parent)).children()))
        psutil.Process(int(parent)).children()[0].kill()
        assert isinstance(waiting.exception(), ChildKilled)
    with pytest.raises(ParseFailed) as own:
        hostile.run(file, {"do": "hog"})
    assert not isinstance(own.value, ChildKilled)


@pytest.mark.timeout(600)
def test_a_child_that_got_no_processor_is_told_apart(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_client, "_GRACE_SECONDS", 200.0)  # The server, too, gets hardly any.
    client = ForkServerClient(MISDEEDS, replace(LIMITS, wall_seconds=3.0), processes=1)
    _, _, parent, _ = client.run(file, {"do": "where"}).payload.decode().split("\n")
    processor = min(os.sched_getaffinity(0))
    os.sched_setaffinity(int(parent), {processor})
    os.sched_setscheduler(int(parent), os.SCHED_IDLE, os.sched_param(0))  # As in a worker.
    greedy = f"import os; os.sched_setaffinity(0, {{{processor}}}); print('there', flush=True)\nwhile True: pass"
    with ExitStack() as stack:
        stack.callback(client.close)
        for _ in range(4):  # Linux shares the processor between sessions, whatever the priorities in them.
            neighbour = subprocess.Popen([sys.executable, "-c", greedy], stdout=subprocess.PIPE, start_new_session=True)
            stack.enter_context(neighbour)
            stack.callback(neighbour.kill)
            assert neighbour.stdout is not None
            neighbour.stdout.readline()
        with pytest.raises(ChildKilled) as caught:
            client.run(file, {"do": "loop"})
    assert caught.value.reason is Reason.PARSER_TIMEOUT


def test_a_killed_server_is_replaced(hostile: ForkServerClient, file: Path) -> None:
    _, _, parent, _ = hostile.run(file, {"do": "where"}).payload.decode().split("\n")
    os.kill(int(parent), signal.SIGKILL)
    assert hostile.run(file, {"do": "echo"}).payload == b"content"


def test_a_server_killed_under_a_request_is_replaced_and_the_request_repeated(
    hostile: ForkServerClient, file: Path
) -> None:
    _, _, parent, _ = hostile.run(file, {"do": "where"}).payload.decode().split("\n")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hostile.run, file, {"do": "loop"})
        _wait(lambda: bool(psutil.Process(int(parent)).children()))
        children = psutil.Process(int(parent)).children()
        os.kill(int(parent), signal.SIGKILL)
        _wait(lambda: not any(_lives(child) for child in children))
        assert isinstance(waiting.exception(), ParseFailed)


def test_a_document_with_which_the_server_dies_every_time_is_counted(file: Path) -> None:
    client = ForkServerClient(MISDEEDS, LIMITS, processes=1)
    client.layers()
    killed: list[int] = []
    with ExitStack() as stack:
        stack.callback(client.close)
        waiting = stack.enter_context(ThreadPoolExecutor(1)).submit(client.run, file, {"do": "sleep"})
        while not waiting.done():
            server = client._server
            # While it starts, which is under the lock, it has children that are not the document's.
            ready = server is not None and server.poll() is None and not client._lock.locked()
            if server is not None and ready and psutil.Process(server.pid).children():
                server.kill()
                killed.append(server.pid)
            time.sleep(0.02)
        failure = waiting.exception()
        assert isinstance(failure, ChildKilled)
        assert failure.reason is Reason.PARSER_CRASHED
        assert len(set(killed)) == 2
        assert client.run(file, {"do": "echo"}).payload == b"content"  # For the next one there is a server.


def test_a_server_that_is_killed_leaves_no_folder_behind(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    client = ForkServerClient(MISDEEDS, LIMITS, processes=1)
    try:
        client.run(file, {"do": "echo"})
        assert len(list(temporary.iterdir())) == 1
        assert client._server is not None
        client._server.kill()
        client.run(file, {"do": "echo"})
        assert len(list(temporary.iterdir())) == 1
    finally:
        client.close()
    assert not list(temporary.iterdir())


def test_a_server_that_cannot_be_started_again_is_not_the_document_s_fault(file: Path) -> None:
    client = ForkServerClient(MISDEEDS, LIMITS, processes=1)
    client.layers()
    server = client._server
    assert server is not None
    with ExitStack() as stack:
        stack.callback(client.close)
        waiting = stack.enter_context(ThreadPoolExecutor(1)).submit(client.run, file, {"do": "sleep"})
        _wait(lambda: bool(psutil.Process(server.pid).children()))
        client._module = "tests.ingestion.sandbox.no_such_module"
        server.kill()
        assert isinstance(waiting.exception(), Unavailable)


def test_server_and_children_die_with_the_client(file: Path) -> None:
    program = (
        "import sys, threading, time\nfrom pathlib import Path\n"
        "from ingestion.sandbox import ParserLimits\nfrom ingestion.sandbox.client import ForkServerClient\n"
        "client = ForkServerClient('tests.ingestion.sandbox.hostile', ParserLimits(), processes=2)\n"
        f"file = Path({str(file)!r})\n"
        "print(client.run(file, {'do': 'where'}).payload.decode().split('\\n')[2], flush=True)\n"
        "threading.Thread(target=client.run, args=(file, {'do': 'sleep'})).start()\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as client:
        assert client.stdout is not None
        server = psutil.Process(int(client.stdout.readline()))
        _wait(lambda: bool(server.children()))
        family = [server, *server.children()]
        client.kill()
    _wait(lambda: not any(_lives(one) for one in family))


def test_a_closed_client_answers_so(file: Path) -> None:
    client = ForkServerClient(MISDEEDS, LIMITS, processes=1)
    client.close()
    with pytest.raises(Unavailable):
        client.run(file, {"do": "echo"})


def test_a_server_that_cannot_start_is_the_operator_s_problem(file: Path) -> None:
    client = ForkServerClient("tests.ingestion.sandbox.no_such_module", LIMITS, processes=1)
    with pytest.raises(Unavailable):
        client.run(file, {"do": "echo"})
    client.close()


def _lives(process: psutil.Process) -> bool:
    """Whether the process runs; one that nobody has reaped yet has ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # It ended between the two questions.
        return False


def _wait(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
