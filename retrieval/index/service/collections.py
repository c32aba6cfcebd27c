"""The shards of one directory, a folder per collection, opened when first asked for. Held by one process.

Everything here is called from one thread: the engine holds the GIL in every call, more threads would only wait.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import qdrant_edge as edge
from qdrant_client.http import models

from core.errors import DataDirectoryInUse, StorageFull
from retrieval.index.service.layout import Layout
from retrieval.index.service.refusals import CollectionExists, EngineFailed, Malformed, NoCollection
from retrieval.index.service.watch import end_process

# No dot, no slash: a collection's folder is never another's, never one of ours below, never outside.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
_UNFINISHED, _DROPPED = ".new", ".dropped"


class Collection:
    """One open shard. Whatever the engine raises becomes `EngineFailed`.

    `died` is told when the engine panics under an open shard: its locks may be held for ever, so that no later call
    would do what it says, and only a new process reads what is on disk.
    """

    def __init__(self, name: str, folder: Path, *, died: Callable[[str], None]) -> None:
        self.name = name
        self._died = died
        with _translated(name):
            asked = models.CreateCollection.model_validate_json((folder / "collection.json").read_bytes())
            self.layout = Layout.of(asked)
            self._shard = edge.EdgeShard.load(str(folder / "shard"), self.layout.config())
        self._closed = False

    def update(self, operation: edge.UpdateOperation) -> None:
        """Apply the operation; it is durable after `flush`.

        :raises NoCollection: it was dropped meanwhile.
        """
        if self._closed:
            raise NoCollection(self.name)
        with self._translated():
            self._shard.update(operation)

    def flush(self) -> None:
        """Return when everything applied so far is on disk."""
        if not self._closed:
            with self._translated():
                self._shard.flush()

    def has_index(self, key: str) -> bool:
        """Tell whether there is a payload index over the key."""
        with self._translated():
            return key in self._shard.info().payload_schema

    def count(self, request: edge.CountRequest) -> int:
        with self._translated():
            return self._shard.count(request)

    def query(self, request: edge.QueryRequest) -> list[edge.ScoredPoint]:
        with self._translated():
            return self._shard.query(request)

    def scroll(self, request: edge.ScrollRequest) -> tuple[list[edge.Record], int | str | UUID | None]:
        with self._translated():
            return self._shard.scroll(request)

    def close(self) -> None:
        """Flush and let go of the shard."""
        if not self._closed:
            self._closed = True
            with self._translated():
                self._shard.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with _translated(self.name):
                yield
        except EngineFailed as error:
            if not isinstance(error.__cause__, Exception):
                self._died(f"the engine panicked on {self.name}: {type(error.__cause__).__name__}")
            raise


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # the engine raises no narrower type, and when it panics none below this one
        raise EngineFailed(
            f"Service internal error: the engine failed on `{name}`: {error}. What was acknowledged is kept."
        ) from error


class Collections:
    """All collections of a directory, which is made when it is missing. `died`: as of a `Collection`.

    :raises DataDirectoryInUse: another process holds the directory.
    :raises StorageFull: it cannot be made.
    """

    def __init__(self, directory: Path, *, died: Callable[[str], None] = end_process) -> None:
        self._directory = directory
        self._died = died
        self._open: dict[str, Collection] = {}
        self._lock = self._held()
        for suffix in (_UNFINISHED, _DROPPED):  # of a process that was killed at it
            for leftover in directory.glob(f"*{suffix}"):
                shutil.rmtree(leftover, ignore_errors=True)

    def exists(self, name: str) -> bool:
        """Tell whether there is such a collection."""
        return _NAME.fullmatch(name) is not None and (self._directory / name).is_dir()

    def get(self, name: str) -> Collection:
        """Return the collection, opened now if it was not yet.

        :raises NoCollection: there is none.
        """
        found = self._open.get(name)
        if found is None:
            if not self.exists(name):
                raise NoCollection(name)
            found = self._open[name] = Collection(name, self._directory / name, died=self._died)
        return found

    def create(self, name: str, request: models.CreateCollection) -> None:
        """Make the collection, whole or not at all.

        :raises CollectionExists: it is there.
        :raises Refusal: no name, or no layout, of a collection.
        """
        if _NAME.fullmatch(name) is None:
            raise Malformed("Wrong input: a collection's name is 1 to 200 of the characters A-Z a-z 0-9 _ -.")
        layout = Layout.of(request)
        if self.exists(name):
            raise CollectionExists(name)
        unfinished = self._directory / f"{name}{_UNFINISHED}"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            (unfinished / "shard").mkdir(parents=True)
            (unfinished / "collection.json").write_text(request.model_dump_json(exclude_none=True))
            shard = edge.EdgeShard.create(str(unfinished / "shard"), layout.config())
            shard.flush()
            shard.close()
            _sync(unfinished / "collection.json")
            unfinished.rename(self._directory / name)
            _sync(self._directory)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # as above
            raise EngineFailed(
                f"Service internal error: `{name}` could not be made: {error}. Nothing was changed."
            ) from error

    def drop(self, name: str) -> bool:
        """Remove the collection and all its points; tell whether there was one."""
        if not self.exists(name):
            return False
        opened = self._open.pop(name, None)
        if opened is not None:
            opened.close()
        dropped = self._directory / f"{name}{_DROPPED}"
        (self._directory / name).rename(dropped)
        shutil.rmtree(dropped, ignore_errors=True)
        return True

    def close(self) -> None:
        """Flush and close every collection, and let go of the directory."""
        for opened in self._open.values():
            opened.close()
        self._open.clear()
        self._lock.close()

    def _held(self) -> BinaryIO:
        """Take the directory for this process. The kernel gives it back when the process ends, however it ends."""
        try:
            self._directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the mode is the last folder's alone
            self._directory.mkdir(mode=0o700, exist_ok=True)
            lock = (self._directory / ".lock").open("wb")
        except OSError as error:
            raise StorageFull(
                f"The directory {self._directory} cannot be made: {error.strerror}. Nothing was started."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise DataDirectoryInUse(
                f"Another `footnote index` holds {self._directory}; it goes on. Stop it, or use another --data."
            ) from error
        return lock


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
