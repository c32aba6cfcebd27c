# noqa: INP001 - a script beside the files it makes, not a package
"""Make the office and PDF samples from the texts in `sources/`; the results are committed.

Run it after editing a source:

    python samples/build.py [CHROMIUM]

Needs python-docx, openpyxl and a Chromium that prints to PDF.
"""

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import docx
import openpyxl
from openpyxl.styles import Font

HERE = Path(__file__).parent
SOURCES = HERE / "sources"
DOCUMENTS = HERE / "documents"
WRITTEN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC).replace(tzinfo=None)  # Office properties carry no zone.
WORD_FILES = {"travel-policy.md": "handbook/travel-policy.docx", "leave-policy.md": "handbook/leave-policy.docx"}
PDF_FILES = {
    "fh-200-datasheet.html": "products/fh-200-datasheet.pdf",
    "board-minutes-2026-09.html": "board/board-minutes-2026-09.pdf",
}
WORKBOOKS = {"price-list-2026": "sales/price-list-2026.xlsx"}


def blocks(text: str) -> Iterator[list[str]]:
    """Yield the blocks of a Markdown text: runs of lines between empty ones."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip():
            block.append(line.strip())
        elif block:
            yield block
            block = []


def write_word(source: Path, target: Path) -> None:
    """Write a Word file from headings, paragraphs, bullet lists and tables."""
    document = docx.Document()
    for block in blocks(source.read_text("utf-8")):
        first = block[0]
        if first.startswith("#"):
            marks, _, heading = first.partition(" ")
            document.add_heading(heading, level=len(marks) - 1)
        elif first.startswith("- "):
            for line in block:
                document.add_paragraph(line.removeprefix("- "), style="List Bullet")
        elif first.startswith("|"):
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block if "---" not in line]
            table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Table Grid")
            for row, cells in zip(table.rows, rows, strict=True):
                for cell, value in zip(row.cells, cells, strict=True):
                    cell.text = value
        else:
            document.add_paragraph(" ".join(block))
    properties = document.core_properties
    properties.author, properties.title = "Fennhollow Instruments", title_of(source)
    properties.comments, properties.created, properties.modified = "", WRITTEN, WRITTEN
    document.save(str(target))


def title_of(source: Path) -> str:
    """Return the text of the first heading."""
    return next(blocks(source.read_text("utf-8")))[0].lstrip("# ")


def write_workbook(source: Path, target: Path) -> None:
    """Write a workbook with one sheet per CSV file; numbers become numbers."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for path in sorted(source.glob("*.csv")):
        sheet = book.create_sheet(path.stem.partition(" ")[2])
        with path.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.reader(lines)):
                sheet.append(row if number == 0 else [float(cell) if is_number(cell) else cell for cell in row])
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        for column in sheet.columns:
            sheet.column_dimensions[column[0].column_letter].width = 4 + max(len(str(cell.value)) for cell in column)
    book.properties.creator, book.properties.created = "Fennhollow Instruments", WRITTEN
    book.save(target)


def is_number(cell: str) -> bool:
    """Tell whether a cell of the CSV file holds a plain number."""
    return cell.replace(".", "", 1).isdigit()


def write_pdf(source: Path, target: Path, chromium: str) -> None:
    """Print a page to PDF: a real text layer, tables with lines."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(  # noqa: S603 - the program is the caller's argument, the files are ours
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                f"--user-data-dir={profile}",
                "--no-pdf-header-footer",
                f"--print-to-pdf={target}",
                source.as_uri(),
            ],
            check=True,
            capture_output=True,
        )


def main() -> None:
    """Write every generated sample."""
    chromium = sys.argv[1] if len(sys.argv) > 1 else "chromium"
    for name, target in WORD_FILES.items():
        write_word(SOURCES / name, DOCUMENTS / target)
    for name, target in WORKBOOKS.items():
        write_workbook(SOURCES / name, DOCUMENTS / target)
    for name, target in PDF_FILES.items():
        write_pdf((SOURCES / name).resolve(), (DOCUMENTS / target).resolve(), chromium)


if __name__ == "__main__":
    main()
