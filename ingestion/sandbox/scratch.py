"""A child's private folder, seen from the fork server: how much is in it, and its removal.

What is in it was made by a parser that may have been taken over, and may be changing still. So nothing here follows a
link, goes by a long path or gets deeper for a deeper folder: all is reached through the descriptor of where it lies.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

DEEPEST = 16  # Folders in folders; no parser of ours makes any.
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 512  # What stat counts in, whatever the disk does.


class TooMuch(Exception):
    """There is more than there may be. The message says of what."""


class Scratch:
    """One private folder in `root`, which belongs to the user and group `owner`; None: to this process's own."""

    def __init__(self, root: Path, owner: tuple[int, int] | None) -> None:
        self.path = Path(tempfile.mkdtemp(dir=root))
        self._root = root
        self._folder = os.open(self.path, _FOLDER)  # Now: its owner may shut it.
        if owner is not None:
            os.chown(self._folder, *owner)

    def check(self, pid: int, given: tuple[int, int], *, max_bytes: int, max_files: int) -> None:
        """Count what the process keeps here, and in open files without a name, until it is too much.

        `given` is the file system and number of the file that the process was given, which does not count. Bytes are
        those of the contents, or those that they take on the disk where that is more. Raises TooMuch.
        """
        size = 0
        for files, facts in enumerate(self._files(pid, given), 1):
            size += max(facts.st_size, facts.st_blocks * _BLOCK)
            if size > max_bytes:
                raise TooMuch(f"more than {max_bytes:,} bytes of temporary files")
            if files > max_files:
                raise TooMuch(f"more than {max_files:,} temporary files")

    def remove(self) -> None:
        """Remove the folder and what is in it, once the process has ended; what cannot be removed stays.

        Folders in folders are moved to one place first and emptied there in turn: it does not matter how deep they go.
        """
        os.close(self._folder)
        heap = Path(tempfile.mkdtemp(dir=self._root))  # Ours alone: nothing in it has a name that we did not give.
        numbers = map(str, count())
        with contextlib.suppress(OSError), _opened(self._root) as root, _opened(heap) as place:
            waiting = [_moved(self.path.name, root, place, next(numbers))]
            while waiting:
                name = waiting.pop()
                with contextlib.suppress(OSError):
                    with _opened(name, place) as folder:
                        for entry in _entries(folder):
                            with contextlib.suppress(OSError):
                                if entry.is_dir(follow_symlinks=False):
                                    waiting.append(_moved(entry.name, folder, place, next(numbers)))
                                else:
                                    os.unlink(entry.name, dir_fd=folder)
                    os.rmdir(name, dir_fd=place)
        with contextlib.suppress(OSError):
            heap.rmdir()

    def _files(self, pid: int, given: tuple[int, int]) -> Iterator[os.stat_result]:
        yield from _nameless(pid, given)
        yield from _within(self._folder, DEEPEST)


def _within(folder: int, deepest: int) -> Iterator[os.stat_result]:
    """Yield the facts of everything in the folder and those in it, links themselves included."""
    if deepest == 0:
        raise TooMuch(f"more than {DEEPEST} temporary folders in each other")
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
                yield facts
                if stat.S_ISDIR(facts.st_mode):
                    with _opened(entry.name, folder) as inner:
                        yield from _within(inner, deepest - 1)
            except PermissionError as error:
                raise TooMuch("a temporary folder that cannot be looked into") from error
            except OSError:
                continue  # It has been removed or replaced since.


def _nameless(pid: int, given: tuple[int, int]) -> Iterator[os.stat_result]:
    """Yield the facts of the files that exist only as long as the process has them open."""
    descriptors = Path(f"/proc/{pid}/fd")
    seen = {given}
    with contextlib.suppress(OSError):  # It is about to be reaped.
        for descriptor in descriptors.iterdir():
            with contextlib.suppress(OSError):
                facts = descriptor.stat()
                file = (facts.st_dev, facts.st_ino)
                if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 0 and file not in seen:
                    seen.add(file)
                    yield facts


@contextlib.contextmanager
def _opened(folder: str | Path, place: int | None = None) -> Iterator[int]:
    descriptor = os.open(folder, _FOLDER, dir_fd=place)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _entries(folder: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _moved(name: str, source: int, place: int, new: str) -> str:
    if os.geteuid() != 0:  # Root does not need it, and must not: the mode of what a link leads to would change.
        os.chmod(name, 0o700, dir_fd=source)
    os.rename(name, new, src_dir_fd=source, dst_dir_fd=place)
    return new
