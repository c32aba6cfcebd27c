"""`footnote index` as a process: what it acknowledged survives, it keeps its directory to itself, a stall is told."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from core.errors import IndexUnavailable
from core.ids import DEFAULT_TENANT, IndexId
from core.settings import Settings
from retrieval.factory import open_index
from retrieval.index import qdrant_connection
from retrieval.index.qdrant import QdrantIndex
from retrieval.index.qdrant_connection import connect
from retrieval.ports import VectorIndex
from tests.e2e.conftest import FOOTNOTE, clean_environment
from tests.retrieval.corpora import DIM, chunk, document, point, principal, sparse, vector, version
from tests.retrieval.index.index_process import IndexProcess

pytestmark = pytest.mark.slow

EVERYONE = principal("*")
NAME = IndexId("0123456789abcdef")
WRITERS = 4
SECONDS = 60.0


@pytest.fixture
def process(tmp_path: Path) -> Iterator[IndexProcess]:
    started = IndexProcess(tmp_path / "data").start()
    yield started
    started.end(signal.SIGKILL)


def opened(process: IndexProcess) -> QdrantIndex:
    return connect(process.url, api_key=process.key, index_id=NAME, dim=DIM)


def held(index: VectorIndex, name: object) -> int:
    return index.count(DEFAULT_TENANT, document(name), version("v1"))


def test_what_was_acknowledged_survives_kill_after_kill(process: IndexProcess) -> None:
    acknowledged: list[int] = []
    for round_ in range(3):
        enough = len(acknowledged) + 5 * WRITERS
        with closing(opened(process)) as index, ThreadPoolExecutor(WRITERS) as pool:
            names = [range(1_000 * round_ + at, 9_999, WRITERS) for at in range(WRITERS)]
            written = [pool.submit(_write, index, some, acknowledged) for some in names]
            try:
                _wait_for(acknowledged, enough)
            finally:
                process.end(signal.SIGKILL)
            for one in written:
                one.result()
        process.start()
        with closing(opened(process)) as index:
            assert {name for name in acknowledged if held(index, name) != 3} == set()
    with closing(opened(process)) as index:
        name = acknowledged[0]
        found = index.search_bm25(sparse(**{f"t{name + 1}": 1.0}), principal=principal("user:late"), limit=9)
        assert {candidate.document for candidate in found} == {document(name)}


def _wait_for(acknowledged: list[int], count: int) -> None:
    deadline = time.monotonic() + SECONDS
    while len(acknowledged) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _write(index: QdrantIndex, names: range, acknowledged: list[int]) -> None:
    """Write and share a document after the other until the process is gone; note those acknowledged."""
    try:
        for name in names:
            terms = sparse(**{f"t{name + 1}": 1.0})
            index.upsert([point(f"{name}/{number}", of=name, terms=terms) for number in range(3)])
            index.set_access(DEFAULT_TENANT, document(name), allow=["user:late"], deny=[])
            acknowledged.append(name)
    except IndexUnavailable:
        pass


def test_what_was_deleted_does_not_come_back_after_a_kill(process: IndexProcess) -> None:
    with closing(opened(process)) as index:
        index.upsert([point(number) for number in range(100)])
        index.delete(DEFAULT_TENANT, document(7))
        process.end(signal.SIGKILL)
        process.start()
        assert held(index, 7) == 0
        assert len(list(index.stored())) == 99


def test_told_to_end_it_ends_in_order_and_starts_again(process: IndexProcess) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with closing(opened(process)) as index:
            index.upsert([point(number.name)])
        assert process.end(number) == 0
        assert process.complaints() == []
        process.start()
    with closing(opened(process)) as index:
        assert held(index, "SIGTERM") == held(index, "SIGINT") == 1


def test_second_process_on_the_directory_is_refused_and_the_first_goes_on(process: IndexProcess) -> None:
    done = _run("--data", str(process.data), "--port", "0")

    assert done.returncode == 1
    assert done.stderr.startswith("footnote: Another `footnote index` holds ")
    assert done.stderr.count("\n") == 1
    assert httpx.get(f"{process.url}/readyz", trust_env=False).is_success


def test_other_machines_are_not_listened_to_without_a_key(tmp_path: Path) -> None:
    done = _run("--data", str(tmp_path / "data"), "--port", "0", "--host", "0.0.0.0")  # noqa: S104 - refused

    assert done.returncode == 1
    assert "FOOTNOTE_QDRANT_API_KEY" in done.stderr
    assert not (tmp_path / "data").exists()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FOOTNOTE, "index", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
        timeout=60,
    )


def test_settings_lead_to_it_with_the_key_and_to_nothing_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # not asked for what is on this machine
    process = IndexProcess(tmp_path / "data", key="opensesame").start()
    try:
        named = Settings(qdrant_url=process.url, qdrant_api_key=SecretStr("opensesame"))
        with closing(open_index(named, tmp_path, NAME, DIM)) as index:
            index.upsert([point("a")])
            assert [found.chunk for found in index.search_dense(vector(1.0), principal=EVERYONE, limit=1)] == [
                chunk("a")
            ]
        for wrong in (None, SecretStr("sesame")):
            with pytest.raises(IndexUnavailable):
                open_index(Settings(qdrant_url=process.url, qdrant_api_key=wrong), tmp_path, NAME, DIM)
    finally:
        process.end(signal.SIGKILL)


def _opened_with_little_patience(process: IndexProcess) -> QdrantIndex:
    """Open the index under limits that a slow machine may exceed: again until it does not. Nothing is to be made."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return opened(process)
        except IndexUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_stall_is_told_within_the_timeout_and_passes(process: IndexProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(opened(process)) as patient:
        patient.upsert([point("a")])
        for limit in ("ANSWER_SECONDS", "WRITE_SECONDS"):
            monkeypatch.setattr(qdrant_connection, limit, 1)
        with closing(_opened_with_little_patience(process)) as index:
            process.send(signal.SIGSTOP)
            for call in _calls(index):
                started = time.monotonic()
                with pytest.raises(IndexUnavailable) as told:
                    call()
                assert told.value.retryable
                assert time.monotonic() - started < SECONDS  # And not after the minutes that a write may be given.
            process.send(signal.SIGCONT)
        patient.upsert([point("b")])
        assert len(list(patient.stored())) == 2


def test_a_write_is_waited_for_longer_than_an_answer(process: IndexProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(opened(process)) as patient:
        patient.upsert([point("a")])
        monkeypatch.setattr(qdrant_connection, "ANSWER_SECONDS", 1)
        with closing(_opened_with_little_patience(process)) as index, ThreadPoolExecutor(1) as pool:
            process.send(signal.SIGSTOP)
            writing = pool.submit(index.upsert, [point("b")])
            with pytest.raises(IndexUnavailable):
                list(index.stored())
            time.sleep(1)
            process.send(signal.SIGCONT)
            writing.result(timeout=SECONDS)
        assert len(list(patient.stored())) == 2


def test_while_it_is_gone_every_call_says_so_and_after_a_restart_all_work(process: IndexProcess) -> None:
    with closing(opened(process)) as index:
        index.upsert([point("a")])
        process.end(signal.SIGKILL)
        for call in _calls(index):
            with pytest.raises(IndexUnavailable):
                call()
        process.start()
        for call in _calls(index):
            call()


def _calls(index: QdrantIndex) -> list[Callable[[], object]]:
    return [
        lambda: index.upsert([point("a")]),
        lambda: index.search_dense(vector(1.0), principal=EVERYONE, limit=1),
        lambda: held(index, "a"),
    ]


def test_concurrent_writers_and_readers_agree(process: IndexProcess) -> None:
    failures: list[BaseException] = []
    done = threading.Event()
    with closing(opened(process)) as index:
        index.upsert([point("first")])

        def read() -> None:
            seen = 0
            try:
                while not done.is_set():
                    found = len(index.search_bm25(sparse(t1=1.0), principal=EVERYONE, limit=500))
                    assert found >= seen
                    seen = found
            except BaseException as error:  # noqa: BLE001 - told to the test's own thread
                failures.append(error)

        def write(writer: int) -> None:
            for number in range(10):
                index.upsert([point(f"{writer}/{number}/{part}", of=f"{writer}/{number}") for part in range(10)])
                assert held(index, f"{writer}/{number}") == 10  # what one has been told of, one reads

        readers = [threading.Thread(target=read) for _ in range(2)]
        for thread in readers:
            thread.start()
        with ThreadPoolExecutor(WRITERS) as pool:
            for one in [pool.submit(write, writer) for writer in range(WRITERS)]:
                one.result()
        done.set()
        for thread in readers:
            thread.join()
        assert failures == []
        assert len(list(index.stored())) == 10 * 10 * WRITERS + 1
