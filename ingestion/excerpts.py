"""Log excerpts: where in the program something failed, and nothing of what it was reading.

An excerpt is kept with a failed stage and shown to all who may know of the document, and not all of those may read it.
So it is made of names and line numbers alone: modules, functions, exceptions. Messages and values are left out, for
they quote documents, and so are the paths of this machine.
"""

import re
import sys
import traceback
from collections.abc import Iterator
from itertools import islice
from types import FrameType

MOST_FRAMES = 12  # Of one exception: those nearest to where it was raised.
MOST_CAUSES = 4
MOST_CHARS = 4_000
STDERR_BYTES = 16_384  # Of what a child wrote, the last ones are looked at.

_NAME = r"[\w.<>]{1,200}"
_LED_TO = "which led to"
_BELIEVED = re.compile(rf"  \.\.\.|{_LED_TO}|(?:  )?{_NAME}(?:, line \d{{1,7}}, in {_NAME})?")
# What Python's fault handler, glibc and C++ write when a process is about to die.
_FRAME = re.compile(rf'  File "(?P<path>[^"\n]{{1,1000}})", line (?P<line>\d{{1,7}}) in (?P<name>{_NAME})')
_LAST_WORDS = re.compile(
    r"Fatal Python error: (?:Segmentation fault|Aborted|Bus error|Floating point exception|Illegal instruction)"
    r"|terminate called after throwing an instance of '[\w:]{1,200}'"
    r"|(?:free|malloc|realloc|munmap_chunk|malloc_consolidate)\(\): [a-z /()-]{1,80}"
    r"|double free or corruption(?: \([a-z!]{1,20}\))?|\*\*\* stack smashing detected \*\*\*"
)


def of_error(error: BaseException) -> str:
    """Return where the error was raised, outermost function first, after where its causes were."""
    told = list(islice(_chain(error), MOST_CAUSES))
    return f"\n{_LED_TO}\n".join("\n".join(_lines(one)) for one in reversed(told))[-MOST_CHARS:]


def of_stderr(written: bytes) -> str | None:
    """Return what a dying process said of its end, None if nothing: the rest of what it wrote may quote its document.

    The newest call is last, as in every other excerpt.
    """
    words: list[str] = []
    frames: list[str] = []
    for line in written[-STDERR_BYTES:].decode("utf-8", errors="replace").splitlines():
        if frame := _FRAME.fullmatch(line):
            module = _module(frame["path"])
            frames.append(f"  {module}, line {frame['line']}, in {frame['name']}")
        elif said := _LAST_WORDS.match(line):
            words.append(said[0])
    cut = ["  ..."] if len(frames) > MOST_FRAMES else []
    return "\n".join([*cut, *reversed(frames[:MOST_FRAMES]), *words[-MOST_CAUSES:]])[-MOST_CHARS:] or None


def believed(text: object) -> str | None:
    """Return those lines of an excerpt that look like one: whoever sent it may be in a hostile document's hands."""
    if not isinstance(text, str):
        return None
    return "\n".join(line for line in text[-MOST_CHARS:].splitlines() if _BELIEVED.fullmatch(line)) or None


def _chain(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _lines(error: BaseException) -> Iterator[str]:
    frames = list(traceback.walk_tb(error.__traceback__))
    if len(frames) > MOST_FRAMES:
        yield "  ..."
    for frame, line in frames[-MOST_FRAMES:]:
        yield f"  {_name_of(frame)}, line {line}, in {frame.f_code.co_name}"
    kind = type(error)
    yield kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _name_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?"))


def _module(path: str) -> str:
    """Return a source file's path as the name that it is imported by, without where it lies."""
    roots = sorted((entry.rstrip("/") + "/" for entry in sys.path if entry), key=len, reverse=True)
    inside = next((path.removeprefix(root) for root in roots if path.startswith(root)), path.rpartition("/")[2])
    return re.sub(r"[^\w.<>]+", ".", inside.removesuffix(".py"))[-200:]
