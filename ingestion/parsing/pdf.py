"""PDF -> text with the place of every line, page by page, by PDFium."""

import ctypes
import re
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pypdfium2  # type: ignore[import-untyped]  # it ships no types
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # it ships no types

from core.domain import Box, ParsedDocument, Reason
from ingestion.parsing.canonical import clean_line
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.language import detect_language
from ingestion.parsing.layout import PageLines, PrintedLine, arrange
from ingestion.parsing.titles import sensible_title

_DEVICE = 1_000_000  # Side of the imaginary screen on which lines are placed: fractions to six digits.
_LINE_ENDS = re.compile("(?<=\ufffe)(?![\r\n])|[\r\n]+")  # PDFium leaves out the line end after a broken word.
_BOLD_WEIGHT = 600
_FORCE_BOLD = 1 << 18  # Flag of a PDF font descriptor.
_BROKEN_WORD = "\ufffe"  # PDFium's mark for a hyphen that a line break put there.


def parse_pdf(data: bytes) -> ParsedDocument:
    """Return text, lines and structure of a PDF; raise `ParseFailed`: `encrypted`, `corrupt` or `no_text`."""
    with closing(_open(data)) as document:
        pages: list[PageLines] = []
        lost: list[int] = []
        for number in range(1, len(document) + 1):
            try:
                pages.append(_read_page(document, number))
            except pypdfium2.PdfiumError:
                lost.append(number)
                pages.append(PageLines(number=number, width=0.0, height=0.0, lines=()))
        if not pages:
            raise ParseFailed(Reason.CORRUPT, "the PDF has no pages")
        if len(lost) == len(pages):
            raise ParseFailed(Reason.CORRUPT, "no page of the PDF could be read", page=1)
        if not any(page.lines for page in pages):
            raise ParseFailed(Reason.NO_TEXT, f"none of the {len(pages)} pages has a text layer")
        builder = arrange(pages)
        return builder.build(
            title=sensible_title(_metadata_title(document)) or builder.title,
            language=detect_language(builder.sample),
            pages_lost=lost,
        )


def _open(data: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == pdfium.FPDF_ERR_PASSWORD:
            raise ParseFailed(Reason.ENCRYPTED, "the PDF needs a password") from error
        if getattr(error, "err_code", None) == pdfium.FPDF_ERR_SECURITY:
            raise ParseFailed(Reason.ENCRYPTED, "the PDF uses a security scheme that is not supported") from error
        raise ParseFailed(Reason.CORRUPT, f"PDFium cannot open it: {error}") from error


def _metadata_title(document: pypdfium2.PdfDocument) -> str | None:
    return cast("str | None", document.get_metadata_dict(skip_empty=True).get("Title"))


def _read_page(document: pypdfium2.PdfDocument, number: int) -> PageLines:
    with closing(document[number - 1]) as page:
        width, height = page.get_size()
        with closing(page.get_textpage()) as text_page:
            lines = tuple(_lines(page, text_page, number))
    return PageLines(number=number, width=width, height=height, lines=lines)


def _lines(page: pypdfium2.PdfPage, text_page: pypdfium2.PdfTextPage, number: int) -> Iterator[PrintedLine]:
    count = text_page.count_chars()
    if count < 1:
        return
    text = text_page.get_text_range()
    exact = (
        len(text) == count
    )  # Otherwise PDFium counts characters that have no text, and must be asked for each place.
    position = 0
    for end in [*_LINE_ENDS.finditer(text), None]:
        stop = end.start() if end else len(text)
        raw = text[position:stop]
        cleaned = clean_line(raw.replace(_BROKEN_WORD, "-"))
        if cleaned:
            first = position + len(raw) - len(raw.lstrip())  # Spaces at the ends may stand anywhere on the page.
            last = position + len(raw.rstrip()) - 1
            if not exact:
                first, last = (pdfium.FPDFText_GetCharIndexFromTextIndex(text_page, index) for index in (first, last))
            if 0 <= first <= last:
                yield _line(page, text_page, number, cleaned, first, last)
        position = end.end() if end else stop


def _line(
    page: pypdfium2.PdfPage, text_page: pypdfium2.PdfTextPage, number: int, text: str, first: int, last: int
) -> PrintedLine:
    middle = _visible(text_page, first, last)
    return PrintedLine(
        text=text,
        box=_box(page, text_page, number, first, last),
        size=_font_size(text_page, middle),
        bold=_is_bold(text_page, middle),
    )


def _visible(text_page: pypdfium2.PdfTextPage, first: int, last: int) -> int:
    """Return a character from the middle of the line that is no space: spaces are often in another font."""
    middle = (first + last) // 2
    for index in range(middle, min(middle + 20, last) + 1):
        if pdfium.FPDFText_GetUnicode(text_page, index) > ord(" "):
            return index
    return first


def _box(page: pypdfium2.PdfPage, text_page: pypdfium2.PdfTextPage, number: int, first: int, last: int) -> Box:
    """Return where the characters stand on the page as displayed, cropped and rotated."""
    left, top, right, bottom = (ctypes.c_double() for _ in range(4))
    xs: list[int] = []
    ys: list[int] = []
    x, y = ctypes.c_int(), ctypes.c_int()
    for index in range(pdfium.FPDFText_CountRects(text_page, first, last - first + 1)):
        if not pdfium.FPDFText_GetRect(text_page, index, left, top, right, bottom):
            continue
        for corner_x, corner_y in ((left, top), (right, bottom)):
            if pdfium.FPDF_PageToDevice(page, 0, 0, _DEVICE, _DEVICE, 0, corner_x, corner_y, x, y):
                xs.append(x.value)
                ys.append(y.value)
    if not xs:
        return Box(page=number, x0=0.0, y0=0.0, x1=0.0, y1=0.0)
    return Box(page=number, x0=_fraction(min(xs)), y0=_fraction(min(ys)), x1=_fraction(max(xs)), y1=_fraction(max(ys)))


def _fraction(position: int) -> float:
    return min(1.0, max(0.0, position / _DEVICE))


def _font_size(text_page: pypdfium2.PdfTextPage, index: int) -> float:
    """Return the height of the character's cell in points; unlike the font size it knows the text's matrix."""
    cell = pdfium.FS_RECTF()
    if not pdfium.FPDFText_GetLooseCharBox(text_page, index, cell):
        return 0.0
    angle = pdfium.FPDFText_GetCharAngle(text_page, index)
    upright = abs(abs(angle) % 3.1416 - 1.5708) > 0.4  # noqa: PLR2004 - radians; neither a quarter turn nor three
    return float(abs(cell.top - cell.bottom) if upright else abs(cell.right - cell.left))


def _is_bold(text_page: pypdfium2.PdfTextPage, index: int) -> bool:
    if pdfium.FPDFText_GetFontWeight(text_page, index) >= _BOLD_WEIGHT:
        return True
    flags = ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    if not pdfium.FPDFText_GetFontInfo(text_page, index, name, len(name), flags):
        return False
    return bool(flags.value & _FORCE_BOLD) or b"bold" in name.value.lower() or b"black" in name.value.lower()
