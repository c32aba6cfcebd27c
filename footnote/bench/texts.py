"""Texts for the embedders of a benchmark: as long as passages are, and the same for everybody."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from core.errors import InvalidInput
from core.settings import Settings
from footnote.bench.beir import load
from footnote.walking import distinct, walk
from ingestion.parsing import ParseFailed
from ingestion.sandbox import ParserLimits, ParserSandbox
from retrieval.ports import Tokenizer

MOST_TOKENS = 254  # Two special tokens make it the 256 that the default model reads.


def texts_of_files(paths: Sequence[Path], settings: Settings) -> Iterator[str]:
    """Yield the text of every file under the paths that can be parsed."""
    sandbox = ParserSandbox(ParserLimits.from_settings(settings), processes=1)
    try:
        for file in distinct(file for path in paths for file in walk(path, "bench")):
            if file.refused is None:
                try:
                    yield sandbox.parse(file.path, file.name).document.text
                except ParseFailed:
                    continue
    finally:
        sandbox.close()


def texts_of_beir(folder: Path) -> Iterator[str]:
    """Yield title and text of every document of the corpus."""
    yield from (f"{row.title}\n{row.text}" for row in load(folder).rows)


def passages(texts: Iterable[str], tokenizer: Tokenizer, count: int) -> list[str]:
    """Return the first `count` pieces of the texts, each of at most `MOST_TOKENS` tokens and none of a few.

    :raises InvalidInput: there is no text.
    """
    found = list(islice((piece for text in texts for piece in _cut(text, tokenizer)), count))
    if not found:
        raise InvalidInput("There is no text to embed under these paths.")
    return found


def _cut(text: str, tokenizer: Tokenizer) -> Iterator[str]:
    offsets = tokenizer.offsets(text)
    for start in range(0, len(offsets), MOST_TOKENS):
        part = offsets[start : start + MOST_TOKENS]
        if not start or len(part) > MOST_TOKENS // 8:
            yield text[part[0][0] : part[-1][1]]
