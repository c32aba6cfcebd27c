"""Writers that come together share one flush, and none is answered before it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import qdrant_edge as edge
from qdrant_client.http import models

from retrieval.index.service import group_commit
from retrieval.index.service.collections import Collection, Collections
from retrieval.index.service.group_commit import GroupCommit
from retrieval.index.service.refusals import EngineFailed, NoCollection


class Watched(Collection):
    """Counts its flushes, and fails them where told to."""

    flushes = 0
    failing = False

    def flush(self) -> None:
        self.flushes += 1
        if self.failing:
            raise EngineFailed("disk full")
        super().flush()


@pytest.fixture
def collections(tmp_path: Path) -> Iterator[Collections]:
    made = Collections(tmp_path / "indexes")
    layout = models.CreateCollection(vectors={"dense": models.VectorParams(size=2, distance=models.Distance.COSINE)})
    made.create("c", layout)
    yield made
    made.close()


@pytest.fixture
def collection(collections: Collections, tmp_path: Path) -> Watched:
    watched = Watched("c", tmp_path / "indexes" / "c", died=lambda _: None)
    collections._open["c"] = watched
    return watched


def stored(number: int) -> edge.UpdateOperation:
    return edge.UpdateOperation.upsert_points([edge.Point(number, {"dense": [1.0, float(number)]}, {})])


def wrong() -> edge.UpdateOperation:
    return edge.UpdateOperation.upsert_points([edge.Point(1, {"dense": [1.0]}, {})])


def total(collection: Collection) -> int:
    return collection.count(edge.CountRequest(exact=True))


def test_writers_that_come_together_share_one_flush(collection: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GROUP_SECONDS", 10.0)  # However slow this machine is.

    async def write() -> None:
        writes = GroupCommit()
        await asyncio.gather(*(writes.write(collection, [stored(number)]) for number in range(20)))
        await writes.aclose()

    asyncio.run(write())
    assert (collection.flushes, total(collection)) == (1, 20)


def test_nobody_is_answered_before_the_flush(collection: Watched) -> None:
    async def write() -> None:
        writes = GroupCommit()
        for number in range(3):
            await writes.write(collection, [stored(number)])
            assert collection.flushes == number + 1
        await writes.aclose()

    asyncio.run(write())


def test_one_writers_error_is_its_own(collection: Watched) -> None:
    async def write() -> list[BaseException | None]:
        writes = GroupCommit()
        jobs = [[stored(7)], [wrong()], [stored(8)]]
        told = await asyncio.gather(*(writes.write(collection, job) for job in jobs), return_exceptions=True)
        await writes.write(collection, [stored(9)])
        await writes.aclose()
        return told

    first, failed, last = asyncio.run(write())
    assert (first, last, type(failed)) == (None, None, EngineFailed)
    assert total(collection) == 3


def test_a_flush_that_fails_is_told_to_all_who_wait_for_it_and_the_next_one_may_succeed(collection: Watched) -> None:
    async def write() -> list[BaseException | None]:
        writes = GroupCommit()
        collection.failing = True
        told = await asyncio.gather(
            *(writes.write(collection, [stored(number)]) for number in range(2)), return_exceptions=True
        )
        collection.failing = False
        await writes.write(collection, [stored(1)])
        await writes.aclose()
        return told

    assert [type(one) for one in asyncio.run(write())] == [EngineFailed, EngineFailed]


def test_readers_come_in_between_the_slices_of_a_big_write(collection: Watched) -> None:
    async def write_and_read() -> list[int]:
        writes = GroupCommit()
        writing = asyncio.create_task(writes.write(collection, (stored(number) for number in range(10))))
        seen = []
        while not writing.done():
            seen.append(total(collection))
            await asyncio.sleep(0)
        await writes.aclose()
        return seen

    assert len(set(asyncio.run(write_and_read()))) > 5


def test_a_write_to_a_collection_dropped_meanwhile_is_told(collections: Collections, collection: Watched) -> None:
    async def write() -> None:
        writes = GroupCommit()
        writing = asyncio.create_task(writes.write(collection, [stored(1)]))
        collections.drop("c")
        with pytest.raises(NoCollection):
            await writing
        await writes.aclose()

    asyncio.run(write())


def test_closing_finishes_what_has_come(collection: Watched) -> None:
    async def write() -> None:
        writes = GroupCommit()
        writing = [asyncio.create_task(writes.write(collection, [stored(number)])) for number in range(5)]
        await asyncio.sleep(0)
        await writes.aclose()
        await asyncio.gather(*writing)

    asyncio.run(write())
    assert total(collection) == 5


def test_a_panic_of_the_engine_is_told_since_nobody_would_be_answered_any_more(collection: Watched) -> None:
    class Panic(BaseException):
        """As what PyO3 raises for a panic of the engine: no Exception."""

    def panics() -> Iterator[edge.UpdateOperation]:
        yield stored(1)
        raise Panic

    async def write() -> str:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        writes = GroupCommit(died=told.set_result)
        writing = asyncio.create_task(writes.write(collection, panics()))
        reason = await asyncio.wait_for(told, 60)
        assert not writing.done()
        writing.cancel()
        return reason

    assert asyncio.run(write()) == "the writer died: Panic"
