from hypothesis import given
from hypothesis import strategies as st

from ingestion.parsing.tables import linearise, names_columns, row_text

cells = st.lists(st.text("ab1 |", max_size=8), max_size=5)


@given(st.lists(cells, max_size=40))
def test_every_filled_row_is_a_line_in_order(rows: list[list[str]]) -> None:
    lines = [line for block in linearise(rows) for line in block.split("\n")]
    wanted = [text for row in rows if (text := row_text(row))]
    remaining = iter(lines)
    assert all(any(line == text for line in remaining) for text in wanted)
    assert set(lines) <= set(wanted)


def test_a_long_table_repeats_its_column_names_in_every_block() -> None:
    rows = [["Name", "Amount"], *([f"row {number}", str(number)] for number in range(500))]
    blocks = list(linearise(rows))
    assert len(blocks) > 5
    assert all(block.startswith("Name | Amount\n") for block in blocks)


def test_a_table_without_column_names_repeats_nothing() -> None:
    rows = [[str(number), str(number * 2)] for number in range(500)]
    assert sum(block.count("\n") + 1 for block in linearise(rows)) == 500


def test_a_cell_of_many_lines_becomes_one() -> None:
    assert row_text(["a\nb", "", "c", " "]) == "a b |  | c"


def test_numbers_and_repetitions_name_no_columns() -> None:
    assert names_columns(["Year", "Q1 2024"])
    assert not names_columns(["Year", "2024"])
    assert not names_columns(["a", "a"])
    assert not names_columns(["alone", ""])
