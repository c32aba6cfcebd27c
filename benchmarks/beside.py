"""What readers notice of a batch import on the same machine: p95 of search and of the first words, quiet and beside it.

Serves 600 documents of SciFact, asks for a while, then asks as many other questions while 3,000 more are taken in. The
last line of stdout is one JSON object; its ratios are of p95, the limit is 1.5.
"""

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from typing import Any

from benchmarks.served import Served, data_set, served
from benchmarks.speed import OWNER, first_delta, load_corpus, percentiles, search, totals
from core.blobs import DirectoryBlobs
from core.db.session import Database, sqlite_url
from core.domain import EVERYONE
from core.intake import Intake, UploadRequest
from footnote.bench.beir import Row, load


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__)
    parser.add_argument("--queries", type=int, default=180, help="per figure; each is asked once")
    parser.add_argument("--import", type=int, default=3_000, dest="imported", help="documents taken in meanwhile")
    parser.add_argument("--after-uploads", action="store_true", help="ask once all is uploaded")
    options = parser.parse_args()
    collection = load(data_set("scifact_dev"))
    texts = list(collection.queries.values())
    parts = [texts[start : start + options.queries] for start in range(0, 4 * options.queries, options.queries)]
    there, coming = collection.rows[:600], collection.rows[600 : 600 + options.imported]
    with served() as server:
        load_corpus(server, there)
        quiet = _asked(server, parts[0], parts[1])
        loading = threading.Thread(target=_take_in, args=(server, coming))
        loading.start()
        if options.after_uploads:
            loading.join()
        beside = _asked(server, parts[2], parts[3])
        open_ = {state: count for state, count in totals(server).items() if state in {"queued", "leased"}}
        loading.join()
    figures: dict[str, Any] = {
        "quiet_ms": quiet,
        "beside_ms": beside,
        "open_at_the_end": open_,  # None left would mean that the import was over before the questions were.
        "ratio_p95": {name: round(beside[name]["p95"] / quiet[name]["p95"], 2) for name in quiet},
    }
    sys.stdout.write(f"{json.dumps(figures)}\n")


def _asked(server: Served, searched: Sequence[str], asked: Sequence[str]) -> dict[str, dict[str, float]]:
    return {
        "search": percentiles(searched, lambda query: search(server, query)),
        "first_delta": percentiles(asked, lambda query: first_delta(server, query)),
    }


def _take_in(server: Served, rows: Sequence[Row]) -> None:
    database = Database(sqlite_url(server.data))
    intake = Intake(database=database, blobs=DirectoryBlobs(server.data / "blobs"), max_bytes=10**9)
    for row in rows:
        intake.upload(OWNER, UploadRequest(name=row.id, source="import", allow=[EVERYONE]), row.as_html())
    database.close()


if __name__ == "__main__":
    main()
