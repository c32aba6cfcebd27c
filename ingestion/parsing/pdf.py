"""PDF -> text with the place of every line, page by page, by PDFium."""

from contextlib import closing
from typing import cast

import pypdfium2  # type: ignore[import-untyped]  # it ships no types
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # it ships no types

from core.domain import ParsedDocument, Reason
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.language import detect_language
from ingestion.parsing.layout import PageLines, arrange
from ingestion.parsing.pdf_lines import read_page
from ingestion.parsing.progress import tell
from ingestion.parsing.titles import sensible_title


def parse_pdf(data: bytes) -> ParsedDocument:
    """Return text, lines and structure of a PDF; raise `ParseFailed`: `encrypted`, `corrupt` or `no_text`."""
    with closing(_open(data)) as document:
        pages: list[PageLines] = []
        lost: list[int] = []
        for number in range(1, len(document) + 1):
            try:
                pages.append(read_page(document, number))
            except pypdfium2.PdfiumError:
                lost.append(number)
                pages.append(PageLines(number=number, width=0.0, height=0.0, lines=()))
            tell(number, len(document))
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
