import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.wording import content_words, ends_sentence, negates, number, numbers, sentence_pieces, squeezed, words


def test_words_keep_numbers_and_contractions_whole() -> None:
    assert words("It isn't 1,500.00 EUR.") == ["it", "isn't", "1,500.00", "eur"]


def test_scripts_without_spaces_give_one_word_per_character() -> None:
    assert words("你好 world") == ["你", "好", "world"]


def test_inflections_meet() -> None:
    assert len(set(content_words("covers covered covering cover"))) == 1
    assert content_words("policies") == content_words("policy")


@pytest.mark.parametrize(("one", "other"), [("1,500.00", "1500"), ("two", "2"), ("3.50", "3.5")])
def test_numbers_meet_however_they_are_written(one: str, other: str) -> None:
    assert number(one) == number(other)


def test_only_digits_count_as_numbers_of_a_claim() -> None:
    assert numbers("Two of 30 cost 5%") == {"30", "5"}


@pytest.mark.parametrize("text", ["It does not.", "It isn't", "Without a car", "No"])
def test_negations_are_seen(text: str) -> None:
    assert negates(text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two.", ["One.", "Two."]),
        ("Ask Dr. Smith, e.g. today. Then go.", ["Ask Dr. Smith, e.g. today.", "Then go."]),
        ("It costs 3.50 today. Pay.", ["It costs 3.50 today.", "Pay."]),
        ("1. First thing. 2. Second.", ["1. First thing.", "2. Second."]),
        ("J. Smith left! Why? Nobody knows…", ["J. Smith left!", "Why?", "Nobody knows…"]),
        ("你好。世界。", ["你好。", "世界。"]),
        ("no end", ["no end"]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, pieces: list[str]) -> None:
    assert sentence_pieces(text) == pieces


def test_a_line_break_ends_a_sentence() -> None:
    assert ends_sentence("Heading", "\n", "n")


@given(st.text())
def test_squeezed_text_leads_back_to_its_characters(text: str) -> None:
    plain, offsets = squeezed(text)
    assert len(plain) == len(offsets)
    assert not any(character.isspace() for character in (text[offset] for offset in offsets))
    assert list(offsets) == sorted(set(offsets))
