"""Real PDFs: seconds to searchable, the cited page in search, citations as evidence, and what is refused."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.served import Served, data_set, served
from footnote.uploading import Access, follow, upload
from footnote.walking import walk

PAIRS = 5  # Distinct (document, page) pairs among which the cited page must be.

Page = tuple[str, int]


def main() -> None:
    """Print the figures as one JSON object."""
    folder = data_set("northwind")
    pages = {row["_id"]: row["text"] for row in _lines(folder / "corpus.jsonl")}
    questions = list(_lines(folder / "queries.jsonl"))
    with served() as server:
        started = time.monotonic()
        files = list(walk(folder / "pdfs", "northwind"))
        statuses = upload(server.client, files, Access(allow=["*"]), advanced=lambda _: None)
        statuses = follow(server.client, statuses, advanced=lambda _: None)
        figures: dict[str, Any] = {
            "searchable_seconds": round(time.monotonic() - started, 1),
            "states": dict(Counter(status["state"] for status in statuses)),
            "pages": sum(status["pages"] for status in statuses),
            "passages": sum(status["chunks"] for status in statuses),
        }
        figures |= _search(server, questions) | _ask(server, questions, pages)
        unanswerable = [_answer(server, row["text"]) for row in _lines(folder / "unanswerable.jsonl")]
        figures["unanswerable_refused"] = sum(answer["abstained"] for answer in unanswerable)
        figures["unanswerable"] = len(unanswerable)
    json.dump(figures, sys.stdout, indent=1)


def _search(server: Served, questions: list[dict[str, Any]]) -> dict[str, Any]:
    found: Counter[int] = Counter()
    for question in questions:
        body = {"query": question["text"], "limit": 30}
        hits = server.client.call("POST", "/v1/search", json=body)["hits"]
        ranked = list(dict.fromkeys((hit["name"], hit["page"]) for hit in hits))
        right = _right_pages(question)
        for depth in (1, 3, PAIRS, 10):
            found[depth] += any(page in right for page in ranked[:depth])
    return {f"page_among_first_{depth}": round(found[depth] / len(questions), 4) for depth in sorted(found)}


def _ask(server: Served, questions: list[dict[str, Any]], pages: dict[str, str]) -> dict[str, Any]:
    first_right = refused = quotes = equal = on_page = 0
    for question in questions:
        answer = _answer(server, question["text"])
        refused += answer["abstained"]
        citations = answer["citations"]
        if citations:
            first_right += (citations[0]["name"], citations[0]["page"]) in _right_pages(question)
        for citation in citations:
            quotes += 1
            start, end = citation["span"]
            path = f"/v1/documents/{citation['document']}/text"
            parameters = {"version": citation["version"], "start": start, "end": end}
            equal += server.client.call("GET", path, params=parameters)["text"] == citation["quote"]
            on_page += _squeezed(citation["quote"]) in _page_text(pages, citation["name"], citation["page"])
    return {
        "questions": len(questions),
        "first_citation_right": round(first_right / len(questions), 4),
        "answerable_refused": refused,
        "quotes": quotes,
        "quotes_equal_text_route": round(equal / quotes, 4),
        "quotes_on_page_of_other_extractor": round(on_page / quotes, 4),
    }


def _answer(server: Served, question: str) -> dict[str, Any]:
    answer: dict[str, Any] = server.client.call("POST", "/v1/chat", json={"question": question})
    return answer


def _right_pages(question: dict[str, Any]) -> set[Page]:
    """Return the cited pages and those after them: a passage may end on the next page."""
    right = set()
    for citation in question["metadata"]["citations"]:
        name, _, page = citation.partition("#page=")
        right |= {(name, int(page)), (name, int(page) + 1)}
    return right


def _page_text(pages: dict[str, str], name: str, page: int) -> str:
    """Return the page's text, white space aside; a quote may run on to the next page."""
    return _squeezed(pages.get(f"{name}#page={page}", "") + pages.get(f"{name}#page={page + 1}", ""))


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


if __name__ == "__main__":
    main()
