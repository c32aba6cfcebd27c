from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.settings import Settings
from footnote.bench.texts import MOST_TOKENS, passages, texts_of_beir, texts_of_files
from retrieval.embedding.hashing import HashingEmbedder
from tests.footnote.bench.test_retrieval import TOPICS, write_collection

TOKENIZER = HashingEmbedder(8).tokenizer


def test_no_passage_is_longer_than_the_model_reads_and_none_is_a_rest() -> None:
    text = " ".join(f"word{number}" for number in range(3 * MOST_TOKENS + 5))
    found = passages([text, "short"], TOKENIZER, 100)
    assert TOKENIZER.count(found) == [MOST_TOKENS] * 3 + [1]
    assert text.startswith(found[0])


def test_no_more_are_taken_than_asked_for() -> None:
    assert passages(("one text", "and another"), TOKENIZER, 1) == ["one text"]


def test_without_text_there_is_nothing_to_measure() -> None:
    with pytest.raises(InvalidInput, match="no text"):
        passages(["", "  "], TOKENIZER, 5)


def test_a_corpus_gives_titles_and_texts(tmp_path: Path) -> None:
    found = list(texts_of_beir(write_collection(tmp_path / "beir")))
    assert len(found) == len(TOPICS)
    assert found[0].startswith("flamingos\nAll about flamingos")


@pytest.mark.slow
def test_files_give_what_the_parser_finds_and_bad_ones_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Leave\n\nTwenty days.")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7 broken")
    assert list(texts_of_files([tmp_path], Settings())) == ["Leave\n\nTwenty days."]
