"""What Footnote speaks about. Frozen values, standard library only; every span is half-open, in Unicode code points."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from core.ids import ChunkId, DocumentId, TenantId, VersionId

Effect = Literal["allow", "deny"]
Role = Literal["reader", "editor", "admin"]
EVERYONE = "*"


class StageName(StrEnum):
    """The steps of a document's way in, in order."""

    PARSE = "parse"
    CHUNK = "chunk"
    EMBED = "embed"
    INDEX = "index"


WORKER_STAGES = (StageName.PARSE, StageName.CHUNK, StageName.EMBED)  # The index step is for whoever holds the index.


class DocumentState(StrEnum):
    """What a document is to its uploader: always exactly one of these."""

    SEARCHABLE = "searchable"
    QUEUED = "queued"
    LEASED = "leased"
    FAILED = "failed"
    DELETED = "deleted"


class Reason(StrEnum):
    """Why a document failed. `core.reasons` gives each a sentence that tells the uploader what to do."""

    UNSUPPORTED = "unsupported"
    ENCRYPTED = "encrypted"
    EMPTY = "empty"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    NO_TEXT = "no_text"
    PARSER_TIMEOUT = "parser_timeout"
    PARSER_OOM = "parser_oom"
    PARSER_CRASHED = "parser_crashed"
    OUTPUT_TOO_LARGE = "output_too_large"
    NOT_A_FILE = "not_a_file"
    SYMLINK = "symlink"
    DUPLICATE_NAME = "duplicate_name"
    UNREADABLE = "unreadable"
    EMBEDDER_FAILED = "embedder_failed"
    INDEX_FAILED = "index_failed"
    INTERNAL = "internal"


class ElementKind(StrEnum):
    """What an element of the canonical text is."""

    TITLE = "title"
    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST_ITEM = "list_item"
    TABLE = "table"
    CODE = "code"
    CAPTION = "caption"
    HEADER_FOOTER = "header_footer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Half-open range `[start, end)` of code points of a canonical text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Rectangle on a page as displayed: fractions of its width and height, origin top left, `x0 <= x1`, `y0 <= y1`."""

    page: int
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One printed line: its range in the canonical text and where it stands on the page."""

    span: Span
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page, slide or sheet, from 1: its range in the canonical text; width and height in points, 0 if unknown."""

    number: int
    span: Span
    width: float = 0.0
    height: float = 0.0
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """A structural unit of the text. `headings` is the path of headings above it, outermost first, itself excluded."""

    kind: ElementKind
    span: Span
    headings: tuple[str, ...] = ()
    level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """The result of parsing: one immutable canonical text (NFC, LF line ends) and what is known about its ranges."""

    text: str
    title: str | None
    language: str | None
    elements: tuple[Element, ...]
    pages: tuple[Page, ...] = ()
    lines: tuple[Line, ...] = ()
    pages_lost: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    media_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A retrievable passage. `text` is `canonical[span.start:span.end]`; `header` is context and never part of it.

    `tokens` is what the embedder reads of both; None where it was not counted, as in what is read back.
    """

    id: ChunkId
    tenant: TenantId
    document: DocumentId
    version: VersionId
    ordinal: int
    span: Span
    text: str
    header: str = ""
    headings: tuple[str, ...] = ()
    page_first: int | None = None
    page_last: int | None = None
    tokens: int | None = field(default=None, compare=False)

    @property
    def embedded_text(self) -> str:
        """The text that the dense model sees."""
        return f"{self.header}\n{self.text}" if self.header else self.text

    @property
    def embedded_hash(self) -> str:
        """SHA-256, in hex, of that text: the key under which its vector is kept."""
        return hashlib.sha256(self.embedded_text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: the tenant and every name that access entries may call them by. An empty closure reads nothing.

    `closure` holds `user:U`, all transitive `group:G` and `*`. It is read from the directory in the request's own
    transaction and never stored, so that a membership change takes effect with the next request.
    """

    tenant: TenantId
    closure: frozenset[str]
    user: str | None = None
    role: Role = "reader"
    scopes: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Where each stage ranked a hit, from 1; None where the stage did not return it."""

    dense: int | None = None
    bm25: int | None = None
    rerank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that the asker may read, with its score and the ranks that led to it."""

    chunk: Chunk
    score: float
    ranks: Ranks
    name: str
    title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Evidence for a sentence: the very words, where they stand, and a hash that survives re-chunking.

    `quote` equals `canonical[span.start:span.end]` of that version; `hash` is its SHA-256 in hex.
    """

    n: int
    document: DocumentId
    version: VersionId
    chunk: ChunkId
    name: str
    title: str | None
    page: int | None
    span: Span
    quote: str
    hash: str
    boxes: tuple[Box, ...] = ()
    verified: bool = True
