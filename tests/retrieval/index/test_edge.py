"""What only the embedded engine promises: it survives a kill, keeps its directory to itself, and finds all there is."""

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from core.errors import DataDirectoryInUse, IndexUnavailable
from core.ids import DEFAULT_TENANT
from retrieval.index.edge import EdgeIndex
from retrieval.index.memory import MemoryIndex
from tests.retrieval.corpora import (
    DIM,
    GROUPS,
    USERS,
    chunk,
    document,
    may_read,
    point,
    principal,
    random_points,
    sparse,
    unit,
    vector,
    version,
)
from tests.retrieval.index.edge_writer import CHUNKS, GROUP, INDEX, points_of

EVERYONE = principal("*")


def open_index(directory: Path) -> EdgeIndex:
    return EdgeIndex(directory, index_id=INDEX, dim=DIM)


def test_what_was_flushed_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    index = open_index(tmp_path / "shard")
    index.upsert([point("a"), point("b", allow=["user:bob"])])
    index.flush()
    index.close()
    index = open_index(tmp_path / "shard")
    assert [found.chunk for found in index.search_dense(vector(1.0), principal=EVERYONE, limit=9)] == [chunk("a")]
    assert len(list(index.stored())) == 2
    index.close()


def test_second_opening_of_the_directory_says_who_is_in_the_way(tmp_path: Path) -> None:
    index = open_index(tmp_path / "shard")
    with pytest.raises(DataDirectoryInUse):
        open_index(tmp_path / "shard")
    index.close()


def test_half_made_index_of_a_killed_process_is_made_anew(tmp_path: Path) -> None:
    unfinished = tmp_path / "shard.new" / "segments"
    unfinished.mkdir(parents=True)
    (unfinished / "rubbish").write_bytes(b"x")
    index = open_index(tmp_path / "shard")
    index.upsert([point("a")])
    assert index.count(DEFAULT_TENANT, document("a"), version("v1")) == 1
    assert not (tmp_path / "shard.new").exists()
    index.close()


def test_closed_index_is_unavailable_and_may_be_closed_again(tmp_path: Path) -> None:
    index = open_index(tmp_path / "shard")
    index.close()
    index.close()
    with pytest.raises(IndexUnavailable):
        index.search_dense(vector(1.0), principal=EVERYONE, limit=1)
    with pytest.raises(IndexUnavailable):
        index.upsert([point("a")])


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    index = open_index(tmp_path / "shard")
    with pytest.raises(IndexUnavailable):
        index.search_dense(np.ones(DIM + 1, dtype=np.float32), principal=EVERYONE, limit=1)
    index.close()
    with pytest.raises(IndexUnavailable):
        EdgeIndex(tmp_path / "shard", index_id=INDEX, dim=DIM + 1)


def test_threads_search_while_one_writes(tmp_path: Path) -> None:
    index = open_index(tmp_path / "shard")
    index.upsert([point("first")])
    failures: list[BaseException] = []
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                assert index.search_dense(vector(1.0), principal=EVERYONE, limit=5)
                assert index.search_bm25(sparse(t1=1.0), principal=EVERYONE, limit=5)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        index.upsert([point(f"{number}/{other}") for other in range(20)])
    index.flush()
    done.set()
    for thread in threads:
        thread.join()
    index.close()
    assert failures == []


@pytest.mark.slow
def test_flushed_points_survive_kill_after_kill(tmp_path: Path) -> None:
    directory, dice, first = tmp_path / "shard", random.Random(7), 0  # noqa: S311 - when to kill
    for _ in range(6):
        flushed = _write_and_kill(directory, first=first, flushes=dice.randint(1, 4), seconds=dice.uniform(0, 0.05))
        index = open_index(directory)
        for name in range(flushed):
            deleted = (name + 1) % GROUP == 0 and name + 1 + GROUP <= flushed
            due = (name + 1) % GROUP == 0 and name + 1 == flushed  # the kill may have come after its deletion
            held = index.count(DEFAULT_TENANT, document(name), version(name))
            assert held in ({0, CHUNKS} if due else {0} if deleted else {CHUNKS})
        for name in range(max(first, flushed - 2 * GROUP), flushed - 1):
            if (name + 1) % GROUP:
                _assert_found(index, name, shared=name % GROUP == 0)
        chunks = [stored.chunk for stored in index.stored()]
        assert len(chunks) == len(set(chunks))
        index.close()
        first = flushed


def _write_and_kill(directory: Path, *, first: int, flushes: int, seconds: float) -> int:
    command = [sys.executable, "-m", "tests.retrieval.index.edge_writer", str(directory), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(flushes):
            assert writer.stdout.readline()
        time.sleep(seconds)
        writer.kill()
        said = writer.stdout.read().split()
    return int(said[-1]) if said else first + flushes * GROUP


def _assert_found(index: EdgeIndex, name: int, *, shared: bool) -> None:
    for stored in points_of(name)[:3]:
        [found] = index.search_dense(stored.dense, principal=EVERYONE, limit=1)
        assert found.chunk == stored.chunk
        assert found.score == pytest.approx(1.0, abs=1e-4)
    terms = sparse(**{f"t{name}": 1.0})
    assert len(index.search_bm25(terms, principal=EVERYONE, limit=99)) == CHUNKS
    late = index.search_bm25(terms, principal=principal("group:late"), limit=99)
    assert len(late) == (CHUNKS if shared else 0)


@pytest.mark.slow
def test_random_access_gives_the_exact_references_top_ten_and_nothing_forbidden(tmp_path: Path) -> None:
    stored, rng, dice = random_points(6_000, seed=11), np.random.default_rng(5), random.Random(5)  # noqa: S311
    index, reference = open_index(tmp_path / "shard"), MemoryIndex()
    for one in (index, reference):
        one.upsert(stored)
    by_chunk = {one.chunk: one for one in stored}
    for _ in range(60):
        who = principal(*dice.sample([*GROUPS, *USERS, "*"], dice.randint(1, 4)))
        near, terms = unit(rng), sparse(**{f"t{dice.randint(1, 60)}": 1.0 for _ in range(5)})
        for found, expected in (
            (
                index.search_dense(near, principal=who, limit=10),
                reference.search_dense(near, principal=who, limit=10),
            ),
            (
                index.search_bm25(terms, principal=who, limit=10),
                reference.search_bm25(terms, principal=who, limit=10),
            ),
        ):
            assert [one.chunk for one in found] == [one.chunk for one in expected]
            assert all(may_read(who, by_chunk[one.chunk]) for one in found)
    index.close()


def test_a_panic_of_the_engine_is_an_index_that_is_not_available(tmp_path: Path) -> None:
    class Panic(BaseException):
        """As the engine raises it: no `Exception`."""

    index = open_index(tmp_path / "index")
    with pytest.raises(IndexUnavailable), index._translated():
        raise Panic
    with pytest.raises(KeyboardInterrupt), index._translated():
        raise KeyboardInterrupt
    index.close()
