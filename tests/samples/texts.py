"""Text of the sample documents, read by the plainest means there is: independent of Footnote's own parsers."""

import email
import email.policy
from html.parser import HTMLParser
from pathlib import Path

import docx
import openpyxl  # type: ignore[import-untyped]  # has no stubs
import pypdfium2  # type: ignore[import-untyped]  # has no stubs


def pages_of(path: Path) -> list[str]:
    """Return the text of each page or sheet; one text for formats that have neither."""
    return READERS[path.suffix](path)


def _pdf(path: Path) -> list[str]:
    with pypdfium2.PdfDocument(path) as document:
        return [document[number].get_textpage().get_text_range() for number in range(len(document))]


def _docx(path: Path) -> list[str]:
    document = docx.Document(str(path))
    cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    return ["\n".join([*(paragraph.text for paragraph in document.paragraphs), *cells])]


def _xlsx(path: Path) -> list[str]:
    book = openpyxl.load_workbook(path, read_only=True)
    texts = [
        "\n".join(" ".join(str(cell) for cell in row) for row in sheet.iter_rows(values_only=True))
        for sheet in book.worksheets
    ]
    book.close()
    return texts


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        del attrs

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def html_tags(path: Path) -> set[str]:
    """Return the names of all tags of a web page."""
    parser = _Text()
    parser.feed(path.read_text("utf-8"))
    return parser.tags


def _html(path: Path) -> list[str]:
    parser = _Text()
    parser.feed(path.read_text("utf-8"))
    return [" ".join(parser.parts)]


def _eml(path: Path) -> list[str]:
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    return [f"{message['subject']}\n{message.get_content()}"]


def _plain(path: Path) -> list[str]:
    return [path.read_text("utf-8")]


READERS = {
    ".pdf": _pdf,
    ".docx": _docx,
    ".xlsx": _xlsx,
    ".html": _html,
    ".eml": _eml,
    ".md": _plain,
    ".txt": _plain,
    ".csv": _plain,
}
