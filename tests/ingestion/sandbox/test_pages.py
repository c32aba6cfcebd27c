import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from core.domain import Box
from core.errors import NotFound, Unavailable
from ingestion.sandbox import PageSandbox, ParserLimits
from ingestion.sandbox.client import ForkServerClient
from tests.ingestion.parsing.pdf_files import PdfPage, Text, page_of, pdf

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages() -> Iterator[PageSandbox]:
    sandbox = PageSandbox(ParserLimits())
    yield sandbox
    sandbox.close()


def test_a_page_is_drawn_with_its_boxes_marked_and_its_letters_still_black(pages: PageSandbox, tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(pdf(page_of("first"), PdfPage(texts=[Text(text="HHHHHHHH", x=100, y=500, size=40)])))
    marked = Box(page=2, x0=0.1, y0=0.3, x1=0.6, y1=0.4)
    elsewhere = Box(page=1, x0=0.0, y0=0.8, x1=1.0, y1=1.0)
    image = Image.open(io.BytesIO(pages.render(path, 2, [marked, elsewhere], dpi=72)))
    assert image.size == (612, 792)
    assert image.getpixel((550, 280)) == (255, 255, 255)
    assert image.getpixel((80, 280)) == (255, 232, 64)
    assert image.getpixel((300, 750)) == (255, 255, 255)
    inside = image.crop((100, 240, 300, 316))
    assert any(sum(color[:3]) < 60 for _, color in inside.getcolors(1 << 24) or () if isinstance(color, tuple))


def test_a_poster_is_drawn_smaller_rather_than_not_at_all(pages: PageSandbox, tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(pdf(PdfPage(texts=[Text(text="big")], media=(0, 0, 14_400, 14_400))))
    assert Image.open(io.BytesIO(pages.render(path, 1, [], dpi=72))).size < (14_400, 14_400)


def test_what_has_no_image_is_not_found(pages: PageSandbox, tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(pdf(page_of("first")))
    for page in (0, 2, 10**9):
        with pytest.raises(NotFound):
            pages.render(path, page, [])
    path.write_bytes(b"a slide, say")
    with pytest.raises(NotFound):
        pages.render(path, 1, [])


def test_a_request_that_finds_no_free_slot_is_told_to_come_back(tmp_path: Path) -> None:
    busy = ForkServerClient("no.such.module", ParserLimits(), processes=0, patience_seconds=0.01)
    with pytest.raises(Unavailable) as raised:
        busy.run(tmp_path / "a.pdf", {})
    assert raised.value.retry_after
