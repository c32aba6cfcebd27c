"""The table of faults (`docs/faults.md`): every row has tests by its name, and the page names them all."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "faults.md"
ROWS = range(1, 15)
ROW = re.compile(r"test_f(\d+)_")


def named_rows() -> set[tuple[int, str]]:
    """Return the row and `path::name` of every test that is named for one."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (match := ROW.match(node.name)):
                found.add((int(match[1]), f"{path.relative_to(ROOT).as_posix()}::{node.name}"))
    return found


def test_every_row_has_a_test_by_its_name() -> None:
    assert {row for row, _ in named_rows()} >= set(ROWS)


def test_the_page_names_every_test_of_a_row_under_it_and_no_other() -> None:
    sections = re.split(r"^## F(\d+)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    shown = dict(zip(map(int, sections[::2]), sections[1::2], strict=True))

    assert list(shown) == sorted(shown)
    for row, text in shown.items():
        assert {int(number) for number in ROW.findall(text)} <= {row}, row
    assert {(row, test) for row, test in named_rows() if f"`{test}`" not in shown[row]} == set()
