"""All parsers behind one function. Importing this module imports them all: only the sandbox's server does."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from core.domain import ParsedDocument
from ingestion.parsing.delimited import parse_csv
from ingestion.parsing.mail import parse_mail
from ingestion.parsing.media_types import MediaType
from ingestion.parsing.office import parse_docx
from ingestion.parsing.pdf import parse_pdf
from ingestion.parsing.plain import parse_plain
from ingestion.parsing.sheets import parse_xlsx
from ingestion.parsing.slides import parse_pptx
from ingestion.parsing.web import parse_html, parse_markdown

_PARSERS: Mapping[MediaType, Callable[[bytes], ParsedDocument]] = MappingProxyType(
    {
        MediaType.PDF: parse_pdf,
        MediaType.DOCX: parse_docx,
        MediaType.PPTX: parse_pptx,
        MediaType.XLSX: parse_xlsx,
        MediaType.CSV: parse_csv,
        MediaType.HTML: parse_html,
        MediaType.MARKDOWN: parse_markdown,
        MediaType.TEXT: parse_plain,
        MediaType.EMAIL: parse_mail,
    }
)


def parse(data: bytes, media_type: MediaType) -> ParsedDocument:
    """Return the document that the bytes hold; raise `ParseFailed` with the reason when there is none.

    What a parser raises beyond that is a defect in it; the sandbox turns it into `parser_crashed`.
    """
    return _PARSERS[media_type](data)
