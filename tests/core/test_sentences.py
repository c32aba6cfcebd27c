from hypothesis import given, settings
from hypothesis import strategies as st

from core.sentences import sentences


def split(text: str) -> list[str]:
    return [text[span.start : span.end] for span in sentences(text)]


def test_a_sentence_ends_at_its_mark() -> None:
    assert split("One is here. Is two? Yes! Good.") == ["One is here.", "Is two?", "Yes!", "Good."]


def test_abbreviations_initials_and_decimals_end_nothing() -> None:
    text = "Dr. J. R. Smith paid $3.50, e.g. for No. 5 (see Fig. 3 and p. 12) at Acme Inc. in Boston."
    assert split(text) == [text]


def test_an_abbreviation_may_end_a_sentence_when_one_begins_after_it() -> None:
    assert split("It closed at 5 p.m. The staff left.") == ["It closed at 5 p.m.", "The staff left."]


def test_quotes_and_brackets_stay_with_their_sentence() -> None:
    assert split('He said "go." (She went.) "Really?" he asked.') == [
        'He said "go."',
        "(She went.)",
        '"Really?" he asked.',
    ]


def test_wrapped_lines_are_one_sentence() -> None:
    text = "We are pleased to offer all of our\nemployees two plans through\nNorthwind Health. Both are good."
    assert split(text) == [
        "We are pleased to offer all of our\nemployees two plans through\nNorthwind Health.",
        "Both are good.",
    ]


def test_list_items_and_numbering_stand_alone() -> None:
    assert split("Bring:\n1. Your card. Always.\n2. A pen\n- and paper\n• Water") == [
        "Bring:",
        "1. Your card.",
        "Always.",
        "2. A pen",
        "- and paper",
        "• Water",
    ]


def test_a_short_line_is_a_heading_of_its_own() -> None:
    text = (
        "Covered Services\nThe plan covers every visit that was approved before it took place,\nand the tests it needs."
    )
    assert split(text)[0] == "Covered Services"


def test_table_rows_stand_alone() -> None:
    assert split("Region | Q1 | Q2\nNorth | 1 | 2\nSouth | 3 | 4") == [
        "Region | Q1 | Q2",
        "North | 1 | 2",
        "South | 3 | 4",
    ]


def test_blank_lines_part_paragraphs() -> None:
    assert split("no full stop\n\nnext paragraph") == ["no full stop", "next paragraph"]


def test_full_width_marks_need_no_space_after_them() -> None:
    assert split("今日は。元気?はい。") == ["今日は。", "元気?はい。"]
    assert split("今日は。元気ですか？はい。") == ["今日は。", "元気ですか？", "はい。"]  # noqa: RUF001  # as written


def test_no_text_has_no_sentences() -> None:
    assert sentences("") == []
    assert sentences(" \n\t ") == []


PIECES = st.sampled_from(
    [*"ab.!?…。 \n\t)\"'-", "Dr.", "e.g.", "1.", "- ", "The", "\n\n", " | ", "3.5", "U.S.", "\u00a0", "\r", "A."]
)


@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=80).map("".join)))
@settings(max_examples=300)
def test_sentences_are_trimmed_ordered_and_hold_everything_but_white_space(text: str) -> None:
    end = 0
    for span in sentences(text):
        assert not text[end : span.start].strip()
        assert span.start < span.end
        assert text[span.start : span.end] == text[span.start : span.end].strip()
        end = span.end
    assert not text[end:].strip()


def test_hostile_text_takes_linear_time() -> None:
    for unit in (".", "(.", ").", ". ", "1. ", "\n- ", "e.g. ", " \n", ".'"):
        sentences(unit * 50_000)  # the suite's time limit is the assertion


def test_rows_of_a_table_without_marks_stand_alone() -> None:
    text = (
        "Check the colour of the cartridge every 3 months operator\n"
        "Replace the desiccant cartridge every 12 months operator\n"
        "Calibrate the sensor in the laboratory every 24 months"
    )

    assert [text[span.start : span.end] for span in sentences(text)] == text.splitlines()


def test_two_wrapped_lines_that_begin_with_capitals_stay_one_sentence() -> None:
    text = "Employees of Contoso may visit every hospital in\nNew York and Boston without asking anybody at all."

    assert len(sentences(text)) == 1
