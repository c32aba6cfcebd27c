import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unavailable
from ingestion.excerpts import MOST_CHARS, MOST_FRAMES, believed, of_error, of_stderr

SECRET = "the director earns a secret sum"


def _raised(deep: int = 0) -> Exception:
    def fall(left: int) -> None:
        if left:
            fall(left - 1)
        try:
            dict[str, str]()[SECRET]
        except KeyError as error:
            raise Unavailable(SECRET) from error

    try:
        fall(deep)
    except Unavailable as error:
        return error
    raise AssertionError


def test_an_error_tells_where_it_was_raised_and_why_and_nothing_of_what_it_says() -> None:
    excerpt = of_error(_raised())
    frame = r"  tests\.ingestion\.test_excerpts, line \d+, in "
    assert re.fullmatch(
        rf"{frame}fall\nKeyError\nwhich led to\n{frame}_raised\n{frame}fall\ncore\.errors\.Unavailable", excerpt
    )
    assert SECRET not in excerpt
    assert str(Path(__file__).parent) not in excerpt


def test_an_excerpt_of_a_deep_fall_is_short_and_has_its_end() -> None:
    lines = of_error(_raised(deep=400)).splitlines()
    assert lines.count("  ...") >= 1
    assert len(lines) <= 4 * (MOST_FRAMES + 3)
    assert lines[-1] == "core.errors.Unavailable"


def test_a_loop_of_causes_ends() -> None:
    one, two = ValueError(), TypeError()
    one.__cause__, two.__cause__ = two, one
    assert of_error(one).endswith("ValueError")


def test_last_words_are_kept_and_everything_else_is_dropped() -> None:
    inside = Path(__file__).resolve()
    written = f"""reading {SECRET}
Fatal Python error: Segmentation fault

Current thread 0x00007f0000000000 (most recent call first):
  File "{inside}", line 12 in inner
  File "/somewhere/else/module.py", line 7 in outer
Extension modules: {SECRET}
""".encode()
    excerpt = of_stderr(written)
    assert excerpt is not None
    first, second, last = excerpt.splitlines()
    assert first == "  module, line 7, in outer"
    assert second.endswith("test_excerpts, line 12, in inner")
    assert "/" not in excerpt
    assert last == "Fatal Python error: Segmentation fault"
    assert of_stderr(SECRET.encode()) is None


@pytest.mark.parametrize(
    "words",
    [
        "free(): invalid pointer",
        "malloc(): corrupted top size",
        "double free or corruption (!prev)",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_what_a_c_library_says_when_it_gives_up_is_kept(words: str) -> None:
    assert of_stderr(f"{words}\n  what():  {SECRET}\n".encode()) == words


def test_what_is_sent_as_an_excerpt_is_believed_line_by_line() -> None:
    honest = of_error(_raised(deep=20))
    assert believed(honest) == honest
    assert believed(f"{honest}\n{SECRET}") == honest
    assert believed(f"{SECRET}\0") is None
    assert believed({"not": "text"}) is None


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_excerpt_holds_a_sentence_a_path_or_anything_that_a_database_refuses(text: str) -> None:
    for excerpt in (believed(text), of_stderr(text.encode("utf-8", errors="replace"))):
        if excerpt is not None:
            assert len(excerpt) <= MOST_CHARS
            assert not re.search(r"[\0\ud800-\udfff]", excerpt)
            lines = excerpt.splitlines()
            assert all(re.fullmatch(r"(  )?[^\s/]+(, line \d+, in [^\s/]+)?|which led to", line) for line in lines)
