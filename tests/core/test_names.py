"""Names are relative, in one form, and never mean a way out."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidName
from core.names import document_name, folder_of, source_name


@pytest.mark.parametrize(
    "name",
    ["a.pdf", "a/b/c.pdf", "weird\\name.txt", " leading blank", "...", "a..b", ".hidden", "日本/報告.pdf", "x" * 1_024],
)
def test_ordinary_names_are_kept_as_they_are(name: str) -> None:
    assert document_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "/etc/passwd",
        "../secret",
        "a/../b",
        "a/./b",
        ".",
        "..",
        "a//b",
        "a/",
        "..\\..\\boot.ini",
        "a\x00b",
        "line\nbreak",
        "\x7f",
        "a\u2028b",
        "\ud800",
        "x" * 1_025,
        "é" * 600,
        "x" * 10_000_000,
    ],
    ids=lambda name: ascii(name)[:20],
)
def test_a_name_that_could_mislead_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        document_name(name)


def test_names_that_look_the_same_are_the_same() -> None:
    assert document_name("Re\u0301sume\u0301.pdf") == document_name("R\u00e9sum\u00e9.pdf")


@given(st.text(max_size=40))
def test_an_accepted_name_is_stable_and_safe(text: str) -> None:
    try:
        name = document_name(text)
    except InvalidName:
        return
    assert document_name(name) == name
    assert unicodedata.is_normalized("NFC", name)
    assert not name.startswith("/")
    assert not {"", ".", ".."} & set(name.split("/"))


def test_the_folder_is_what_stands_before_the_last_slash() -> None:
    assert folder_of("a/b/c.pdf") == "a/b"
    assert folder_of("c.pdf") == ""


def test_a_source_may_be_an_absolute_folder() -> None:
    assert source_name("/home/someone/files") == "/home/someone/files"
    with pytest.raises(InvalidName):
        source_name("a\nb")
