"""A directory of collections: held by one process, whole or not at all, opened when asked for."""

import inspect
from pathlib import Path

import pytest
import qdrant_edge as edge
from qdrant_client.http import models

from core.errors import DataDirectoryInUse, StorageFull
from retrieval.index.service.collections import Collections
from retrieval.index.service.refusals import EngineFailed, NoCollection
from retrieval.index.service.watch import end_process

LAYOUT = models.CreateCollection(vectors={"dense": models.VectorParams(size=2, distance=models.Distance.COSINE)})
EVERYTHING = edge.CountRequest(exact=True)


def test_the_directory_is_held_until_it_is_closed(tmp_path: Path) -> None:
    first = Collections(tmp_path)
    with pytest.raises(DataDirectoryInUse):
        Collections(tmp_path)
    first.close()
    Collections(tmp_path).close()


def test_a_directory_that_it_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    Collections(tmp_path / "data" / "indexes").close()
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("data", "data/indexes")] == [0o700] * 2


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFull):
        Collections(tmp_path / "file" / "indexes")


def test_what_was_flushed_is_there_after_opening_again(tmp_path: Path) -> None:
    made = Collections(tmp_path)
    made.create("c", LAYOUT)
    made.get("c").update(edge.UpdateOperation.upsert_points([edge.Point(1, {"dense": [1.0, 0.0]}, {})]))
    made.close()
    again = Collections(tmp_path)
    assert again.get("c").count(EVERYTHING) == 1
    assert again.get("c") is again.get("c")
    again.close()


def test_what_a_killed_process_left_half_done_is_gone(tmp_path: Path) -> None:
    for leftover in ("c.new", "d.dropped"):
        (tmp_path / leftover / "shard").mkdir(parents=True)
    made = Collections(tmp_path)
    assert not any(made.exists(name) for name in ("c", "d"))
    made.create("c", LAYOUT)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "c"]
    made.close()


def test_a_dropped_collection_can_be_made_again_and_is_empty(tmp_path: Path) -> None:
    made = Collections(tmp_path)
    made.create("c", LAYOUT)
    made.get("c").update(edge.UpdateOperation.upsert_points([edge.Point(1, {"dense": [1.0, 0.0]}, {})]))
    assert made.drop("c")
    with pytest.raises(NoCollection):
        made.get("c")
    made.create("c", LAYOUT)
    assert made.get("c").count(EVERYTHING) == 0
    made.close()


def test_a_damaged_collection_is_told_and_the_others_are_served(tmp_path: Path) -> None:
    made = Collections(tmp_path)
    for name in ("c", "d"):
        made.create(name, LAYOUT)
    (tmp_path / "c" / "collection.json").write_text("rubbish")
    with pytest.raises(EngineFailed):
        made.get("c")
    assert made.get("d").count(EVERYTHING) == 0
    made.close()


def test_a_panic_of_the_engine_is_told_and_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """As the engine raises it: no `Exception`."""

    class Shard:
        """What is left of a shard."""

        raised: BaseException

        def count(self, _request: edge.CountRequest) -> int:
            raise self.raised

    ended: list[str] = []
    made = Collections(tmp_path, died=ended.append)
    made.create("c", LAYOUT)
    collection = made.get("c")
    with monkeypatch.context() as patched:
        patched.setattr(collection, "_shard", Shard())
        Shard.raised = RuntimeError()
        with pytest.raises(EngineFailed):
            collection.count(EVERYTHING)
        Shard.raised = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            collection.count(EVERYTHING)
        assert ended == []  # Of an error that it tells, the engine recovers.
        Shard.raised = Panic()
        with pytest.raises(EngineFailed):
            collection.count(EVERYTHING)
    assert ended == ["the engine panicked on c: Panic"]
    made.close()
    assert inspect.signature(Collections).parameters["died"].default is end_process
