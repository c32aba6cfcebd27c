"""Pages per second of reading PDFs' lines with boxes, sizes and weights, beside PDFium's plain text alone."""

import ctypes
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from statistics import median

import pypdfium2  # type: ignore[import-untyped]  # it ships no types
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # it ships no types

from benchmarks.served import data_set
from ingestion.parsing.pdf_lines import read_page

ROUNDS = 25
LIMIT = 0.8


def main() -> None:
    """Print the rates as one JSON object: medians of rounds that take turns."""
    files = [path.read_bytes() for path in sorted((data_set("northwind") / "pdfs").glob("*.pdf"))]
    readers = {"plain": _plain, "plain_by_raw_calls": _plain_by_raw_calls, "lines": read_page}
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(ROUNDS):
        for name in sorted(readers, reverse=turn % 2 == 0):  # What follows what tells in the figures.
            rates[name].append(_rate(files, readers[name]))
    figures = {f"{name}_pages_per_second": round(median(measured)) for name, measured in rates.items()}
    shares = {
        f"of_{name}": round(median(rates["lines"]) / median(rates[name]), 3) for name in ("plain", "plain_by_raw_calls")
    }
    json.dump({"rounds": ROUNDS, **figures, **shares, "limit": LIMIT}, sys.stdout, indent=1)


def _rate(files: list[bytes], read: Callable[[pypdfium2.PdfDocument, int], object]) -> float:
    pages = 0
    started = time.perf_counter()
    for file in files:
        with closing(pypdfium2.PdfDocument(file)) as document:
            for number in range(1, len(document) + 1):
                read(document, number)
            pages += len(document)
    return pages / (time.perf_counter() - started)


def _plain(document: pypdfium2.PdfDocument, number: int) -> object:
    page = document[number - 1]
    text_page = page.get_textpage()
    text = text_page.get_text_range()
    text_page.close()
    page.close()
    return text


def _plain_by_raw_calls(document: pypdfium2.PdfDocument, number: int) -> object:
    """Return the same without pypdfium2's own objects, whose making and closing takes time too."""
    page = pdfium.FPDF_LoadPage(document, number - 1)
    text_page = pdfium.FPDFText_LoadPage(page)
    count = pdfium.FPDFText_CountChars(text_page)
    memory = (ctypes.c_ushort * (count + 1))()
    written = pdfium.FPDFText_GetText(text_page, 0, count, memory)
    text = bytes(memory)[: 2 * (written - 1)].decode("utf-16-le", errors="ignore")
    pdfium.FPDFText_ClosePage(text_page)
    pdfium.FPDF_ClosePage(page)
    return text


if __name__ == "__main__":
    main()
