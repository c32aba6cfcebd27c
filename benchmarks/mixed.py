"""The whole way in for 500 mixed documents, beside the embedder alone over the same texts.

`python -m benchmarks.mixed [--peer]`: 404 files of formatzoo, northwind's 6 PDFs and 90 of SciFact's abstracts as text
files, taken into a throw-away data directory. The last line of stdout is the JSON object of `footnote bench ingest`.
Data sets are read from `$FOOTNOTE_SHARED/data` (default `../shared/data`).
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from core.settings import Settings
from footnote.bench.beir import load
from footnote.bench.ingest import bench_ingest
from retrieval.factory import build_embedder

DATA = Path(os.environ.get("FOOTNOTE_SHARED", "../shared")) / "data"
FILES = 500
ABSTRACTS = 90


def mixed_paths(folder: Path) -> list[Path]:
    """Return the files, 500 in all; those that have to be made are put into the folder."""
    pdfs = sorted((DATA / "northwind" / "pdfs").glob("*.pdf"))
    abstracts = []
    for row in load(DATA / "scifact_dev").rows[:ABSTRACTS]:
        path = folder / f"{row.id}.txt"
        path.write_text(f"{row.title}\n\n{row.text}\n", encoding="utf-8")
        abstracts.append(path)
    manifest = (DATA / "formatzoo" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    zoo = sorted(DATA / "formatzoo" / json.loads(line)["file"] for line in manifest)
    return [*zoo[: FILES - len(pdfs) - len(abstracts)], *pdfs, *abstracts]


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", action="store_true", help="and LlamaIndex's pipeline (`make peers`)")
    peer = parser.parse_args().peer
    if not DATA.is_dir():
        sys.exit(f"There are no data sets in {DATA}; name the folder above with FOOTNOTE_SHARED.")
    settings = Settings()
    with tempfile.TemporaryDirectory(prefix="footnote-mixed-") as name:
        report = bench_ingest(
            mixed_paths(Path(name)),
            settings=settings,
            tokenizer=build_embedder(settings).tokenizer,
            peer=peer,
            progress=_tell,
        )
    sys.stdout.write(f"{json.dumps(report.as_dict())}\n")


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
