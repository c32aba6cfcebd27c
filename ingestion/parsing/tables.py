"""Tables as text: a row is a line, cells are parted by ` | `, and a long table repeats its header row."""

from collections.abc import Iterable, Iterator, Sequence

from ingestion.parsing.canonical import clean_line

_SEPARATOR = " | "
_BLOCK_CHARS = 700  # About what one chunk holds: a passage from the middle of a table still names its columns.
_MAX_HEADER_CHARS = 250  # A wider header repeated in every block would drown the rows.


def linearise(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the table in blocks of whole rows, each block headed by the first row when that row names the columns.

    Cells are texts; empty cells between filled ones stay as empty places, empty ones at a row's end and empty rows go.
    """
    header: str | None = None
    block: list[str] = []
    size = 0
    first = True
    for cells in rows:
        row = row_text(cells)
        if not row:
            continue
        if first:
            first = False
            if names_columns(cells) and len(row) <= _MAX_HEADER_CHARS:
                header = row
        if block and size + len(row) > _BLOCK_CHARS and len(block) > 1:
            yield "\n".join(block)
            block = [header] if header else []
            size = len(header) if header else 0
        block.append(row)
        size += len(row) + 1
    if block:
        yield "\n".join(block)


def row_text(cells: Sequence[str]) -> str:
    """Return one row as one line."""
    texts = [clean_line(cell) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return _SEPARATOR.join(texts).strip() if texts else ""


def names_columns(cells: Sequence[str]) -> bool:
    """Tell whether a first row reads like column names: two or more short, distinct texts that are no numbers."""
    texts = [text for cell in cells if (text := clean_line(cell))]
    return len(texts) > 1 and len(set(texts)) == len(texts) and not any(_numeric(text) for text in texts)


def _numeric(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return digits > 0 and not any(character.isalpha() for character in text)
