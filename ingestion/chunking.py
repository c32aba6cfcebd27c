"""Parsed document -> chunks that fit the embedder, each one a slice of the text under its contextual header. Pure.

A chunk holds whole sentences or table rows of one section (tiny sections join), is about as large as its neighbours,
begins at a page's beginning where it can, and repeats the last sentences of the chunk before.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import PurePosixPath

from core.domain import ParsedDocument, Span
from ingestion.unit_store import Seam, Unit, UnitStore
from ingestion.units import PageFinder, TokenCounts, section_units, trim
from retrieval.ports import Tokenizer

CHUNKER_VERSION = "1"

_SPECIAL_TOKENS = 2  # What BERT-like models add to a text.
_HEADER_SHARE = 3  # A header takes at most this fraction of the budget.
_COLUMNS_SHARE = 4  # A table's column names, as part of it, at most this fraction.
_TINY_SHARE = 5  # Less than this fraction of the budget is too little to stand alone.
_LONGEST_PART = 100  # Characters of a title or heading in a header.
_MOST_HEADINGS = 3
_SEAM_COST = {Seam.SECTION: -0.3, Seam.PAGE: -1.0, Seam.BLOCK: 0.1, Seam.SENTENCE: 0.25, Seam.INSIDE: 0.6}
_HEADING_LAST = 2.0  # A heading belongs to what follows it.
_TINY_REST = 1.0
_COUNT_BATCH = 512
_HEADERS_KEPT = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkDraft:
    """A chunk before it has an id: its text is the slice `span`. Pages of its first and last character, if any.

    `tokens` is what the model reads of it: header, text and special tokens.
    """

    span: Span
    header: str
    headings: tuple[str, ...]
    page_first: int | None
    page_last: int | None
    tokens: int = 0


def chunker_version(*, max_tokens: int, overlap_tokens: int, tokenizer: str) -> str:
    """Return what determines the chunks of a document. `tokenizer` is the id of the embedder that it belongs to."""
    return f"{CHUNKER_VERSION}:{max_tokens}:{overlap_tokens}:{tokenizer}"


def contextual_header(title: str | None, headings: Sequence[str]) -> str:
    """Return the line put before a chunk's text when it is embedded: title and innermost headings, each shortened."""
    parts: list[str] = []
    for part in (title or "", *headings[-_MOST_HEADINGS:]):
        cleaned = _shortened(" ".join(part.split()))
        if cleaned and (not parts or cleaned.casefold() != parts[-1].casefold()):
            parts.append(cleaned)
    return " > ".join(parts)


def chunk_document(
    parsed: ParsedDocument, *, name: str, tokenizer: Tokenizer, max_tokens: int, overlap_tokens: int
) -> Iterator[ChunkDraft]:
    """Yield the chunks in order of the text; none for a text of white space.

    Header, text and the model's special tokens together take at most `max_tokens`. Every character that is not white
    space lies in at least one chunk. The same input gives the same chunks. Takes linear time, and beside the text
    little memory: two bytes a token, and 40 a unit of the largest section.
    """
    headers = _Headers(parsed, name, tokenizer, max_tokens)
    counts = TokenCounts(parsed.text, tokenizer)
    room = max_tokens - _SPECIAL_TOKENS
    largest = max(room - room // _HEADER_SHARE, 1)
    tiny = max_tokens // _TINY_SHARE
    pages = PageFinder(parsed.pages)
    drafts = (
        _draft(units, headers, pages)
        for group in _groups(section_units(parsed, counts, largest), tiny=tiny, most=largest)
        for units in _split(group, headers, room=room, overlap=min(overlap_tokens, room // 2), tiny=tiny)
    )
    yield from _within_budget(parsed, drafts, tokenizer, max_tokens, pages)


def document_title(title: str | None, name: str) -> str:
    """Return what a document is called in headers: its title, else its file name made readable, else nothing."""
    if title and title.strip():
        return title.strip()
    stem = " ".join(PurePosixPath(name).stem.replace("_", " ").replace("-", " ").split())
    return stem if any(char.isalpha() for char in stem) else ""


class _Headers:
    """Contextual headers within their share of the budget; made once per path."""

    def __init__(self, parsed: ParsedDocument, name: str, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._text = parsed.text
        self._title = document_title(parsed.title, name)
        self._tokenizer = tokenizer
        self._most = (max_tokens - _SPECIAL_TOKENS) // _HEADER_SHARE
        self._columns_most = (max_tokens - _SPECIAL_TOKENS) // _COLUMNS_SHARE
        self._made: dict[tuple[bool, tuple[str, ...], str], tuple[str, int]] = {}

    def make(self, units: Sequence[Unit]) -> str:
        """Return the header of a chunk of these units."""
        titled = _begins_with(self._text, units[0].start, self._title)
        return self._header(not titled, common_path(units), units[0].columns)[0]

    def size(self, unit: Unit) -> int:
        """Return the tokens of the header of a chunk that begins with this unit."""
        return self._header(True, unit.headings, unit.columns)[1]  # noqa: FBT003  # with the title: never too little

    def _header(self, titled: bool, path: tuple[str, ...], columns: Span | None) -> tuple[str, int]:  # noqa: FBT001
        names = " ".join(self._text[columns.start : columns.end].split()) if columns else ""
        key = (titled, path, names)  # By the names themselves: a long table repeats them in every block.
        if key not in self._made:
            if len(self._made) >= _HEADERS_KEPT:
                self._made.clear()
            self._made[key] = self._fitted(self._title if titled else None, path, names)
        return self._made[key]

    def _fitted(self, title: str | None, path: tuple[str, ...], names: str) -> tuple[str, int]:
        taken = self._tokenizer.count([names])[0] if names else 0
        if taken > self._columns_most:
            names, taken = "", 0
        lines = [contextual_header(title, path[drop:]) for drop in range(max(len(path) - _MOST_HEADINGS, 0), len(path))]
        lines += [contextual_header(title, path[-1:]), contextual_header(title, ())]
        for line in lines:
            size = self._tokenizer.count([line])[0]
            if size + taken <= self._most:
                break
        else:
            cut = self._tokenizer.offsets(lines[-1])[max(self._most - taken, 0)][0]
            line = lines[-1][:cut].rstrip()
            size = self._tokenizer.count([line])[0]
        return "\n".join(filter(None, (line, names))), size + taken


def common_path(units: Iterable[Unit]) -> tuple[str, ...]:
    """Return the headings that all of the units stand under."""
    paths = [unit.headings for unit in units]
    shortest = min(paths, key=len)
    for depth, heading in enumerate(shortest):
        if any(path[depth] != heading for path in paths):
            return shortest[:depth]
    return shortest


def _begins_with(text: str, start: int, title: str) -> bool:
    window = text[start : start + 2 * len(title) + 8]
    return bool(title) and " ".join(window.split()).casefold().startswith(" ".join(title.split()).casefold())


def _shortened(part: str) -> str:
    if len(part) <= _LONGEST_PART:
        return part
    return part[:_LONGEST_PART].rsplit(" ", 1)[0].rstrip(" ,;:-") + "…"


def _groups(sections: Iterable[UnitStore], *, tiny: int, most: int) -> Iterator[UnitStore]:
    """Join headings that have nothing below them to what follows, and tiny sections to a neighbour."""
    group: UnitStore | None = None
    for section in sections:
        if group is not None and _belong_together(group, section, tiny=tiny, most=most):
            group.append(_seamed(section[0], group[-1]))
            for unit in islice(section, 1, None):
                group.append(unit)
            continue
        if group is not None:
            yield group
        group = section
    if group is not None:
        yield group


def _belong_together(before: UnitStore, after: UnitStore, *, tiny: int, most: int) -> bool:
    if before.only_headings:
        return True
    if before.size + after.size > most or before[-1].page != after[0].page:
        return False
    return before.size < tiny or after.size < tiny


def _seamed(unit: Unit, before: Unit) -> Unit:
    return replace(unit, seam=Seam.PAGE if unit.page != before.page else Seam.SECTION)


def _split(units: Sequence[Unit], headers: _Headers, *, room: int, overlap: int, tiny: int) -> Iterable[Sequence[Unit]]:
    """Yield runs of units that fit, of similar size, parted at the best seams; a run may begin with repeated units."""
    before = array("q", accumulate((unit.size for unit in units), initial=0))
    first = 0
    while first < len(units):
        room_here = room - headers.size(units[first])
        lead = _repeated(units, first, min(overlap, room_here - units[first].size))
        capacity = room_here - (before[first] - before[lead])
        end = _best_end(units, before, first, capacity=capacity, step=max(room_here - overlap, 1), tiny=tiny)
        yield units[lead:end]
        first = end


def _repeated(units: Sequence[Unit], first: int, most: int) -> int:
    """Return where a chunk whose new text begins at `first` begins: some sentences earlier, never on another page."""
    if not first or units[first].seam < Seam.BLOCK:
        return first
    lead = first
    size = 0
    while lead and units[lead - 1].repeatable and units[lead - 1].page == units[first].page:
        size += units[lead - 1].size
        if size > most:
            break
        lead -= 1
        if units[lead].seam < Seam.BLOCK:
            break
    return lead


def _best_end(units: Sequence[Unit], before: Sequence[int], first: int, *, capacity: int, step: int, tiny: int) -> int:
    """Return where the chunk that begins at `first` ends: near an even share of what is left, at a good seam."""
    rest = before[-1] - before[first]
    parts = 1 if rest <= capacity else max(-(-rest // step), 2)
    target = rest / parts
    best_end, best_cost = first + 1, float("inf")
    for end in range(first + 1, len(units) + 1):
        size = before[end] - before[first]
        if size > capacity and end > first + 1:
            break
        cost = abs(size - target) / target
        if end < len(units):
            cost += _SEAM_COST[units[end].seam]
            cost += _HEADING_LAST if units[end - 1].heading else 0
            cost += _TINY_REST if rest - size < tiny or size < tiny else 0
        if cost <= best_cost:
            best_end, best_cost = end, cost
    return best_end


def _draft(units: Sequence[Unit], headers: _Headers, pages: PageFinder) -> ChunkDraft:
    span = Span(start=units[0].start, end=units[-1].end)
    return ChunkDraft(
        span=span,
        header=headers.make(units),
        headings=common_path(units),
        page_first=pages.at(span.start),
        page_last=pages.at(span.end - 1),
    )


def _within_budget(
    parsed: ParsedDocument, drafts: Iterator[ChunkDraft], tokenizer: Tokenizer, max_tokens: int, pages: PageFinder
) -> Iterator[ChunkDraft]:
    """Halve what is still too large: a word cut in two may count more tokens than it did whole. The order stays."""
    held: list[ChunkDraft] = []  # A later half may begin after the next chunk, which repeats some of it.
    while batch := list(islice(drafts, _COUNT_BATCH)):
        sizes = tokenizer.count([_embedded(parsed, draft) for draft in batch])
        for draft, size in zip(batch, sizes, strict=True):
            held.sort(key=lambda one: one.span.start)
            while held and held[0].span.start <= draft.span.start:
                yield held.pop(0)
            held += _fitting(parsed, draft, size, tokenizer, max_tokens, pages)
    yield from sorted(held, key=lambda one: one.span.start)


def _fitting(
    parsed: ParsedDocument, draft: ChunkDraft, size: int, tokenizer: Tokenizer, max_tokens: int, pages: PageFinder
) -> list[ChunkDraft]:
    found: list[ChunkDraft] = []
    waiting = [(draft, size)]
    while waiting:
        one, tokens = waiting.pop()
        if tokens + _SPECIAL_TOKENS <= max_tokens or one.span.end - one.span.start <= 1:
            found.append(replace(one, tokens=tokens + _SPECIAL_TOKENS))
            continue
        halves = _halves(parsed, one, pages)
        counts = tokenizer.count([_embedded(parsed, half) for half in halves])
        waiting.extend(reversed(list(zip(halves, counts, strict=True))))
    return found


def _embedded(parsed: ParsedDocument, draft: ChunkDraft) -> str:
    text = parsed.text[draft.span.start : draft.span.end]
    return f"{draft.header}\n{text}" if draft.header else text


def _halves(parsed: ParsedDocument, draft: ChunkDraft, pages: PageFinder) -> list[ChunkDraft]:
    start, end = draft.span.start, draft.span.end
    middle = (start + end) // 2
    reach = (end - start) // 4
    near = (position for step in range(reach) for position in (middle + step, middle - step))
    middle = next((position for position in near if parsed.text[position - 1].isspace()), middle)
    return [
        ChunkDraft(
            span=span,
            header=draft.header,
            headings=draft.headings,
            page_first=pages.at(span.start),
            page_last=pages.at(span.end - 1),
        )
        for span in (trim(parsed.text, start, middle), trim(parsed.text, middle, end))
        if span
    ]
