import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import Reason
from ingestion.parsing import delimited
from ingestion.parsing.canonical import faults
from ingestion.parsing.delimited import delimiter_of, parse_csv
from ingestion.parsing.failures import ParseFailed


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    text = "\n".join(delimiter.join(row) for row in (("city", "limit, per day"), ("Oslo", "120"), ("Rome", "90")))
    assert delimiter_of(text.replace("limit, per", "limit per")) == delimiter


def test_rows_are_lines_and_quoted_line_breaks_do_not_part_them() -> None:
    parsed = parse_csv(b'city,note\nOslo,"cold,\nbut nice"\n')
    assert parsed.text == "city | note\nOslo | cold, but nice"
    assert faults(parsed) == []


def test_rows_of_uneven_width_are_kept() -> None:
    assert parse_csv(b"a,b\n1\n1,2,3\n").text == "a | b\n1\n1 | 2 | 3"


def test_a_table_of_nothing_but_delimiters_is_empty() -> None:
    with pytest.raises(ParseFailed) as caught:
        parse_csv(b",,,\n,,,\n")
    assert caught.value.reason is Reason.EMPTY


@given(st.text(alphabet='ab,"\r\n\x00\x0b\u2028\u20ac', max_size=60), st.integers(1, 9))
def test_a_table_read_in_slices_has_the_lines_of_the_whole(text: str, size: int) -> None:
    whole = list(io.StringIO(text.replace("\x00", ""), newline=""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_SLICE_CHARS", size)
        assert list(delimited._lines(text)) == whole
