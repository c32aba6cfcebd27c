"""Builds a document's canonical text block by block, and checks what anyone claims about one."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from core.domain import Box, Element, ElementKind, Line, Page, ParsedDocument, Span

_LINE_ENDS = re.compile(r"\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# Control characters, byte order marks and half surrogate pairs: no store and no reader can do anything with them.
_UNSAYABLE = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_SAMPLE = 800  # More adds time, not certainty.
_MAX_HEADING = 200  # Of a heading's text in the path of those below it; longer ones are paragraphs in disguise.
_MAX_TITLE = 1_000
_MAX_LABEL = 200
_MAX_NOTE = 500
_MAX_NOTES = 1_000
_MAX_LANGUAGE = 16  # As the catalogue has it, and the next.
_MAX_MEDIA_TYPE = 255
_LAST_PAGE = 1_000_000  # No page beyond is believed in.


def clean(text: str) -> str:
    """Return the text in canonical form: NFC, LF, plain spaces, no controls or trailing blanks, single empty lines."""
    text = _LINE_ENDS.sub("\n", text)
    text = _SPACES.sub(" ", text)
    text = _UNSAYABLE.sub("", text)
    text = unicodedata.normalize("NFC", text)
    text = _TRAILING.sub("", text)
    return _BLANK_LINES.sub("\n\n", text).strip()


def clean_line(text: str) -> str:
    """Return the text in canonical form on a single line, white space collapsed."""
    if not text.isprintable():
        return " ".join(clean(text).split())
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    # Spaces are all the white space that can be printed.
    return " ".join(text.split()) if "  " in text else text.strip()


class TextBuilder:
    """Collects blocks in reading order and gives each its place in the text."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._separated = True
        self._last_kind: ElementKind | None = None
        self._elements: list[Element] = []
        self._lines: list[Line] = []
        self._pages: list[Page] = []
        self._headings: list[tuple[int, str]] = []
        self.title: str | None = None
        self.notes: list[str] = []

    @property
    def empty(self) -> bool:
        """Whether no block has been added yet."""
        return not self._elements

    @property
    def blocks(self) -> int:
        """How many blocks have been added."""
        return len(self._elements)

    def start_page(self, number: int, *, width: float = 0.0, height: float = 0.0, label: str | None = None) -> None:
        """Begin a page, slide or sheet: what is added from now on stands on it."""
        self._separate("\n\n")
        here = Span(start=self._length, end=self._length)
        label = None if label is None else clean_line(label)[:_MAX_LABEL]
        self._pages.append(Page(number=number, span=here, width=width, height=height, label=label))

    def reset_headings(self) -> None:
        """Forget the heading path: what follows does not stand below what came before."""
        self._headings.clear()

    def add(self, kind: ElementKind, text: str, *, level: int = 0) -> None:
        """Add a block; one without text is left out. `level` counts from 1 for headings and list items."""
        text = clean(text) if kind is not ElementKind.HEADING else clean_line(text)
        if text:
            self._append(kind, text, level)

    def add_table(self, blocks: Iterable[str]) -> None:
        """Add a table that has been linearised into blocks (see `tables.linearise`), one element each."""
        for block in blocks:
            self.add(ElementKind.TABLE, block)

    def add_lines(self, kind: ElementKind, lines: Sequence[tuple[str, Box]], *, level: int = 0) -> None:
        """Add a block of printed lines, each with its place on the page. The texts are `clean_line`d already."""
        lines = [(text, box) for text, box in lines if text]
        if not lines:
            return
        position = self._append(kind, "\n".join(text for text, _ in lines), level)
        for text, box in lines:
            self._lines.append(Line(span=Span(start=position, end=position + len(text)), box=box))
            position += len(text) + 1

    def build(self, *, title: str | None, language: str | None, pages_lost: Sequence[int] = ()) -> ParsedDocument:
        """Return the document. The pages' ranges tile the text; the elements cover all of it but white space."""
        text = "".join(self._parts).rstrip("\n")
        notes = [clean_line(note)[:_MAX_NOTE] for note in self.notes]
        if len(notes) > _MAX_NOTES:
            notes[_MAX_NOTES - 1 :] = [f"and {len(notes) - _MAX_NOTES + 1:,} more of the kind"]
        starts = [min(page.span.start, len(text)) for page in self._pages]
        if starts:
            starts[0] = 0
        ends = [*starts[1:], len(text)][: len(starts)]
        return ParsedDocument(
            text=text,
            title=clean_line(title)[:_MAX_TITLE] or None if title else None,
            language=language,
            elements=tuple(self._elements),
            pages=tuple(
                replace(page, span=Span(start=start, end=end))
                for page, start, end in zip(self._pages, starts, ends, strict=True)
            ),
            lines=tuple(self._lines),
            pages_lost=tuple(pages_lost),
            notes=tuple(notes),
        )

    @property
    def sample(self) -> str:
        """The beginning, enough to tell the language."""
        taken, length = [], 0
        for part in self._parts:
            taken.append(part)
            length += len(part)
            if length > _SAMPLE:
                break
        return "".join(taken)[:_SAMPLE]

    def _separate(self, separator: str) -> None:
        if not self._separated:
            self._parts.append(separator)
            self._length += len(separator)
            self._separated = True

    def _append(self, kind: ElementKind, text: str, level: int) -> int:
        both_items = kind is ElementKind.LIST_ITEM and self._last_kind is ElementKind.LIST_ITEM
        self._separate("\n" if both_items else "\n\n")
        if kind is ElementKind.HEADING:
            while self._headings and self._headings[-1][0] >= level:
                self._headings.pop()
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        self._separated = False
        self._last_kind = kind
        self._elements.append(
            Element(
                kind=kind,
                span=Span(start=start, end=self._length),
                headings=tuple(heading for _, heading in self._headings),
                level=level,
            )
        )
        if kind is ElementKind.HEADING:
            self._headings.append((level, clean_line(text)[:_MAX_HEADING]))
        return start


def faults(parsed: ParsedDocument) -> list[str]:
    """Return what is wrong with a parsed document, nothing when all promises about it hold.

    What a parser child sends is not believed: its ranges become citations.
    """
    text = parsed.text
    found = []
    if not unicodedata.is_normalized("NFC", text):
        found.append("the text is not NFC")
    if "\r" in text or "\x00" in text:
        found.append("the text holds carriage returns or NULs")
    return [
        *found,
        *_element_faults(parsed),
        *_line_faults(parsed),
        *_page_faults(parsed),
        *_word_faults(parsed),
        *_number_faults(parsed),
    ]


def _word_faults(parsed: ParsedDocument) -> Iterator[str]:
    """Tell what of the words beside the text no store would take, or is longer than any parser makes it."""
    headings = {heading for path in {element.headings for element in parsed.elements} for heading in path}
    for what, longest, words in (
        ("title", _MAX_TITLE, [parsed.title]),
        ("language", _MAX_LANGUAGE, [parsed.language]),
        ("media type", _MAX_MEDIA_TYPE, [parsed.media_type]),
        ("heading", _MAX_HEADING, headings),
        ("label of a page", _MAX_LABEL, [page.label for page in parsed.pages]),
        ("note", _MAX_NOTE, parsed.notes),
    ):
        if any(word is not None and (len(word) > longest or _UNSAYABLE.search(word)) for word in words):
            yield f"a {what} is too long, or holds what cannot be stored"
    if len(parsed.notes) > _MAX_NOTES:
        yield f"there are {len(parsed.notes):,} notes"


def _number_faults(parsed: ParsedDocument) -> Iterator[str]:
    numbers = [*(page.number for page in parsed.pages), *parsed.pages_lost]
    if not all(0 <= number <= _LAST_PAGE for number in numbers):
        yield "a page has a number that no page has"


def _element_faults(parsed: ParsedDocument) -> Iterator[str]:
    position = 0
    for element in parsed.elements:
        if not position <= element.span.start < element.span.end <= len(parsed.text):
            yield f"element at {element.span} overlaps or lies outside"
            return
        if parsed.text[position : element.span.start].strip():
            yield f"no element covers {position} to {element.span.start}"
            return
        position = element.span.end
    if parsed.text[position:].strip():
        yield "no element covers the end"


def _line_faults(parsed: ParsedDocument) -> Iterator[str]:
    position = 0
    for line in parsed.lines:
        if not position <= line.span.start < line.span.end <= len(parsed.text):
            yield f"line at {line.span} overlaps or lies outside"
            return
        if not (0 <= line.box.x0 <= line.box.x1 <= 1 and 0 <= line.box.y0 <= line.box.y1 <= 1):
            yield f"line at {line.span} stands outside its page"
            return
        position = line.span.end


def _page_faults(parsed: ParsedDocument) -> Iterator[str]:
    position = 0
    for page in parsed.pages:
        if page.span.start != position or page.span.end < position:
            yield f"page {page.number} does not follow the one before"
        position = page.span.end
    if parsed.pages and position != len(parsed.text):
        yield "the pages do not reach the end"
