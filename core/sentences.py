"""Where sentences begin and end, in prose as people write it and as PDF lines wrap it. Pure, fast, no model."""

import re
from collections.abc import Iterator
from itertools import chain

from core.domain import Span

# A dot after these never ends a sentence: something always follows.
_NEVER_FINAL = frozenset(
    """
    adj adm al approx assoc brig bros capt cf cmdr col corr dept dipl dist dr ed eds e.g eg esp eq eqs fig figs gen
    gov hon i.e ie incl lt maj max messrs min mr mrs ms mt op pp pres prof ref refs rep rev sen sgt sr st viz vol
    vols vs z.b d.h bzw ca evtl ggf nr str u.a vgl art abs abb
    """.split()  # noqa: SIM905  # a list of words reads best as words
)
# A dot after these ends a sentence only if what follows looks like the beginning of one.
_SOMETIMES_FINAL = frozenset(
    """
    a.m p.m am pm co corp etc inc jr ltd llc plc u.s u.k u.n e.u ph.d m.d b.a m.a b.sc m.sc usw bldg ave blvd dec
    feb jan aug sept sep oct nov apr mon tue wed thu fri
    """.split()  # noqa: SIM905  # a list of words reads best as words
)
# A dot after these is part of a reference when a number follows.
_BEFORE_NUMBERS = frozenset(
    """
    no nos p ch chap sec sect para item art ext tel nr pt ver v
    """.split()  # noqa: SIM905  # a list of words reads best as words
)
_STARTERS = frozenset(
    """
    a after all also although an and any as at because before both but by each every for from he her here his how
    however i if in it its many most my no not of on one or our she since so some such that the their there these
    they this those to we what when where which while who why will with you your
    """.split()  # noqa: SIM905  # a list of words reads best as words
)

_TERMINATOR = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s|\Z)|[。！？]+[”’」』）]*|\n")  # noqa: RUF001
_LIST_MARKER = re.compile(r"[ \t]*(?:[-*+•‣◦▪●■○–—·]|\(?[0-9]{1,3}[.)]|\(?[A-Za-z][.)])[ \t]+\S")  # noqa: RUF001
_WORD_BEFORE = re.compile(r"[\w.]+\Z")
_WORD_AFTER = re.compile(r"\w+")
_OPENERS = "\"'“‘«([*_"  # noqa: RUF001
_TABLE_MARKS = ("\t", " | ")
_SHORT_LINE = 0.62  # A line this much shorter than its block's longest was ended by its writer, not by wrapping.
_CLOSING = ".!?…,;:-(&/"
_LOOK_BACK = 16  # No abbreviation is longer.


def sentences(text: str) -> list[Span]:
    """Return the sentences of the text in order: trimmed, never overlapping, together covering all but white space.

    Blank lines, list items, table rows (by their marks, or three lines alike) and lines that end early are
    boundaries; other line ends count as spaces.
    Abbreviations, initials, decimals and numbering do not end a sentence. Takes linear time.
    """
    return list(iter_sentences(text))


def iter_sentences(text: str) -> Iterator[Span]:
    """Yield what `sentences` returns."""
    start = 0
    for end in chain(_boundaries(text), (len(text),)):
        piece = text[start:end]
        trimmed = piece.strip()
        if trimmed:
            lead = len(piece) - len(piece.lstrip())
            yield Span(start=start + lead, end=start + lead + len(trimmed))
        start = end


def _boundaries(text: str) -> Iterator[int]:
    """Yield ascending positions at which a sentence has ended."""
    widest = _WidestLines(text)
    start = 0  # of the sentence now read
    for match in _TERMINATOR.finditer(text):
        end = match.end()
        if match.group() == "\n":
            ends = _newline_ends(text, match.start(), widest)
        else:
            ends = _terminator_ends(text, match, start)
        if ends:
            yield end
            start = end


class _WidestLines:
    """The length of the longest line of the block (lines without a blank one between) that a position lies in."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = -1
        self._width = 0

    def at(self, position: int) -> int:
        if position >= self._end:  # Positions only grow, so that every block is measured once.
            start = max(self._end, 0)
            self._width = 0
            while start <= len(self._text):
                end = self._text.find("\n", start)
                end = len(self._text) if end < 0 else end
                line = self._text[start:end].strip()
                if not line and start > position:
                    break
                self._width = max(self._width, len(line)) if line else 0
                start = end + 1
            self._end = start
        return self._width


def _newline_ends(text: str, position: int, widest: _WidestLines) -> bool:
    width = widest.at(position)
    before = text[text.rfind("\n", 0, position) + 1 : position].strip()
    after_end = text.find("\n", position + 1)
    after = text[position + 1 : after_end if after_end >= 0 else len(text)]
    if not before or not after.strip():
        return True
    if _LIST_MARKER.match(after) or any(mark in line for line in (before, after) for mark in _TABLE_MARKS):
        return True
    if _among_rows(text, position, before, after):
        return True
    head = after.lstrip()[0]
    return len(before) < _SHORT_LINE * width and not head.islower() and before[-1] not in ",-(&/"


def _among_rows(text: str, position: int, before: str, after: str) -> bool:
    """Tell whether the lines are rows of a table: three in a row begin like a sentence and none ends like one."""
    if not (_is_row(before) and _is_row(after)):
        return False
    above_end = text.rfind("\n", 0, position)
    above = text[text.rfind("\n", 0, above_end) + 1 : above_end] if above_end > 0 else ""
    below_start = position + 1 + len(after) + 1
    below_end = text.find("\n", below_start)
    below = text[below_start : below_end if below_end >= 0 else len(text)]
    return _is_row(above) or _is_row(below)


def _is_row(line: str) -> bool:
    bare = line.strip()
    return bool(bare) and (bare[0].isupper() or bare[0].isdigit()) and bare[-1] not in _CLOSING


def _terminator_ends(text: str, match: "re.Match[str]", start: int) -> bool:
    mark = match.group()
    if mark[0] in "。！？":  # noqa: RUF001
        return True
    after = text[match.end() : match.end() + 40].lstrip()
    if not after:
        return True
    head = after.lstrip(_OPENERS)[:1] or after[0]
    if head.islower():
        return False
    if not mark.startswith(".") or len(mark.rstrip("\"'”’»)]")) > 1:  # noqa: RUF001
        return True
    return _dot_ends(text, match.start(), start, after)


def _dot_ends(text: str, position: int, start: int, after: str) -> bool:
    """Tell whether the single dot at `position` ends a sentence, given that no lower-case letter follows."""
    found = _WORD_BEFORE.search(text[max(start, position - _LOOK_BACK) : position])
    if found is None:
        return True
    word = found.group()
    lower = word.lower()
    follower = _WORD_AFTER.search(after)
    starts = follower is not None and follower.group().lower() in _STARTERS
    if lower in _NEVER_FINAL:
        return False
    if lower in _BEFORE_NUMBERS:
        return not after[0].isdigit()
    if lower in _SOMETIMES_FINAL or (len(word) == 1 and word.isupper()):
        return starts
    # "1. First" is numbering, not a sentence of one number.
    return not (word.isdigit() and not text[start : position - len(word)].strip())
