import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parsing.encodings import decode, looks_like_text

SENTENCE = "Größe und Übermaß: naïve façade, 5 €, čeština, Ελληνικά.\n" * 5


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
)
def test_unicode_is_read_with_and_without_mark(encoding: str) -> None:
    text = "Plain words, mostly Latin, with a few Ümlauts.\n" * 3
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Die Größe der Fläche beträgt über fünf Quadratmeter, schätzt der Prüfer.\n" * 20, "cp1252"),
        ("Съешь же ещё этих мягких французских булок, да выпей чаю.\n" * 20, "cp1251"),
        ("これは日本語の文章です。文字コードを推定します。\n" * 20, "shift_jis"),
    ],
)
def test_legacy_encodings_are_guessed(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_a_declared_encoding_is_believed_when_it_fits() -> None:
    page = '<html><meta charset="iso-8859-7"><p>Ελληνικά κείμενα</p></html>'
    assert decode(page.encode("iso-8859-7")) == page


def test_a_few_broken_bytes_leave_it_utf_8() -> None:
    data = SENTENCE.encode() * 50 + b"\xff" + SENTENCE.encode()
    text = decode(data)
    assert text is not None
    assert text.startswith("Größe")
    assert text.count("\ufffd") == 1


def test_programs_are_no_text() -> None:
    assert decode(bytes(range(256)) * 20) is None


@given(st.binary(max_size=300))
def test_any_bytes_give_text_or_none(data: bytes) -> None:
    text = decode(data)
    assert text is None or isinstance(text, str)


def test_text_with_control_characters_all_over_is_no_writing() -> None:
    assert looks_like_text("words\tand\nlines")
    assert not looks_like_text("\x01\x02\x03word")
