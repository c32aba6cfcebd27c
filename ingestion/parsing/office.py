"""Word documents, by `unstructured`."""

import io
import zipfile

import docx
from docx.document import Document
from lxml import etree  # type: ignore[import-untyped]  # it ships no types

from core.domain import ElementKind, ParsedDocument, Reason
from ingestion.parsing.canonical import TextBuilder
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.language import detect_language
from ingestion.parsing.ooxml import ordinary
from ingestion.parsing.partitioned import add_found
from ingestion.parsing.titles import sensible_title
from ingestion.parsing.unstructured_seam import partition_docx
from ingestion.parsing.word_markup import notes_of, unfold


def parse_docx(data: bytes) -> ParsedDocument:
    """Return the text of a Word document, headers and footers marked; raise `ParseFailed`: `corrupt` or `no_text`."""
    builder = TextBuilder()
    try:
        data = ordinary(data)
        document = docx.Document(io.BytesIO(data))
        add_found(builder, partition_docx(file=_unfolded(document, data), include_page_breaks=False, languages=[""]))
        for note in notes_of(document.part):
            builder.add(ElementKind.PARAGRAPH, note)
    except (KeyError, ValueError, zipfile.BadZipFile, etree.LxmlError) as error:
        raise ParseFailed(Reason.CORRUPT, f"the Word document is damaged: {type(error).__name__}: {error}") from error
    if builder.empty:
        raise ParseFailed(Reason.NO_TEXT, "the Word document holds no text")
    return builder.build(
        title=sensible_title(document.core_properties.title) or builder.title,
        language=detect_language(builder.sample),
    )


def _unfolded(document: Document, data: bytes) -> io.BytesIO:
    """Return the file to read: written anew only when something in it had to be unfolded."""
    if not unfold(document.element.body):
        return io.BytesIO(data)
    output = io.BytesIO()
    document.save(output)
    output.seek(0)
    return output
