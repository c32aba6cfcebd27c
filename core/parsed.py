"""A parse result as bytes: written once by the parse stage, read by chunking and by whoever shows a citation.

`FNP1`, then zstd over JSON in columns: one list per field instead of one object per line, positions as differences.
A document of 2,000 pages with 100,000 lines stays under a megabyte or so beside its text, and the text alone, or the
boxes of one passage, can be had without building all lines.

Box coordinates are kept to 1/100,000 of the page (a hundredth of a millimetre on a sheet of paper is more); everything
else comes back exactly as it went in. The bytes may come from a parser child that read a hostile file: reading them
checks size, shape and ranges, and raises `UnreadableParse`.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import orjson
import zstandard

from core.domain import Box, Element, ElementKind, Line, Page, ParsedDocument, Span
from core.errors import FootnoteError

MAGIC = b"FNP1"
MAX_UNPACKED_BYTES = 1_000_000_000
_SCALE = 100_000
_LEVEL = 6  # of zstd: as fast as 3 on texts of this kind, a tenth smaller
_SLICE_CHARS = 1 << 20  # A long text is written so much at a time: its JSON never stands in memory beside it.
_BEFORE_TEXT, _AFTER_TEXT = b'{"text":"', b'",'
_KINDS = tuple(ElementKind)
_KIND_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_COORDINATES = ("x0", "y0", "x1", "y1")

Columns = dict[str, list[Any]]


class UnreadableParse(FootnoteError):
    """The stored parse result is damaged, forged, or of a format that this version does not know."""

    code = "unreadable_parse"
    title = "The stored text cannot be read"


def to_bytes(document: ParsedDocument) -> bytes:
    """Return the document as bytes: the same document gives the same bytes. The text must be valid Unicode."""
    headings = list(dict.fromkeys(element.headings for element in document.elements))
    numbers = {path: number for number, path in enumerate(headings)}
    boxes = [line.box for line in document.lines]
    rest = {
        "title": document.title,
        "language": document.language,
        "pages_lost": document.pages_lost,
        "notes": document.notes,
        "media_type": document.media_type,
        "headings": headings,
        "elements": {
            "kind": [_KIND_NUMBERS[element.kind] for element in document.elements],
            **_span_columns([element.span for element in document.elements]),
            "headings": [numbers[element.headings] for element in document.elements],
            "level": [element.level for element in document.elements],
        },
        "pages": {
            "number": [page.number for page in document.pages],
            **_span_columns([page.span for page in document.pages]),
            "width": [page.width for page in document.pages],
            "height": [page.height for page in document.pages],
            "label": [page.label for page in document.pages],
        },
        "lines": {
            **_span_columns([line.span for line in document.lines]),
            "page": _differences([box.page for box in boxes]),
            "x0": [round(box.x0 * _SCALE) for box in boxes],
            "y0": [round(box.y0 * _SCALE) for box in boxes],
            "x1": [round(box.x1 * _SCALE) for box in boxes],
            "y1": [round(box.y1 * _SCALE) for box in boxes],
        },
    }
    ending = orjson.dumps(rest)[1:]
    size = len(_BEFORE_TEXT) + sum(map(len, _json_slices(document.text))) + len(_AFTER_TEXT) + len(ending)
    compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj(size=size)
    pieces = chain((_BEFORE_TEXT,), _json_slices(document.text), (_AFTER_TEXT, ending))
    return b"".join([MAGIC, *map(compressor.compress, pieces), compressor.flush()])


def _json_slices(text: str) -> Iterator[bytes]:
    """Yield what stands between the quotes when the text is written as JSON. Every character is escaped by itself."""
    for start in range(0, len(text), _SLICE_CHARS):
        yield orjson.dumps(text[start : start + _SLICE_CHARS])[1:-1]


def from_bytes(data: bytes, *, max_bytes: int = MAX_UNPACKED_BYTES) -> ParsedDocument:
    """Return the document; `max_bytes` bounds what the bytes may unfold into. Raises `UnreadableParse`."""
    packed = _unpack(data, max_bytes)
    try:
        text = _checked(packed["text"], str)
        elements, pages, lines = (_checked(packed[part], dict) for part in ("elements", "pages", "lines"))
        headings = [tuple(_checked(heading, str) for heading in path) for path in packed["headings"]]
        return ParsedDocument(
            text=text,
            title=_checked(packed["title"], str | None),
            language=_checked(packed["language"], str | None),
            elements=tuple(
                Element(kind=_KINDS[kind], span=span, headings=headings[path], level=_checked(level, int))
                for kind, span, path, level in zip(
                    elements["kind"], _spans(elements, len(text)), elements["headings"], elements["level"], strict=True
                )
            ),
            pages=tuple(
                Page(
                    number=_checked(number, int),
                    span=span,
                    width=float(width),
                    height=float(height),
                    label=_checked(label, str | None),
                )
                for number, span, width, height, label in zip(
                    pages["number"],
                    _spans(pages, len(text)),
                    pages["width"],
                    pages["height"],
                    pages["label"],
                    strict=True,
                )
            ),
            lines=tuple(
                Line(span=span, box=box) for span, box in zip(_spans(lines, len(text)), _boxes(lines), strict=True)
            ),
            pages_lost=tuple(_checked(page, int) for page in packed["pages_lost"]),
            notes=tuple(_checked(note, str) for note in packed["notes"]),
            media_type=_checked(packed["media_type"], str | None),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UnreadableParse("The stored parse result has not the shape it should have.") from error


def text_from_bytes(data: bytes, *, max_bytes: int = MAX_UNPACKED_BYTES) -> str:
    """Return the canonical text alone. Raises `UnreadableParse`."""
    text = _unpack(data, max_bytes).get("text")
    if not isinstance(text, str):
        raise UnreadableParse("The stored parse result has no text.")
    return text


def lines_from_bytes(data: bytes, span: Span, *, max_bytes: int = MAX_UNPACKED_BYTES) -> tuple[Line, ...]:
    """Return the printed lines that share a character with the span, in order. Raises `UnreadableParse`."""
    packed = _unpack(data, max_bytes)
    try:
        lines = packed["lines"]
        found = [
            number
            for number, (start, length) in enumerate(zip(accumulate(lines["start"]), lines["length"], strict=True))
            if start < span.end and start + length > span.start
        ]
        if not found:
            return ()
        first, end = found[0], found[-1] + 1
        wanted = set(found)
        some: Columns = {name: column[first:end] for name, column in lines.items()}
        for name in ("start", "page"):  # Differences: the first of the excerpt becomes a position again.
            some[name][0] = sum(lines[name][: first + 1])
        spans = _spans(some, len(packed["text"]))
        return tuple(
            Line(span=line, box=box)
            for number, (line, box) in enumerate(zip(spans, _boxes(some), strict=True), start=first)
            if number in wanted
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UnreadableParse("The stored parse result has not the shape it should have.") from error


def _unpack(data: bytes, max_bytes: int) -> dict[str, Any]:
    if data[: len(MAGIC)] != MAGIC:
        raise UnreadableParse("The stored parse result is of an unknown format; parse the document again.")
    frame = memoryview(data)[len(MAGIC) :]
    try:
        # The frame's own claim is checked first, because the decompressor allocates what it claims.
        if not 0 <= zstandard.frame_content_size(frame) <= max_bytes:
            raise UnreadableParse(f"The stored parse result unfolds into more than {max_bytes:,} bytes.")
        packed = orjson.loads(zstandard.ZstdDecompressor().decompress(frame))
    except (zstandard.ZstdError, orjson.JSONDecodeError) as error:
        raise UnreadableParse("The stored parse result is damaged; parse the document again.") from error
    if not isinstance(packed, dict):
        raise UnreadableParse("The stored parse result has not the shape it should have.")
    return packed


def _differences(numbers: Sequence[int]) -> list[int]:
    return [*numbers[:1], *(after - before for before, after in pairwise(numbers))]


def _span_columns(spans: Sequence[Span]) -> Columns:
    return {
        "start": _differences([span.start for span in spans]),
        "length": [span.end - span.start for span in spans],
    }


def _spans(columns: Columns, limit: int) -> Iterator[Span]:
    for start, length in zip(accumulate(columns["start"]), columns["length"], strict=True):
        if type(start) is not int or type(length) is not int or not 0 <= start <= start + length <= limit:
            raise ValueError(f"span {start}+{length} is outside the text")
        yield Span(start=start, end=start + length)


def _boxes(columns: Columns) -> Iterator[Box]:
    corners = zip(*(columns[name] for name in _COORDINATES), strict=True)
    for page, (x0, y0, x1, y1) in zip(accumulate(columns["page"]), corners, strict=True):
        yield Box(page=page, x0=x0 / _SCALE, y0=y0 / _SCALE, x1=x1 / _SCALE, y1=y1 / _SCALE)


def _checked(value: Any, kind: Any) -> Any:  # noqa: ANN401 - JSON comes untyped; this is where it gets its type
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind}, found {type(value)}")
    return value
