from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from core.errors import ModelUnavailable
from retrieval.embedding.tokenizer import HuggingFaceTokenizer


def wordpiece() -> Tokenizer:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "naive", "plan", "##s", "the", "cafe"]
    tokenizer = Tokenizer(models.WordPiece({word: id_ for id_, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    return tokenizer


def test_a_model_s_truncation_and_padding_are_taken_off() -> None:
    assert HuggingFaceTokenizer(wordpiece()).count(["the plans " * 10, "the"]) == [30, 1]


def test_offsets_are_code_points_of_the_text_as_given() -> None:
    text = "naïve 🙂 the café plans"
    offsets = HuggingFaceTokenizer(wordpiece()).offsets(text)
    assert [text[start:end] for start, end in offsets] == ["naïve", "🙂", "the", "café", "plan", "s"]


def test_input_is_cut_to_the_limit_and_keeps_its_special_tokens() -> None:
    tokenizer = HuggingFaceTokenizer(wordpiece())
    [encoded] = tokenizer.encode(["the plans the plans"], max_tokens=5, spans=True)
    assert encoded.ids == [2, 7, 5, 6, 3]
    assert encoded.body == [1, 2, 3]
    assert encoded.spans == [(0, 3), (4, 8), (8, 9)]
    assert tokenizer.encode(["the"], max_tokens=5, spans=False)[0].spans == []
    assert tokenizer.pad_id == 0
    assert tokenizer.special_tokens == 2


def test_ids_alone_are_those_of_the_whole_encoding() -> None:
    tokenizer = HuggingFaceTokenizer(wordpiece())
    texts = ["", "the", "the plans the", "the plans the plans"]
    for limit in (3, 5, 6, 100):
        encoded = tokenizer.encode(texts, max_tokens=limit, spans=False)
        assert tokenizer.ids(texts, max_tokens=limit) == [one.ids for one in encoded]


def test_a_file_that_is_no_tokenizer_is_reported(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        HuggingFaceTokenizer.from_file(tmp_path / "tokenizer.json")
