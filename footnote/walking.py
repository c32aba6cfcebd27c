"""Lists what a PATH argument holds: every regular file, under the name that it will have as a document."""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from core.domain import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file to take in; with a `refused` reason, one that is only listed. `seen`: what was seen of this very file."""

    path: Path
    source: str
    name: str
    refused: Reason | None = None
    seen: str | None = None


def walk(argument: Path, source: str | None) -> Iterator[FoundFile]:
    """Yield every file of the folder, or the file itself, in a stable order.

    `name` is relative to the argument with `/`; for a single file its base name. Symbolic links are listed as refused,
    never followed; so is what is neither file nor folder (sockets, pipes, devices).
    """
    if argument.is_symlink() or not argument.is_dir():
        yield _found(argument, source or str(argument.absolute().parent.resolve()), argument.name)
        return
    root = source or str(argument.resolve())
    closed: list[OSError] = []
    for folder, folders, files in os.walk(argument, followlinks=False, onerror=closed.append):
        folders.sort()
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*files, *links]):
            path = Path(folder) / name
            yield _found(path, root, path.relative_to(argument).as_posix())
    for error in closed:
        path = Path(error.filename)
        name = _shown(path.relative_to(argument).as_posix())
        yield FoundFile(path=path, source=_shown(root), name=name, refused=Reason.UNREADABLE)


def distinct(files: Iterable[FoundFile]) -> Iterator[FoundFile]:
    """Yield each file once, however often its path was given, in the order given.

    Of several files with one name in one source (in NFC, as the server compares them) the first keeps it. The others
    are refused: sent, each would replace the one before it as a version of the same document.
    """
    folder = cache(os.path.realpath)
    listed: set[tuple[str, str, str, str]] = set()
    takers: dict[tuple[str, str], Path] = {}
    for file in files:
        document = (unicodedata.normalize("NFC", file.source), unicodedata.normalize("NFC", file.name))
        place = (*document, str(folder(file.path.parent)), file.path.name)
        if place in listed:
            continue
        listed.add(place)
        if file.refused is not None or (taker := takers.setdefault(document, file.path)) is file.path:
            yield file
        else:
            seen = f"{_shown(str(file.path))} has the name of {_shown(str(taker))}"
            yield replace(file, refused=Reason.DUPLICATE_NAME, seen=seen)


def _found(path: Path, source: str, name: str) -> FoundFile:
    refused = None
    if _shown(name) != name or _shown(source) != source:  # A document's name, and its source's, are text.
        return FoundFile(path=path, source=_shown(source), name=_shown(name), refused=Reason.UNREADABLE)
    if path.is_symlink():
        refused = Reason.SYMLINK
    elif not path.is_file():
        refused = Reason.NOT_A_FILE
    elif not os.access(path, os.R_OK):
        refused = Reason.UNREADABLE
    return FoundFile(path=path, source=source, name=name, refused=refused)


def _shown(name: str) -> str:
    """Return the name as text: file systems keep bytes, and those that are none are replaced."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
