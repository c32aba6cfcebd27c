"""Whether there is room for another upload, asked before its bytes are read, and again where their number was not told.

A disk that is full to the last byte stops more than uploads: the catalogue cannot write that a document failed, and the
index cannot take in what was accepted. So uploads are turned away while there is still room for the work in hand.
"""

import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive

from core.errors import StorageFull

STEP = 8_000_000  # Bytes promised at a time to an upload that does not say how long it is.


class Admission:
    """An upload under way: it may write `promised` bytes twice, once where it is received and once where it is kept."""

    def __init__(self, room: "Room") -> None:
        self._room = room
        self.promised = 0
        self.received = 0

    def counted(self, receive: Receive) -> Receive:
        """Return the same body, told to the room as it comes in.

        What it returns raises `StorageFull` when there is no room for what comes beyond the bytes promised.
        """

        async def received() -> Message:
            message = await receive()
            self.received += len(message.get("body", b""))
            if self.received > self.promised:
                await run_in_threadpool(self._room.promise, self, self.received + STEP)
            return message

        return received


class Room:
    """The disks that uploads fill, and what of them is promised to the uploads under way in this process.

    Of each disk `floor` bytes stay free; 0 asks nothing. Uploads of other processes are seen once they have written.
    """

    def __init__(self, *, receiving: Path, keeping: Path, catalogue: Path, floor: int) -> None:
        self._receiving = receiving
        self._keeping = keeping
        self._catalogue = catalogue
        self._floor = floor
        self._lock = threading.Lock()
        self._under_way: set[Admission] = set()

    @asynccontextmanager
    async def admitted(self, declared: int | None) -> AsyncIterator[Admission]:
        """Yield once there is room for an upload of so many bytes, None if it does not say, until it has ended.

        :raises StorageFull: there is none. Nothing was read of the upload.
        """
        admission = Admission(self)
        try:
            await run_in_threadpool(self.promise, admission, STEP if declared is None else declared)
            yield admission
        finally:
            with self._lock:
                self._under_way.discard(admission)

    def promise(self, admission: Admission, size: int) -> None:
        """Promise the upload `size` bytes in all. It asks the disks, and so may take a while.

        A folder that is not there yet counts as its parent; one whose disk cannot be asked is not judged.

        :raises StorageFull: they are not there; what was promised before stays so.
        """
        with self._lock:
            before = admission.promised
            admission.promised = size
            self._under_way.add(admission)
            try:
                self._require()
            except StorageFull:
                admission.promised = before
                raise

    def _require(self) -> None:
        if not self._floor:
            return
        wanted: Counter[int] = Counter()
        free: dict[int, int] = {}
        coming = sum(max(0, one.promised - one.received) for one in self._under_way)
        staying = sum(one.promised for one in self._under_way)
        for folder, size in ((self._receiving, coming), (self._keeping, staying), (self._catalogue, 0)):
            asked = _asked(folder)
            if asked is not None:
                device, free[device] = asked
                wanted[device] += size
        for device, there in free.items():
            if there - wanted[device] < self._floor:
                raise StorageFull(
                    f"There are {there:,} bytes free for uploads under way, this one included, that may need "
                    f"{wanted[device]:,}, and {self._floor:,} are kept for the work in hand; nothing was kept of the "
                    "upload. It can be sent again when there is room; what was accepted before is safe."
                )


@cache  # One for a process: what it has promised counts for every app in it.
def room_for(data: Path, blobs: Path | None, floor: int) -> Room:
    """Return the room of an installation: bytes are received in the temporary folder, and kept with the blobs."""
    return Room(receiving=Path(tempfile.gettempdir()), keeping=blobs or data, catalogue=data, floor=floor)


def _asked(folder: Path) -> tuple[int, int] | None:
    """Return which disk the folder is on, and its free bytes."""
    for place in (folder, *folder.parents):
        try:
            return os.stat(place).st_dev, shutil.disk_usage(place).free  # noqa: PTH116 - beside its sibling
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
