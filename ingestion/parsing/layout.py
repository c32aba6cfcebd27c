"""Printed lines -> paragraphs, headings, running headers. Pure: PDFium's part ends with `PageLines`."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from core.domain import Box, ElementKind
from ingestion.parsing.canonical import TextBuilder

_MARGIN = 0.1  # Share of the page's height at top and bottom where running headers stand.
_RUNNING_PAGES = 3  # A line on so many pages at the same edge is a running header.
_RUNNING_SHARE = 0.5  # In a short document: on this share of the pages.
_LARGER = 1.12  # A heading is so much larger than the body, or bold,
_SLIGHTLY_LARGER = 1.05  # or so much larger, on one short line with air around.
_LONGEST_SLIGHT_HEADING = 80
_LONGEST_HEADING = 160
_LONGEST_BOLD_HEADING = 100
_MOST_HEADING_LINES = 3
_MOST_SIZES = 5  # Distinct heading sizes that become levels; smaller ones share the last.
_AIR = 1.2  # Times the usual step from line to line.
_GAP = 0.75  # Of a line's height: more air than that above a line begins a paragraph.
_DIGITS = re.compile(r"\d+")
_LIST_ITEM = re.compile(r"^(?:[•▪■●◦‣∙·\u2013\u2014*-]|\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)])\s+\S")
_SENTENCE_END = (".", ",", ";", ":", "?", "!")


class PrintedLine(NamedTuple):
    """One line as printed: canonical text, place, height of its letters in points, and whether they are bold."""

    text: str
    box: Box
    size: float
    bold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLines:
    """The lines of a page in reading order; its size in points as displayed."""

    number: int
    width: float
    height: float
    lines: tuple[PrintedLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Lines that belong together on one page."""

    lines: tuple[PrintedLine, ...]
    running: bool

    @property
    def text(self) -> str:
        return " ".join(line.text for line in self.lines)


def arrange(pages: Sequence[PageLines]) -> TextBuilder:
    """Return a builder holding all pages; its `title` is the first and largest heading of the first two pages."""
    builder = TextBuilder()
    running = _running_lines(pages)
    body = _body_size(pages)
    if _mostly_bold(pages):
        pages = [replace(page, lines=tuple(line._replace(bold=False) for line in page.lines)) for page in pages]
    blocks = [(page, list(_blocks(page, running))) for page in pages]
    sizes = _heading_sizes((block for _, found in blocks for block in found), body)
    for page, found in blocks:
        builder.start_page(page.number, width=page.width, height=page.height)
        for block in found:
            kind, level = _kind(block, body, sizes)
            builder.add_lines(kind, [(line.text, line.box) for line in block.lines], level=level)
    builder.title = _title(blocks, body, sizes)
    return builder


def _body_size(pages: Sequence[PageLines]) -> float:
    """Return the letter height that most characters have."""
    counts: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            counts[round(line.size * 2) / 2] += len(line.text)
    return counts.most_common(1)[0][0] if counts else 0.0


def _mostly_bold(pages: Sequence[PageLines]) -> bool:
    """Tell whether bold letters are this document's ordinary ones, and so mark nothing."""
    lines = [line for page in pages for line in page.lines]
    return sum(len(line.text) for line in lines if line.bold) > sum(len(line.text) for line in lines) / 2


def _running_lines(pages: Sequence[PageLines]) -> frozenset[str]:
    """Return the texts, numbers masked, that stand at the edge of many pages."""
    seen: Counter[str] = Counter()
    for page in pages:
        seen.update({_masked(line.text) for line in page.lines if _at_edge(line)})
    with_text = sum(1 for page in pages if page.lines)
    needed = max(2, min(_RUNNING_PAGES, round(_RUNNING_SHARE * with_text)))
    if with_text < _RUNNING_PAGES:
        return frozenset()
    return frozenset(text for text, count in seen.items() if count >= needed)


def _at_edge(line: PrintedLine) -> bool:
    return line.box.y1 <= _MARGIN or line.box.y0 >= 1 - _MARGIN


def _masked(text: str) -> str:
    return _DIGITS.sub("#", text.lower())


def _blocks(page: PageLines, running: frozenset[str]) -> Iterator[_Block]:
    """Group a page's lines: a block ends where the air, the letters, the column or the kind of line changes."""
    leading = _leading(page.lines)
    block: list[PrintedLine] = []
    block_running = False
    for line in page.lines:
        is_running = _at_edge(line) and _masked(line.text) in running
        if block and (is_running != block_running or _begins_block(block[-1], line, leading)):
            yield _Block(lines=tuple(block), running=block_running)
            block = []
        block.append(line)
        block_running = is_running
    if block:
        yield _Block(lines=tuple(block), running=block_running)


def _leading(lines: Sequence[PrintedLine]) -> float:
    """Return the usual distance between the tops of following lines, as a share of the page's height."""
    steps = [
        below.box.y0 - above.box.y0
        for above, below in pairwise(lines)
        if 0 < below.box.y0 - above.box.y0 < 0.06  # noqa: PLR2004 - neighbours, not the next column or picture
    ]
    return median(steps) if steps else 0.0


def _begins_block(above: PrintedLine, line: PrintedLine, leading: float) -> bool:
    if _LIST_ITEM.match(line.text):
        return True
    step = line.box.y0 - above.box.y0
    if above.size and line.size:
        ratio = max(above.size, line.size) / min(above.size, line.size)
        if ratio > _LARGER or (ratio > _SLIGHTLY_LARGER and step > _AIR * leading):
            return True
    if above.bold != line.bold and min(len(above.text), len(line.text)) <= _LONGEST_BOLD_HEADING:
        return True
    if step < -leading / 2:  # Back up: another column, or another box.
        return True
    return step > leading * (1 + _GAP) if leading else False


def _heading_sizes(blocks: Iterator[_Block], body: float) -> tuple[float, ...]:
    """Return the letter heights of headings that are larger than the body, largest first."""
    sizes: Counter[float] = Counter()
    for block in blocks:
        if not block.running and _is_larger(block, body):
            sizes[_rounded(block)] += 1
    ordered = sorted(sizes, reverse=True)
    merged: list[float] = []
    for size in ordered:
        if not merged or size < merged[-1] * 0.96:
            merged.append(size)
    return tuple(merged[:_MOST_SIZES])


def _rounded(block: _Block) -> float:
    return round(max(line.size for line in block.lines) * 2) / 2


def _is_larger(block: _Block, body: float) -> bool:
    text = block.text
    size = min(line.size for line in block.lines)
    slight = len(block.lines) == 1 and len(text) <= _LONGEST_SLIGHT_HEADING and not text[0].islower()
    return (
        body > 0
        and size >= body * (_SLIGHTLY_LARGER if slight else _LARGER)
        and len(block.lines) <= _MOST_HEADING_LINES
        and len(text) <= _LONGEST_HEADING
        and _is_wordy(text)
        and not text.endswith((".", ",", ";"))
    )


def _is_bold_heading(block: _Block, body: float) -> bool:
    text = block.text
    return (
        all(line.bold for line in block.lines)
        and len(block.lines) <= 2  # noqa: PLR2004 - a bold paragraph is emphasis
        and len(text) <= _LONGEST_BOLD_HEADING
        and min(line.size for line in block.lines) >= body * 0.95
        and _is_wordy(text)
        and not text.endswith(_SENTENCE_END)
        and (text[0].isupper() or text[0].isdigit() or not text[0].isascii())
    )


def _is_wordy(text: str) -> bool:
    letters = sum(character.isalpha() for character in text)
    return letters >= 3 and letters >= 0.5 * len(text.replace(" ", ""))  # noqa: PLR2004 - not a number or a formula


def _kind(block: _Block, body: float, sizes: tuple[float, ...]) -> tuple[ElementKind, int]:
    """Return the block's kind and level."""
    if block.running:
        return ElementKind.HEADER_FOOTER, 0
    if _is_larger(block, body):
        size = _rounded(block)
        level = next((rank for rank, known in enumerate(sizes, 1) if size >= known * 0.96), len(sizes) or 1)
        return ElementKind.HEADING, level
    if _LIST_ITEM.match(block.lines[0].text):
        return ElementKind.LIST_ITEM, 1
    if _is_bold_heading(block, body):
        return ElementKind.HEADING, len(sizes) + 1
    return ElementKind.PARAGRAPH, 0


def _title(blocks: Sequence[tuple[PageLines, Sequence[_Block]]], body: float, sizes: tuple[float, ...]) -> str | None:
    """Return the first heading of the largest size on the first two pages."""
    candidates = [
        (level, block.text)
        for _, found in blocks[:2]
        for block in found
        for kind, level in [_kind(block, body, sizes)]
        if kind is ElementKind.HEADING
    ]
    return min(candidates, key=lambda candidate: candidate[0])[1] if candidates else None
