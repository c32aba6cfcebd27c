"""A parse result survives being stored, and forged bytes are refused."""

from dataclasses import replace

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from core import parsed
from core.domain import Box, Element, ElementKind, Line, Page, ParsedDocument, Span
from core.parsed import UnreadableParse, from_bytes, lines_from_bytes, text_from_bytes, to_bytes

fractions = st.integers(0, 100_000).map(lambda number: number / 100_000)
words = st.text(max_size=12)


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    text = draw(st.text(max_size=200))
    cuts = st.integers(0, len(text))
    spans = st.tuples(cuts, cuts).map(lambda pair: Span(start=min(pair), end=max(pair)))
    boxes = st.builds(Box, page=st.integers(1, 3_000), x0=fractions, y0=fractions, x1=fractions, y1=fractions)
    points = st.floats(0, 1e5, allow_nan=False)
    return ParsedDocument(
        text=text,
        title=draw(st.none() | words),
        language=draw(st.none() | words),
        elements=draw(
            st.lists(
                st.builds(
                    Element,
                    kind=st.sampled_from(ElementKind),
                    span=spans,
                    headings=st.lists(words, max_size=3).map(tuple),
                    level=st.integers(0, 9),
                ),
                max_size=8,
            ).map(tuple)
        ),
        pages=draw(
            st.lists(
                st.builds(
                    Page,
                    number=st.integers(1, 3_000),
                    span=spans,
                    width=points,
                    height=points,
                    label=st.none() | words,
                ),
                max_size=8,
            ).map(tuple)
        ),
        lines=draw(st.lists(st.builds(Line, span=spans, box=boxes), max_size=8).map(tuple)),
        pages_lost=draw(st.lists(st.integers(1, 3_000), max_size=3).map(tuple)),
        notes=draw(st.lists(words, max_size=3).map(tuple)),
    )


@given(documents())
def test_what_was_stored_comes_back(document: ParsedDocument) -> None:
    data = to_bytes(document)
    assert from_bytes(data) == document
    assert text_from_bytes(data) == document.text
    assert to_bytes(document) == data


@given(documents(), st.integers(0, 200), st.integers(0, 200))
def test_the_lines_of_a_span_are_those_that_share_a_character_with_it(
    document: ParsedDocument, start: int, length: int
) -> None:
    span = Span(start=start, end=start + length)
    expected = tuple(line for line in document.lines if line.span.start < span.end and line.span.end > span.start)
    assert lines_from_bytes(to_bytes(document), span) == expected


@given(st.floats(0, 1), st.floats(0, 1))
def test_boxes_keep_a_hundred_thousandth_of_the_page(low: float, high: float) -> None:
    box = Box(page=1, x0=low, y0=low, x1=high, y1=high)
    document = ParsedDocument(
        text="a", title=None, language=None, elements=(), lines=(Line(span=Span(start=0, end=1), box=box),)
    )
    kept = from_bytes(to_bytes(document)).lines[0].box
    assert abs(kept.x0 - low) <= 0.5e-5 + 1e-12
    assert abs(kept.y1 - high) <= 0.5e-5 + 1e-12


@pytest.mark.slow
@given(documents(), st.integers(1, 9))
def test_a_text_that_is_written_in_slices_comes_back_whole(document: ParsedDocument, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsed, "_SLICE_CHARS", size)
        data = to_bytes(document)
        assert to_bytes(document) == data
    assert from_bytes(data) == document


def _large(pages: int, lines: int) -> ParsedDocument:
    line = "The quick brown fox jumps over the lazy dog, and page {:4} line {:2} says so in few words.\n"
    texts = [line.format(page, number) for page in range(pages) for number in range(lines)]
    width = len(texts[0])
    boxes = [
        Box(page=n // lines + 1, x0=0.117646, y0=(n % lines) / 60, x1=0.7 + n % 97 / 400, y1=(n % lines) / 60 + 0.0131)
        for n in range(len(texts))
    ]
    spans = [Span(start=n * width, end=(n + 1) * width - 1) for n in range(len(texts))]
    return ParsedDocument(
        text="".join(texts),
        title="Large",
        language="en",
        elements=tuple(Element(kind=ElementKind.PARAGRAPH, span=span) for span in spans[::5]),
        lines=tuple(Line(span=span, box=box) for span, box in zip(spans, boxes, strict=True)),
    )


def test_the_lines_of_a_long_document_stay_small() -> None:
    document = _large(pages=200, lines=50)
    assert len(to_bytes(document)) < 10 * len(document.lines) + len(document.text.encode()) // 4


@pytest.mark.parametrize(
    "data",
    [b"", b"FNP1", b"FNP0" + to_bytes(_large(1, 1))[4:], to_bytes(_large(1, 1))[:-3], b"FNP1garbage"],
    ids=["nothing", "magic alone", "other version", "cut off", "garbage"],
)
def test_what_is_not_a_parse_result_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableParse):
        from_bytes(data)


def test_a_parse_result_that_unfolds_beyond_the_limit_is_refused_before_it_unfolds() -> None:
    bomb = parsed.MAGIC + zstandard.ZstdCompressor().compress(b" " * 50_000_000)
    with pytest.raises(UnreadableParse, match="unfolds"):
        from_bytes(bomb, max_bytes=1_000_000)


json = st.recursive(
    st.none() | st.integers(-10, 10) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=6,
)


@given(st.sampled_from(["text", "headings", "elements", "pages", "lines", "pages_lost", "notes", "title"]), json)
@settings(max_examples=200)
def test_a_forged_part_is_refused_or_harmless(part: str, value: object) -> None:
    packed = orjson.loads(zstandard.ZstdDecompressor().decompress(to_bytes(_large(1, 3))[4:]))
    forged = parsed.MAGIC + zstandard.ZstdCompressor().compress(orjson.dumps(packed | {part: value}))
    try:
        document = from_bytes(forged)
    except UnreadableParse:
        return
    assert all(0 <= line.span.start <= line.span.end <= len(document.text) for line in document.lines)


def test_a_span_outside_the_text_is_refused() -> None:
    packed = orjson.loads(zstandard.ZstdDecompressor().decompress(to_bytes(_large(1, 3))[4:]))
    packed["lines"]["length"][-1] = 10_000
    forged = parsed.MAGIC + zstandard.ZstdCompressor().compress(orjson.dumps(packed))
    with pytest.raises(UnreadableParse):
        from_bytes(forged)


@pytest.mark.parametrize(
    ("part", "column"), [("elements", "level"), ("elements", "length"), ("pages", "number"), ("pages", "label")]
)
def test_what_is_neither_number_nor_word_is_refused(part: str, column: str) -> None:
    large = _large(1, 3)
    document = replace(large, pages=(Page(number=1, span=Span(start=0, end=len(large.text))),))
    packed = orjson.loads(zstandard.ZstdDecompressor().decompress(to_bytes(document)[4:]))
    packed[part][column][-1] = 0.5
    forged = parsed.MAGIC + zstandard.ZstdCompressor().compress(orjson.dumps(packed))
    with pytest.raises(UnreadableParse):
        from_bytes(forged)
