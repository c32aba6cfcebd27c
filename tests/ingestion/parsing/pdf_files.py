"""Small PDF files written by hand, so that a test sees every number that a box must agree with."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Text:
    """A line of text: its baseline's start in points from the bottom left of the media box."""

    text: str
    x: float = 72
    y: float = 700
    size: float = 12
    bold: bool = False


@dataclass(frozen=True, kw_only=True)
class PdfPage:
    texts: Sequence[Text] = ()
    media: tuple[float, float, float, float] = (0, 0, 612, 792)
    crop: tuple[float, float, float, float] | None = None
    rotate: int = 0


def pdf(*pages: PdfPage, title: str | None = None, encrypted: bool = False) -> bytes:
    """Return a PDF of these pages; PDFium repairs the missing table of objects."""
    objects: dict[int, bytes] = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        4: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold>>",
        5: b"<</Title(%b)>>" % (title or "").encode("latin-1"),
        6: b"<</Filter/Standard/V 1/R 2/P -4/O(%b)/U(%b)>>" % (b"o" * 32, b"u" * 32),
    }
    kids = []
    for number, page in enumerate(pages):
        page_number, content_number = 10 + 2 * number, 11 + 2 * number
        kids.append(b"%d 0 R" % page_number)
        crop = b"/CropBox[%b]" % _numbers(page.crop) if page.crop else b""
        objects[page_number] = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[%b]%b/Rotate %d/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>>>" % (_numbers(page.media), crop, page.rotate, content_number)
        )
        content = b"\n".join(_shown(text) for text in page.texts)
        objects[content_number] = b"<</Length %d>>stream\n%b\nendstream" % (len(content), content)
    objects[2] = b"<</Type/Pages/Kids[%b]/Count %d>>" % (b" ".join(kids), len(kids))
    body = b"".join(b"%d 0 obj%b endobj\n" % item for item in sorted(objects.items()))
    encrypt = b"/Encrypt 6 0 R/ID[(a)(a)]" if encrypted else b""
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R/Info 5 0 R%b>>\n%%%%EOF" % encrypt


def page_of(*lines: str) -> PdfPage:
    """Return a page of ordinary lines below each other."""
    return PdfPage(texts=[Text(text=line, y=700 - 15 * index) for index, line in enumerate(lines)])


def _numbers(box: Sequence[float]) -> bytes:
    return b" ".join(b"%g" % number for number in box)


def _shown(text: Text) -> bytes:
    escaped = text.text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
    return b"BT /F%d %g Tf 1 0 0 1 %g %g Tm (%b) Tj ET" % (2 if text.bold else 1, text.size, text.x, text.y, escaped)
