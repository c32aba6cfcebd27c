"""A parsed document as units: sentences, table rows, headings, lines of code. Chunks are made of whole ones."""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise

import numpy as np

from core.domain import Element, ElementKind, Page, ParsedDocument, Span
from core.sentences import sentences
from retrieval.ports import Tokenizer

_PIECE_CHARS = 20_000  # Tokenized at a time: a text's tokens never stand in memory all at once.
_CHARS_PER_TOKEN = 16  # Longer "tokens" are unknown words to the model, but still cost a prompt: they count by length.
_RUNNING_ON = frozenset(".!?:;…")
_LINE_END = re.compile("\n")
_HEADINGS = frozenset({ElementKind.TITLE, ElementKind.HEADING})
_BY_LINE = frozenset({ElementKind.TABLE, ElementKind.CODE})


class Seam(IntEnum):
    """What a unit's beginning is: the smaller, the better a chunk begins there."""

    SECTION = 0
    PAGE = 1
    BLOCK = 2
    SENTENCE = 3
    INSIDE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A piece of the text that chunks do not cut, trimmed of white space.

    `size` in tokens; `headings` above it; `page` of its first character; `columns`: the table's first row, given for
    the later ones; `repeatable`: prose, which the next chunk may begin with once more.
    """

    start: int
    end: int
    size: int
    headings: tuple[str, ...]
    page: int | None
    seam: Seam
    columns: Span | None = None
    heading: bool = False
    repeatable: bool = False


class TokenCounts:
    """The tokens of a text, counted once; any range is then counted in logarithmic time."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self._text = text
        pieces = [np.zeros(0, np.int64)]
        for start, end in _pieces(text):
            offsets = tokenizer.offsets(text[start:end])
            if offsets:
                pieces.append(np.fromiter((first for first, _ in offsets), np.int64, len(offsets)) + start)
        starts = np.maximum.accumulate(np.concatenate(pieces))
        self._starts = array("q", starts.tobytes())  # which bisect reads faster than numpy's

    def size(self, start: int, end: int) -> int:
        """Return the tokens of the range, at least one per sixteen characters."""
        tokens = bisect_left(self._starts, end) - bisect_left(self._starts, start)
        return max(tokens, -(-(end - start) // _CHARS_PER_TOKEN))

    def cuts(self, start: int, end: int, most: int) -> list[int]:
        """Return where to cut the range so that no piece is larger than `most`: before a word where there is one."""
        found: list[int] = []
        while self.size(start, end) > most:
            first = bisect_left(self._starts, start)
            by_tokens = self._starts[first + most] if first + most < len(self._starts) else end
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


def section_units(parsed: ParsedDocument, counts: TokenCounts, most: int) -> list[list[Unit]]:
    """Return the units of the document by section; a heading begins one. No unit is larger than `most` tokens.

    Together the units hold every character of the text but white space, each once and in order.
    """
    sections: list[list[Unit]] = []
    key: tuple[str, ...] | None = None
    page_of = PageFinder(parsed.pages)
    for block in _blocks(parsed):
        heading = block.kind in _HEADINGS
        path = (*block.headings, parsed.text[block.start : block.end].strip()) if heading else block.headings
        in_section = block.kind is ElementKind.HEADER_FOOTER and key is not None
        if not in_section and (heading or path != key):
            key = path
            sections.append([])
        units = _units(parsed.text, block, counts, most, page_of)
        section = sections[-1]
        if section and units:
            units[0] = _joined(parsed.text, section, units[0], most) or _with_seam(units[0], section[-1])
            if units[0].start == section[-1].start:
                section.pop()
        section.extend(units)
    return [section for section in sections if section]


def _joined(text: str, section: list[Unit], unit: Unit, most: int) -> Unit | None:
    """Return the last unit of the section with `unit` appended when a page or layout break cut one sentence in two."""
    last = section[-1]
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


def _units(text: str, block: _Block, counts: TokenCounts, most: int, pages: PageFinder) -> list[Unit]:
    content = text[block.start : block.end]
    by_line = block.kind in _BY_LINE
    spans = _lines(content) if by_line else sentences(content)
    if block.kind in _HEADINGS and spans:
        spans = [Span(start=spans[0].start, end=spans[-1].end)]
    columns = _columns(content, spans[0], block.start) if block.kind is ElementKind.TABLE and len(spans) > 1 else None
    units: list[Unit] = []
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
                columns=columns if row else None,
                heading=block.kind in _HEADINGS,
                repeatable=not by_line and block.kind not in _HEADINGS and block.kind is not ElementKind.HEADER_FOOTER,
            )
            units.append(_with_seam(unit, units[-1]) if units else unit)
    return units


def _lines(content: str) -> list[Span]:
    edges = [0, *(match.end() for match in _LINE_END.finditer(content)), len(content)]
    return [line for start, end in pairwise(edges) if (line := trim(content, start, end))]


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
