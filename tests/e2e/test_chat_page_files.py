"""What the chat page's files promise without a browser."""

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "api" / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_turns_data_into_markup_or_code(path: Path) -> None:
    code = path.read_text("utf-8")
    assert not re.search(r"\.(innerHTML|outerHTML)\b|insertAdjacentHTML|document\.write|\beval\(|new Function", code)


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_nothing_comes_from_another_origin(path: Path) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text("utf-8")))
    assert addresses <= {"http://www.w3.org"}  # the name of SVG, never fetched


@pytest.mark.parametrize("name", ["index.html", "sign-in.html"])
def test_pages_carry_no_inline_script_or_style(name: str) -> None:
    page = (STATIC / name).read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
