"""A parsed document as units: sentences, table rows, headings, lines of code. Chunks are made of whole ones."""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np

from core.domain import Element, ElementKind, Page, ParsedDocument, Span
from core.sentences import iter_sentences
from ingestion.unit_store import Seam, Unit, UnitStore
from retrieval.ports import Tokenizer

_PIECE_CHARS = 20_000  # Tokenized at a time: a text's tokens never stand in memory all at once.
_CHARS_PER_TOKEN = 16  # Longer "tokens" are unknown words to the model, but still cost a prompt: they count by length.
_RUNNING_ON = frozenset(".!?:;…")
_LINE_END = re.compile("\n")
_HEADINGS = frozenset({ElementKind.TITLE, ElementKind.HEADING})
_BY_LINE = frozenset({ElementKind.TABLE, ElementKind.CODE})


class TokenCounts:
    """The tokens of a text, counted once; any range is then counted in logarithmic time. Two bytes a token."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self._text = text
        self._begins = array("q")  # of the pieces
        self._before = array("q", [0])  # tokens before each piece, and at last of all
        self._starts: list[array[int]] = []  # of each piece's tokens, from the beginning of the piece
        for start, end in _pieces(text):
            offsets = tokenizer.offsets(text[start:end])
            firsts = np.maximum.accumulate(np.fromiter((first for first, _ in offsets), np.uint16, len(offsets)))
            self._begins.append(start)
            self._starts.append(array("H", firsts.tobytes()))  # which bisect reads faster than numpy's
            self._before.append(self._before[-1] + len(offsets))

    def size(self, start: int, end: int) -> int:
        """Return the tokens of the range, at least one per sixteen characters."""
        tokens = self._tokens_before(end) - self._tokens_before(start)
        return max(tokens, -(-(end - start) // _CHARS_PER_TOKEN))

    def _tokens_before(self, position: int) -> int:
        piece = bisect_left(self._begins, position) - 1
        if piece < 0:
            return 0
        return self._before[piece] + bisect_left(self._starts[piece], position - self._begins[piece])

    def _start(self, token: int) -> int:
        piece = bisect_right(self._before, token) - 1
        return self._begins[piece] + self._starts[piece][token - self._before[piece]]

    def cuts(self, start: int, end: int, most: int) -> list[int]:
        """Return where to cut the range so that no piece is larger than `most`: before a word where there is one."""
        found: list[int] = []
        while self.size(start, end) > most:
            next_one = self._tokens_before(start) + most
            by_tokens = self._start(next_one) if next_one < self._before[-1] else end
            cut = max(min(by_tokens, start + most * _CHARS_PER_TOKEN, end - 1), start + 1)
            nearest = start + 3 * (cut - start) // 4
            word = next((at for at in range(cut, nearest, -1) if self._text[at - 1].isspace()), cut)
            found.append(word)
            start = word
        return found


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Yield the text in ranges that end at white space, where there is any near."""
    start = 0
    while start < len(text):
        end = min(start + _PIECE_CHARS, len(text))
        if end < len(text):
            near = max(
                text.rfind(" ", start + _PIECE_CHARS // 2, end), text.rfind("\n", start + _PIECE_CHARS // 2, end)
            )
            end = near if near > 0 else end
        yield start, end
        start = end


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """An element, or text between elements, clipped so that blocks never overlap and together cover the text."""

    kind: ElementKind
    start: int
    end: int
    headings: tuple[str, ...]


def section_units(parsed: ParsedDocument, counts: TokenCounts, most: int) -> Iterator[UnitStore]:
    """Yield the units of the document by section; a heading begins one. No unit is larger than `most` tokens.

    Together the units hold every character of the text but white space, each once and in order.
    """
    section = UnitStore()
    key: tuple[str, ...] | None = None
    page_of = PageFinder(parsed.pages)
    for block in _blocks(parsed):
        heading = block.kind in _HEADINGS
        path = (*block.headings, parsed.text[block.start : block.end].strip()) if heading else block.headings
        in_section = block.kind is ElementKind.HEADER_FOOTER and key is not None
        if not in_section and (heading or path != key):
            key = path
            if section:
                yield section
                section = UnitStore()
        units = _units(parsed.text, block, counts, most, page_of)
        if section and (first := next(units, None)) is not None:
            joined = _joined(parsed.text, section[-1], first, most)
            if joined is not None:
                section.replace_last(joined)
            else:
                section.append(_with_seam(first, section[-1]))
        for unit in units:
            section.append(unit)
    if section:
        yield section


def _joined(text: str, last: Unit, unit: Unit, most: int) -> Unit | None:
    """Return the last unit of a section with `unit` appended when a page or layout break cut one sentence in two."""
    runs_on = (
        last.repeatable and unit.repeatable and text[last.end - 1] not in _RUNNING_ON and text[unit.start].islower()
    )
    if not runs_on or last.size + unit.size > most:
        return None
    return replace(last, end=unit.end, size=last.size + unit.size)


def _with_seam(unit: Unit, before: Unit) -> Unit:
    return replace(unit, seam=Seam.PAGE) if unit.page != before.page else unit


class PageFinder:
    """The number of the page that a position of the text lies on: of the last page that begins at or before it."""

    def __init__(self, pages: Sequence[Page]) -> None:
        ordered = sorted(pages, key=lambda page: (page.span.start, page.span.end, page.number))
        self._starts = [page.span.start for page in ordered]
        self._numbers = [page.number for page in ordered]

    def at(self, position: int) -> int | None:
        """Return the page's number; None when the document has no pages."""
        if not self._numbers:
            return None
        return self._numbers[max(bisect_right(self._starts, position) - 1, 0)]


def _blocks(parsed: ParsedDocument) -> Iterator[_Block]:
    position = 0
    path: tuple[str, ...] = ()
    for element in sorted(parsed.elements, key=lambda element: (element.span.start, element.span.end)):
        start = max(element.span.start, position)
        end = min(element.span.end, len(parsed.text))
        if parsed.text[position:start].strip():
            yield _Block(kind=ElementKind.PARAGRAPH, start=position, end=start, headings=path)
        position = start
        if end <= start:
            continue
        path = _path_below(parsed.text, element)
        yield _Block(kind=element.kind, start=start, end=end, headings=element.headings)
        position = end
    if parsed.text[position:].strip():
        yield _Block(kind=ElementKind.PARAGRAPH, start=position, end=len(parsed.text), headings=path)


def _path_below(text: str, element: Element) -> tuple[str, ...]:
    if element.kind not in _HEADINGS:
        return element.headings
    return (*element.headings, text[element.span.start : element.span.end].strip())


def _units(text: str, block: _Block, counts: TokenCounts, most: int, pages: PageFinder) -> Iterator[Unit]:
    content = text[block.start : block.end]
    by_line = block.kind in _BY_LINE
    spans = _lines(content) if by_line else iter_sentences(content)
    if block.kind in _HEADINGS and (whole := trim(content, 0, len(content))):
        spans = iter((whole,))
    columns: Span | None = None
    before: Unit | None = None
    for row, span in enumerate(spans):
        start, end = block.start + span.start, block.start + span.end
        edges = [start, *counts.cuts(start, end, most), end]
        for part, (left, right) in enumerate(pairwise(edges)):
            trimmed = trim(text, left, right)
            if trimmed is None:
                continue
            unit = Unit(
                start=trimmed.start,
                end=trimmed.end,
                size=counts.size(trimmed.start, trimmed.end),
                headings=block.headings,
                page=pages.at(trimmed.start),
                seam=Seam.INSIDE if part else Seam.SENTENCE if row else Seam.BLOCK,
                columns=columns,
                heading=block.kind in _HEADINGS,
                repeatable=not by_line and block.kind not in _HEADINGS and block.kind is not ElementKind.HEADER_FOOTER,
            )
            before, unit = unit, _with_seam(unit, before) if before else unit
            yield unit
        if not row and block.kind is ElementKind.TABLE:
            columns = _columns(content, span, block.start)


def _lines(content: str) -> Iterator[Span]:
    edges = chain((0,), (match.end() for match in _LINE_END.finditer(content)), (len(content),))
    return (line for start, end in pairwise(edges) if (line := trim(content, start, end)))


def trim(text: str, start: int, end: int) -> Span | None:
    """Return the range without white space at its ends; None when there is nothing else in it."""
    piece = text[start:end]
    trimmed = piece.strip()
    if not trimmed:
        return None
    start += len(piece) - len(piece.lstrip())
    return Span(start=start, end=start + len(trimmed))


def _columns(content: str, row: Span, offset: int) -> Span | None:
    """Return the range of the first row when it reads like column names: two cells or more, none of them a number."""
    cells = [cell.strip() for cell in content[row.start : row.end].replace("\t", "|").split("|") if cell.strip()]
    if len(cells) < 2 or any(not any(char.isalpha() for char in cell) for cell in cells):  # noqa: PLR2004
        return None
    return Span(start=offset + row.start, end=offset + row.end)
