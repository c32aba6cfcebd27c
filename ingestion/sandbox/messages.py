"""What client, fork server and child say to each other.

Control: a sequenced-packet socket pair, a JSON object per packet. A request carries three descriptors: the input file,
the writing end of a pipe for the result, and a socket on which the server reports how the child ended (and whose
closing tells the server that nobody waits any more).
Result: a first byte, `RESULT` or `FAILURE`, then the payload up to the end of the pipe.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson

from core.domain import Reason
from ingestion.parsing.failures import ParseFailed

RESULT = b"R"
FAILURE = b"F"
MAX_PACKET = 1 << 16
MAX_FAILURE = 1 << 14
_LONGEST_DETAIL = 500


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

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, packet: bytes) -> Self:
        return cls(**orjson.loads(packet))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a child ended: `reason` is None after a clean exit; peak resident memory in bytes, CPU time in seconds.

    `from_outside`: nothing says that the document was to blame.
    """

    reason: Reason | None
    detail: str
    from_outside: bool
    peak_rss: int
    cpu_seconds: float

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, packet: bytes) -> Self:
        fields = orjson.loads(packet)
        fields["reason"] = Reason(fields["reason"]) if fields["reason"] else None
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The server's first packet: it has imported everything, and this is what will confine its children."""

    layers: tuple[str, ...]

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, packet: bytes) -> Self:
        return cls(layers=tuple(orjson.loads(packet)["layers"]))


def failure_to_bytes(failure: ParseFailed) -> bytes:
    """Return the failure as a payload."""
    detail = failure.detail.encode("utf-8", errors="replace").decode()[:_LONGEST_DETAIL]
    return orjson.dumps({"reason": failure.reason, "detail": detail, "page": failure.page})


def failure_from_bytes(payload: bytes) -> ParseFailed:
    """Return the failure that a child sent. Raises ValueError when it is none: children are not believed."""
    fields = orjson.loads(payload[:MAX_FAILURE])
    page = fields.get("page")
    return ParseFailed(
        Reason(fields.get("reason")),
        str(fields.get("detail"))[:_LONGEST_DETAIL],
        page if isinstance(page, int) else None,
    )
