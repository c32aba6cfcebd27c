import pytest

from core.domain import ElementKind, Reason
from ingestion.parsing.canonical import faults
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.plain import parse_plain


def test_paragraphs_and_lists_are_told_apart() -> None:
    parsed = parse_plain(b"First line\r\nsecond line\r\n\r\n\r\n\r\n- one\r\n- two\r\n")
    assert parsed.text == "First line\nsecond line\n\n- one\n- two"
    assert [one.kind for one in parsed.elements] == [ElementKind.PARAGRAPH, *[ElementKind.LIST_ITEM] * 2]
    assert faults(parsed) == []


def test_the_language_of_a_long_enough_text_is_told() -> None:
    german = "Die Reisekosten werden nach der Rückkehr erstattet, sofern sie vorher genehmigt worden sind. " * 2
    assert parse_plain(german.encode()).language == "de"
    assert parse_plain(b"short").language is None


def test_invisible_characters_are_no_content() -> None:
    with pytest.raises(ParseFailed) as caught:
        parse_plain(b"\x01\xef\xbb\xbf \x7f")
    assert caught.value.reason is Reason.EMPTY
