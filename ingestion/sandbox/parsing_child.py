"""What the parsing fork server imports: every parser, each tried once so that all their late imports are done."""

import contextlib
import encodings
import importlib
import io
import pkgutil
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import docx
import openpyxl  # type: ignore[import-untyped]  # it ships no types
import pptx

from core.parsed import to_bytes
from ingestion.parsing.parse import parse
from ingestion.sniffing import sniff

_PROSE = "The quick brown fox jumps over the lazy dog, and nobody was ever surprised by what it had done there. " * 2


def run(task: dict[str, Any], data: bytes) -> bytes:
    """Return the parsed document as `core.parsed` writes it; raise ParseFailed."""
    media_type = sniff(data, str(task["name"]))
    return to_bytes(replace(parse(data, media_type), media_type=media_type.value))


def warm_up() -> None:
    """Parse one small document of every kind, and load every text codec: a child may not find them any more."""
    for codec in pkgutil.iter_modules(encodings.__path__):
        with contextlib.suppress(ImportError):
            importlib.import_module(f"encodings.{codec.name}")
    for name, data in _samples().items():
        run({"name": name}, data)


def _samples() -> dict[str, bytes]:
    word, slides, workbook, mail = docx.Document(), pptx.Presentation(), openpyxl.Workbook(), EmailMessage()
    word.add_heading("Title", 1)
    word.add_paragraph(_PROSE)
    word.add_table(2, 2).cell(0, 0).text = "cell"
    slide = slides.slides.add_slide(slides.slide_layouts[1])
    slide.shapes.title.text = _PROSE
    workbook.active.append(["name", 1.5])
    mail["Subject"], mail["From"] = "Title", "a@example.org"
    mail.set_content(_PROSE)
    saved = {}
    for name, document in (("a.docx", word), ("a.pptx", slides), ("a.xlsx", workbook)):
        document.save(buffer := io.BytesIO())
        saved[name] = buffer.getvalue()
    return saved | {
        "a.eml": bytes(mail),
        "a.html": f"<html><h1>Title</h1><p>{_PROSE}<ul><li>item</ul><table><tr><td>a<td>b</table></html>".encode(),
        "a.md": f"# Title\n\n{_PROSE}\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n".encode(),
        "a.csv": b"name,number\nx,1\n",
        "a.txt": f"{_PROSE}\nCaf\u00e9".encode("cp1252"),
        "a.pdf": _pdf(),
    }


def _pdf() -> bytes:
    """Return the smallest PDF with a line of text; PDFium repairs the missing table of its objects."""
    content = b"BT /F1 12 Tf 72 720 Td (Title) Tj ET"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>"
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        page,
        b"<</Length %d>>stream\n%b\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    body = b"".join(b"%d 0 obj%b endobj\n" % numbered for numbered in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R>>\n%%EOF"
