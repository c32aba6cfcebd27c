"""Reads a retrieval data set in BEIR's form: corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv)."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One document of the corpus."""

    id: str
    title: str
    text: str

    def as_html(self) -> bytes:
        """Return the row as a page: the plainest file that has a title beside its text."""
        title, text = escape(self.title), escape(self.text)
        return f"<html><head><title>{title}</title></head><body><p>{text}</p></body></html>".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A corpus, its judged queries (id -> text), and for each query the gain of each relevant document."""

    rows: tuple[Row, ...]
    queries: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, float]]


def load(folder: Path) -> Collection:
    """Return the collection; queries without a judgement are left out.

    :raises InvalidInput: a file is missing or not in BEIR's form.
    """
    try:
        relevant = _judgements(
            next(path for path in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if path.exists())
        )
        rows = tuple(
            Row(id=str(row["_id"]), title=row.get("title") or "", text=row["text"])
            for row in _lines(folder / "corpus.jsonl")
        )
        queries = {
            str(row["_id"]): row["text"] for row in _lines(folder / "queries.jsonl") if str(row["_id"]) in relevant
        }
    except (OSError, StopIteration, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{folder} is no BEIR data set: it needs corpus.jsonl, queries.jsonl and qrels.tsv ({error!r})."
        ) from error
    return Collection(rows=rows, queries=queries, relevant=relevant)


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


def _judgements(path: Path) -> dict[str, dict[str, float]]:
    relevant: dict[str, dict[str, float]] = defaultdict(dict)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if float(row["score"]) > 0:
                relevant[row["query-id"]][row["corpus-id"]] = float(row["score"])
    return dict(relevant)
