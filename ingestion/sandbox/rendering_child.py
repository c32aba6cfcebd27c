"""What the drawing fork server imports: PDFium and Pillow, nothing else, so that a serving process can afford it."""

import io
from contextlib import closing
from typing import Any

import pypdfium2  # type: ignore[import-untyped]  # it ships no types
from PIL import Image, ImageChops, ImageDraw

from core.domain import Reason
from ingestion.parsing.failures import ParseFailed

_MARK = (255, 232, 64)  # Multiplied with the page, like a highlighter: black letters stay black.
_PADDING = 0.0015  # Of the page's longer side; letters reach a little beyond their line box.
_MOST_PIXELS = 25_000_000
_PDF_WINDOW = 1024


def warm_up() -> None:
    """Load Pillow's writers."""
    Image.preinit()
    Image.new("RGB", (1, 1)).save(io.BytesIO(), "PNG")


def run(task: dict[str, Any], data: bytes) -> bytes:
    """Return a PNG of the page `task["page"]` with `task["boxes"]` (x0, y0, x1, y1 as fractions) marked.

    Raises ParseFailed: `unsupported` when the file is no PDF, `not_a_file` when it has no such page, `corrupt`.
    """
    if b"%PDF-" not in data[:_PDF_WINDOW]:
        raise ParseFailed(Reason.UNSUPPORTED, "only pages of PDF files have an image")
    number = int(task["page"])
    try:
        with closing(pypdfium2.PdfDocument(data)) as document:
            if not 1 <= number <= len(document):
                raise ParseFailed(Reason.NOT_A_FILE, f"the file has {len(document)} pages")
            with closing(document[number - 1]) as page:
                image = _drawn(page, int(task["dpi"]))
    except pypdfium2.PdfiumError as error:
        raise ParseFailed(Reason.CORRUPT, "the page cannot be read", page=number) from error
    _mark(image, task["boxes"])
    output = io.BytesIO()
    image.save(output, "PNG", compress_level=3)
    return output.getvalue()


def _drawn(page: pypdfium2.PdfPage, dpi: int) -> Image.Image:
    width, height = page.get_size()
    scale = dpi / 72
    pixels = width * height * scale * scale
    if pixels > _MOST_PIXELS:  # A poster: smaller, rather than not at all.
        scale *= (_MOST_PIXELS / pixels) ** 0.5
    drawn: Image.Image = page.render(scale=scale, draw_annots=True).to_pil()
    return drawn.convert("RGB")


def _mark(image: Image.Image, boxes: list[tuple[float, float, float, float]]) -> None:
    if not boxes:
        return
    padding = _PADDING * max(image.size)
    layer = Image.new("RGB", image.size, (255, 255, 255))
    brush = ImageDraw.Draw(layer)
    for x0, y0, x1, y1 in boxes:
        brush.rectangle(
            (
                x0 * image.width - padding,
                y0 * image.height - padding,
                x1 * image.width + padding,
                y1 * image.height + padding,
            ),
            fill=_MARK,
        )
    image.paste(ImageChops.multiply(image, layer))
