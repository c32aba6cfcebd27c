import json
from pathlib import Path

import pytest

from core.errors import InvalidInput
from footnote.bench.beir import Row, load


def _write(folder: Path) -> None:
    corpus = [{"_id": "d1", "title": "T", "text": "one"}, {"_id": "d2", "text": "two"}]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)) + "\n")
    queries = [{"_id": "q1", "text": "which"}, {"_id": "q2", "text": "unjudged"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\nq1\td1\t0\n")


def test_a_collection_holds_its_rows_and_the_judged_queries(tmp_path: Path) -> None:
    _write(tmp_path)

    collection = load(tmp_path)

    assert collection.rows == (Row(id="d1", title="T", text="one"), Row(id="d2", title="", text="two"))
    assert collection.queries == {"q1": "which"}
    assert collection.relevant == {"q1": {"d2": 1.0}}


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_folder_that_is_no_data_set_is_refused_with_what_is_needed(tmp_path: Path, missing: str) -> None:
    _write(tmp_path)
    (tmp_path / missing).unlink()

    with pytest.raises(InvalidInput, match=r"corpus\.jsonl, queries\.jsonl and qrels\.tsv"):
        load(tmp_path)
