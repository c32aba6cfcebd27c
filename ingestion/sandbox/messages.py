"""What client, fork server and child say to each other.

Control: a sequenced-packet socket pair, a JSON object per packet. A request carries three descriptors: the input file,
the writing end of a pipe for the result, and a socket on which the server reports how the child ended (and whose
closing tells the server that nobody waits any more).
Progress: any number of frames on the pipe before the result: `PROGRESS` and two bytes, how many thousandths are done.
Result: a first byte, `RESULT` or `FAILURE`, then the payload up to the end of the pipe.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson

from core.domain import Reason
from ingestion.excerpts import believed
from ingestion.parsing.canonical import clean_line
from ingestion.parsing.failures import ParseFailed

PROGRESS = b"P"
RESULT = b"R"
FAILURE = b"F"
MAX_PACKET = 1 << 16
_FRAME = 3  # bytes
MAX_FAILURE = 1 << 14
_LONGEST_DETAIL = 500
_LAST_PAGE = 1_000_000  # No page beyond is believed in.


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One child to fork: what it shall do (`task`, read by the server's module) and how much it may use."""

    task: dict[str, Any]
    wall_seconds: float
    cpu_seconds: int
    memory_bytes: int
    output_bytes: int
    file_bytes: int
    open_files: int
    scratch_bytes: int
    scratch_files: int

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, packet: bytes) -> Self:
        return cls(**orjson.loads(packet))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a child ended: `reason` is None after a clean exit; peak resident memory in bytes, CPU time in seconds.

    `from_outside`: nothing says that the document was to blame. `not_started`: there was no process to be had for it.
    `excerpt`: the child's last words, None without any.
    """

    reason: Reason | None
    detail: str
    excerpt: str | None
    from_outside: bool
    peak_rss: int
    cpu_seconds: float
    not_started: bool = False

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, packet: bytes) -> Self:
        fields = orjson.loads(packet)
        fields["reason"] = Reason(fields["reason"]) if fields["reason"] else None
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The server's first packet: it has imported everything, and this is what will confine its children.

    `root` is the folder of their private ones: who started the server removes it, should the server be killed.
    """

    layers: tuple[str, ...]
    root: str

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, packet: bytes) -> Self:
        fields = orjson.loads(packet)
        return cls(layers=tuple(fields["layers"]), root=fields["root"])


def progress_to_bytes(fraction: float) -> bytes:
    """Return the frame that says so much is done."""
    return PROGRESS + round(1_000 * min(1.0, max(0.0, fraction))).to_bytes(2, "big")


def take_progress(data: bytes) -> tuple[float | None, bytes]:
    """Return what the last whole frame at the beginning of `data` says, None without one, and what follows the frames.

    That may be the beginning of another frame. Children are not believed: whatever they say is from 0 to 1.
    """
    end = 0
    while data[end : end + 1] == PROGRESS and len(data) - end >= _FRAME:
        end += _FRAME
    if not end:
        return None, data
    return min(1.0, int.from_bytes(data[end - 2 : end], "big") / 1_000), data[end:]


def failure_to_bytes(failure: ParseFailed) -> bytes:
    """Return the failure as a payload."""
    detail = failure.detail.encode("utf-8", errors="replace").decode()[:_LONGEST_DETAIL]
    fields = {"reason": failure.reason, "detail": detail, "page": failure.page, "excerpt": failure.excerpt}
    return orjson.dumps(fields)


def failure_from_bytes(payload: bytes) -> ParseFailed:
    """Return the failure that a child sent. Raises ValueError when it is none: children are not believed.

    Whatever was sent, its words can be stored: no store takes a NUL.
    """
    fields = orjson.loads(payload[:MAX_FAILURE])
    if not isinstance(fields, dict):
        raise ValueError("a failure is an object")  # noqa: TRY004 - to the caller, all that is no failure is one thing
    page, detail = fields.get("page"), fields.get("detail")
    return ParseFailed(
        Reason(str(fields.get("reason"))),
        clean_line(detail)[:_LONGEST_DETAIL] if isinstance(detail, str) else "",
        page if type(page) is int and 0 < page <= _LAST_PAGE else None,
        believed(fields.get("excerpt")),
    )
