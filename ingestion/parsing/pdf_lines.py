"""The printed lines of a PDF's page: text, place, height and weight, asked of PDFium with as few calls as can be.

A page has dozens of lines and whatever is done for each counts: a call into PDFium costs a quarter of a microsecond of
Python at best, as much as it does itself. What can be known from the text, once per page or once per font is not asked
for again.
"""

import ctypes
import struct
from collections.abc import Callable, Iterator
from math import floor, pi
from typing import Any

import pypdfium2  # type: ignore[import-untyped]  # it ships no types
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # it ships no types

from core.domain import Box
from ingestion.parsing.canonical import clean_line
from ingestion.parsing.layout import PageLines, PrintedLine

_DEVICE = 1_000_000  # Side of the imaginary screen on which lines are placed: fractions to six digits.
_FAR = 1_000.0  # Points between the corners that tell how a page is placed: so far that rounding does not show.
_BROKEN_WORD = "\ufffe"  # PDFium's mark for a hyphen that a line break put there; it leaves out the line end after it.
_BOLD_WEIGHT = 600
_FORCE_BOLD = 1 << 18  # Flag of a PDF font descriptor.
_ABOUT = 0.4  # Radians about a quarter turn.
_NAME_BYTES = 128
_CORNERS = [(ctypes.c_double(x), ctypes.c_double(y)) for x, y in ((0.0, 0.0), (_FAR, 0.0), (0.0, _FAR))]
_TwoIntegers = ctypes.c_int * 2
_FourDoubles = ctypes.c_double * 4
_FourFloats = ctypes.c_float * 4
_doubles = struct.Struct("4d").unpack_from  # Faster than the array's own reading.
_floats = struct.Struct("4f").unpack_from


def _quick(function: Callable[..., Any], result: type, *arguments: type) -> Callable[..., Any]:
    """Return a function of PDFium as one that keeps the interpreter's lock and takes what it is given unchecked.

    That saves a third of a call. It is for calls that end at once, with C's own numbers and memory by `byref`.
    """
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]  # it is a function of C
    return ctypes.PYFUNCTYPE(result, *arguments)(address or 0)


_page_to_device = _quick(pdfium.FPDF_PageToDevice, ctypes.c_int)
_count_rects = _quick(pdfium.FPDFText_CountRects, ctypes.c_int)
_get_rect = _quick(pdfium.FPDFText_GetRect, ctypes.c_int)
_get_cell = _quick(pdfium.FPDFText_GetLooseCharBox, ctypes.c_int)
_get_angle = _quick(pdfium.FPDFText_GetCharAngle, ctypes.c_float)
_get_text_object = _quick(pdfium.FPDFText_GetTextObject, ctypes.c_void_p)
_get_font = _quick(pdfium.FPDFTextObj_GetFont, ctypes.c_void_p, ctypes.c_void_p)


def read_page(document: pypdfium2.PdfDocument, number: int) -> PageLines:
    """Return the lines of the page; raise `pypdfium2.PdfiumError` where it cannot be read."""
    # Not by pypdfium2's own pages, which close themselves when forgotten: they add a twenty-fifth to reading one.
    page = pdfium.FPDF_LoadPage(document, number - 1)
    if not page:
        raise pypdfium2.PdfiumError(f"page {number} cannot be loaded")
    try:
        text_page = pdfium.FPDFText_LoadPage(page)
        if not text_page:
            raise pypdfium2.PdfiumError(f"the text of page {number} cannot be loaded")
        try:
            lines = tuple(_Reader(page, text_page, number).lines())
        finally:
            pdfium.FPDFText_ClosePage(text_page)
        width, height = pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page)
    finally:
        pdfium.FPDF_ClosePage(page)
    return PageLines(number=number, width=width, height=height, lines=lines)


class _Reader:
    """Asks one page; holds the memory that PDFium writes its answers to."""

    def __init__(self, page: object, text_page: object, number: int) -> None:
        self._handle = text_page
        self._number = number
        self._edges = _FourDoubles()  # Left, bottom, right, top; PDFium has them in another order.
        left, bottom, right, top = (ctypes.byref(self._edges, 8 * index) for index in range(4))
        self._edge_places = left, top, right, bottom
        self._cell = _FourFloats()
        self._cell_place = ctypes.byref(self._cell)
        self._bold_fonts: dict[int | None, bool] = {None: False}
        (x, y), right_of, above = (_displayed(page, *corner) for corner in _CORNERS)
        # By a quarter: what runs up the page is displayed across.
        self._turned = abs(right_of[0] - x) < abs(above[0] - x)
        self._across, self._down = x, y
        beside, below = (above, right_of) if self._turned else (right_of, above)
        self._step_across, self._step_down = (beside[0] - x) / _FAR, (below[1] - y) / _FAR

    def lines(self) -> Iterator[PrintedLine]:
        count = pdfium.FPDFText_CountChars(self._handle)
        if count < 1:
            return
        text = _text(self._handle, count)
        # Otherwise PDFium counts characters that have no text, and must be asked for each place.
        exact = len(text) == count
        for first, raw in _pieces(text):
            cleaned = clean_line(raw)
            if not cleaned:
                continue
            last = first + len(raw) - 1
            middle = (first + last) // 2
            if text[middle] <= " ":
                middle = _visible(text, middle, first, last)
            if not exact:
                index = pdfium.FPDFText_GetCharIndexFromTextIndex
                first, middle, last = (index(self._handle, place) for place in (first, middle, last))  # noqa: PLW2901
            if 0 <= first <= last:
                yield PrintedLine(cleaned, self._box(first, last), self._size(middle), self._is_bold(middle))

    def _box(self, first: int, last: int) -> Box:
        """Return where the characters stand on the page as displayed, cropped and rotated."""
        count = _count_rects(self._handle, first, last - first + 1)
        if not count or not _get_rect(self._handle, 0, *self._edge_places):
            return Box(page=self._number, x0=0.0, y0=0.0, x1=0.0, y1=0.0)
        left, bottom, right, top = _doubles(self._edges)
        for index in range(1, count):
            if _get_rect(self._handle, index, *self._edge_places):
                more = _doubles(self._edges)
                left, bottom = min(left, more[0]), min(bottom, more[1])
                right, top = max(right, more[2]), max(top, more[3])
        if self._turned:
            left, bottom, right, top = bottom, left, top, right
        x0, x1 = self._across + left * self._step_across, self._across + right * self._step_across
        y0, y1 = self._down + bottom * self._step_down, self._down + top * self._step_down
        if not (0 <= x0 <= _DEVICE and 0 <= y0 <= _DEVICE and 0 <= x1 <= _DEVICE and 0 <= y1 <= _DEVICE):
            x0, y0, x1, y1 = (min(_DEVICE, max(0, place)) for place in (x0, y0, x1, y1))  # Printed beyond the edge.
        if x0 > x1:
            x0, x1 = x1, x0
        if y0 > y1:
            y0, y1 = y1, y0
        return Box(
            page=self._number,
            x0=floor(x0 + 0.5) / _DEVICE,  # A third of what `round` costs.
            y0=floor(y0 + 0.5) / _DEVICE,
            x1=floor(x1 + 0.5) / _DEVICE,
            y1=floor(y1 + 0.5) / _DEVICE,
        )

    def _size(self, index: int) -> float:
        """Return the height of the character's cell in points; unlike the font size it knows the text's matrix."""
        if index < 0 or not _get_cell(self._handle, index, self._cell_place):
            return 0.0
        left, top, right, bottom = _floats(self._cell)
        angle = _get_angle(self._handle, index)
        if angle and abs(abs(angle) % pi - pi / 2) < _ABOUT:  # It runs up or down the page.
            return float(abs(right - left))
        return float(abs(top - bottom))

    def _is_bold(self, index: int) -> bool:
        font = _get_font(_get_text_object(self._handle, index)) if index >= 0 else None
        bold = self._bold_fonts.get(font)
        if bold is None:
            bold = self._bold_fonts[font] = self._has_bold_font(index)
        return bold

    def _has_bold_font(self, index: int) -> bool:
        if pdfium.FPDFText_GetFontWeight(self._handle, index) >= _BOLD_WEIGHT:
            return True
        name, flags = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_int()
        if not pdfium.FPDFText_GetFontInfo(self._handle, index, name, _NAME_BYTES, flags):
            return False
        lower = name.value.lower()
        return bool(flags.value & _FORCE_BOLD) or b"bold" in lower or b"black" in lower


def _text(text_page: object, count: int) -> str:
    memory = ctypes.create_string_buffer(2 * (count + 1))  # UTF-16, and a zero at the end.
    written = pdfium.FPDFText_GetText(text_page, 0, count, ctypes.cast(memory, ctypes.POINTER(ctypes.c_ushort)))
    return memory.raw[: 2 * max(0, written - 1)].decode("utf-16-le", errors="ignore")


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each line begins and what it says, without the spaces at its ends: they may stand anywhere."""
    broken = _BROKEN_WORD in text
    text = text.replace("\r", "\n")
    position = 0
    for piece in (text.replace(_BROKEN_WORD, _BROKEN_WORD + "\n") if broken else text).split("\n"):
        stripped = piece.strip()
        if stripped:
            first = position + piece.index(stripped)
            if broken and piece[-1] == _BROKEN_WORD:
                position -= 1
                stripped = stripped[:-1] + "-"
            yield first, stripped
        position += len(piece) + 1


def _visible(text: str, middle: int, first: int, last: int) -> int:
    """Return a character near the middle of the line that is no space: spaces are often in another font."""
    return next((index for index in range(middle + 1, min(middle + 20, last) + 1) if text[index] > " "), first)


def _displayed(page: object, x: ctypes.c_double, y: ctypes.c_double) -> tuple[int, int]:
    """Return where the point of the page's own space is displayed on the imaginary screen; outside it too."""
    place = _TwoIntegers()
    across, down = ctypes.byref(place), ctypes.byref(place, ctypes.sizeof(ctypes.c_int))
    if not _page_to_device(page, 0, 0, _DEVICE, _DEVICE, 0, x, y, across, down):
        return 0, 0
    return place[0], place[1]
