import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.domain import Reason
from ingestion.parsing.failures import ParseFailed
from ingestion.sandbox import ParserLimits, ParserSandbox
from tests.ingestion.parsing.pdf_files import page_of, pdf

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ParserSandbox]:
    sandbox = ParserSandbox(ParserLimits())
    yield sandbox
    sandbox.close()


def test_a_document_comes_through_with_its_type(sandbox: ParserSandbox, tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(pdf(page_of("Some words on a page.")))
    result = sandbox.parse(path, "letter.txt")
    assert result.media_type == result.document.media_type == "application/pdf"
    assert result.document.text == "Some words on a page."
    assert len(result.document.lines) == 1
    assert 0 < result.peak_rss < 1_000_000_000


def test_failures_come_through_with_their_reason(sandbox: ParserSandbox, tmp_path: Path) -> None:
    for data, name, reason in (
        (b"", "a.txt", Reason.EMPTY),
        (b"\x89PNG\r\n\x1a\n\0\0", "a.png", Reason.UNSUPPORTED),
        (pdf(page_of()), "a.pdf", Reason.NO_TEXT),
    ):
        path = tmp_path / "stored"
        path.write_bytes(data)
        with pytest.raises(ParseFailed) as caught:
            sandbox.parse(path, name)
        assert caught.value.reason is reason


def test_many_documents_at_once(sandbox: ParserSandbox, tmp_path: Path) -> None:
    paths = []
    for number in range(24):
        paths.append(tmp_path / str(number))
        paths[-1].write_text(f"document number {number}")
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda path: sandbox.parse(path, "a.txt").document.text, paths))
    assert texts == [f"document number {number}" for number in range(24)]


def test_a_document_that_unfolds_without_end_has_a_reason(tmp_path: Path) -> None:
    sandbox = ParserSandbox(ParserLimits(output_bytes=10_000))
    path = tmp_path / "long"
    path.write_text("\n\n".join(f"paragraph {number * 7919}" for number in range(100_000)))
    with pytest.raises(ParseFailed) as caught:
        sandbox.parse(path, "long.txt")
    sandbox.close()
    assert caught.value.reason is Reason.OUTPUT_TOO_LARGE


def test_the_near_side_imports_no_parser() -> None:
    program = "import sys, ingestion.sandbox; print({'unstructured', 'docx', 'pypdfium2', 'PIL'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_active_layers_are_told(sandbox: ParserSandbox) -> None:
    assert {"resource-limits", "memory-watch"} <= set(sandbox.active_layers())
