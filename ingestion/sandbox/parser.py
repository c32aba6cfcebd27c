"""Parsing in the sandbox."""

from dataclasses import dataclass
from pathlib import Path

from core.domain import ParsedDocument, Reason
from core.parsed import UnreadableParse, from_bytes
from ingestion.parsing.canonical import faults
from ingestion.parsing.failures import ParseFailed
from ingestion.sandbox.client import ForkServerClient, Progressed
from ingestion.sandbox.limits import ParserLimits

_PARSERS = "ingestion.sandbox.parsing_child"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedResult:
    """What parsing gave: the type that was found, the document, and the child's peak resident memory in bytes."""

    media_type: str
    document: ParsedDocument
    peak_rss: int


class ParserSandbox:
    """Parses hostile files, each in a confined child of a fork server that starts with the first one."""

    def __init__(self, limits: ParserLimits, *, processes: int = 2, module: str = _PARSERS) -> None:
        self._limits = limits
        self._children = ForkServerClient(module, limits, processes=processes)

    def parse(self, path: Path, name: str, progressed: Progressed | None = None) -> ParsedResult:
        """Find out what the file is and parse it; `name` only decides between kinds of text. Callable from any thread.

        `progressed` is told which fraction is done, now and then, of a file whose parser can tell.

        Raises ParseFailed with the reason, OSError when the file cannot be opened, Unavailable when the sandbox itself
        is at fault.
        """
        outcome = self._children.run(path, {"name": name[-500:]}, progressed)
        try:
            document = from_bytes(outcome.payload, max_bytes=4 * self._limits.output_bytes)
        except UnreadableParse as error:
            raise ParseFailed(Reason.PARSER_CRASHED, "the parser's result cannot be read") from error
        found = faults(document)
        if found or document.media_type is None:
            raise ParseFailed(Reason.PARSER_CRASHED, f"the parser's result is wrong: {'; '.join(found)}")
        return ParsedResult(media_type=document.media_type, document=document, peak_rss=outcome.peak_rss)

    def active_layers(self) -> list[str]:
        """Return the names of the protections that parsing runs under here, for `footnote doctor`."""
        return list(self._children.layers())

    def close(self) -> None:
        """End the fork server and whatever is being parsed."""
        self._children.close()
