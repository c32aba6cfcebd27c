"""Binds the `[n]` of a streaming answer to the very words of its evidence. Pure: text in, text and citations out.

What comes out does not depend on how the text was cut into deltas. `n` of the model (its evidence) becomes `n` of the
reader: one number per quoted span, counted from 1 in the order of first use. Markers to nothing are dropped, `[1, 2]`
and `[1-2]` become `[1][2]`. A sentence without a marker gets one if some evidence verifies it; a sentence that no quote
verifies is followed by `[?]` and told of as `Unsupported`. Only what may be a marker is held back, and white space.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from core.domain import Citation, Span
from core.ids import DocumentId, VersionId
from generation.ports import Evidence
from generation.support import PassageText, Support, best_support, is_claim, verifies
from generation.wording import content_words, ends_sentence

UNSUPPORTED_MARK = "[?]"
_LONGEST_MARKER = 40
_MARKER = re.compile(r"\[\^?[ \t]*([0-9]{1,4}(?:[ \t]*[,;–-][ \t]*[0-9]{1,4})*)[ \t]*\]")  # noqa: RUF001 - a dash
_MAYBE_MARKER = re.compile(r"\[\^?[0-9 \t,;–-]*")  # noqa: RUF001 - a dash
_LONGEST_RANGE = 20
_FEWEST_CLAUSE_WORDS = 3
_CLOSING = ".,;:!?)"
_AFTER_MARKER = ")]\"'”’*_"  # closes what the sentence opened  # noqa: RUF001
_LONGEST_SENTENCE = 4_000  # characters; more is cut, so that hostile text costs linear time
_LONGEST_GAP = 100
_LOOK_BACK = 100  # no abbreviation or list number is longer
_REFUSAL = re.compile(
    r"\W*(?:(?:i'm |i am )?(?:sorry|afraid)\b"
    r"|i (?:do not|don't|cannot|can't|could not|couldn't|am unable|am not able)\b"
    r"|there (?:is|are) no\b|the (?:\w+ ){0,3}(?:documents?|evidence|passages?|sources?|context) (?:\w+ )?"
    r"(?:do(?:es)? not|don't|doesn't|contains? no)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundText:
    """Text to show, markers included."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundCitation:
    """A citation, told before the text that holds its first marker. `page` is the chunk's, boxes are not yet known."""

    citation: Citation


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported:
    """A sentence that no quote verifies; `span` is its place in the answer's text, its markers included."""

    sentence: str
    span: Span


Bound: TypeAlias = BoundText | BoundCitation | Unsupported


def is_refusal(text: str) -> bool:
    """Return whether the sentence says that the evidence does not answer the question."""
    return _REFUSAL.match(text.replace("’", "'")) is not None  # noqa: RUF001 - an apostrophe as typeset


class CitationBinder:
    """One answer's binder: `feed` it deltas, then `finish` it once."""

    def __init__(self, evidence: Sequence[Evidence]) -> None:
        self._evidence = {item.n: item for item in evidence}
        self._passages = {item.n: PassageText(item.chunk.text) for item in evidence}
        self._numbers: dict[tuple[DocumentId, VersionId, int, int, bool], Citation] = {}
        self._pending = ""  # may be the beginning of a marker
        self._spaces = ""  # white space not shown yet
        self._sentence = ""
        self._clause = 0  # where in the sentence the last marker stood
        self._cited: list[Citation] = []  # by this sentence
        self._group: set[int] = set()  # markers since the last character of text
        self._dropped = False  # a marker to nothing was the last thing seen
        self._start = 0  # of the sentence in the answer
        self._length = 0
        self._out: list[Bound] = []
        self._text: list[str] = []

    @property
    def citations(self) -> tuple[Citation, ...]:
        """What was cited so far, by number."""
        return tuple(self._numbers.values())

    def feed(self, delta: str) -> list[Bound]:
        """Return what the delta completes, in order."""
        self._pending += delta
        while self._pending:
            bracket = self._pending.find("[")
            if bracket:
                plain = self._pending if bracket < 0 else self._pending[:bracket]
                self._pending = self._pending[len(plain) :]
                self._read(plain)
                continue
            marker = _MARKER.match(self._pending)
            if marker and marker.end() <= _LONGEST_MARKER:
                self._pending = self._pending[marker.end() :]
                self._mark(_expanded(marker.group(1)))
            elif len(self._pending) < _LONGEST_MARKER and _MAYBE_MARKER.fullmatch(self._pending):
                break
            else:
                self._pending = self._pending[1:]
                self._read("[")
        return self._taken()

    def finish(self) -> list[Bound]:
        """Return the rest; white space at the very end is dropped."""
        rest, self._pending = self._pending, ""
        if rest:  # The beginning of a marker that never ended.
            self._read(rest)
        self._close()
        return self._taken()

    def _read(self, plain: str) -> None:
        for character in plain:
            if character.isspace():
                if not (self._dropped and self._spaces and character != "\n") and len(self._spaces) < _LONGEST_GAP:
                    self._spaces += character
                continue
            if self._dropped and character in _CLOSING:
                self._spaces = ""
            self._dropped = False
            if self._sentence and self._ended_before(character):
                self._close()
            gap = self._show_spaces()
            if not self._sentence:
                self._start = self._length
                gap = ""
            self._sentence += gap + character
            self._group.clear()
            self._show(character)

    def _ended_before(self, character: str) -> bool:
        if len(self._sentence) >= _LONGEST_SENTENCE:
            return True
        gap = self._spaces
        if not gap and self._group and character not in _AFTER_MARKER:
            gap = " "  # As in `Done.[1]Next`.
        return ends_sentence(self._sentence[-_LOOK_BACK:], gap, character)

    def _mark(self, numbers: Sequence[int]) -> None:
        known = [self._evidence[number] for number in numbers if number in self._evidence] if self._sentence else []
        clause = self._sentence[self._clause :]
        claim = clause if len(set(content_words(clause))) >= _FEWEST_CLAUSE_WORDS else self._sentence
        for item in known:
            support = best_support(claim, self._passages[item.n])
            if support is not None:
                self._cite(item, support)
        self._dropped = not known
        if known:
            self._clause = len(self._sentence)

    def _cite(self, item: Evidence, support: Support) -> None:
        citation = self._numbered(item, support)
        self._cited.append(citation)
        if citation.n not in self._group:
            self._show_spaces()
            self._group.add(citation.n)
            self._show(f"[{citation.n}]")

    def _numbered(self, item: Evidence, support: Support) -> Citation:
        chunk = item.chunk
        start, end = chunk.span.start + support.span.start, chunk.span.start + support.span.end
        # The same words may verify one sentence and not another.
        key = (chunk.document, chunk.version, start, end, support.verified)
        if key not in self._numbers:
            quote = chunk.text[support.span.start : support.span.end]
            self._numbers[key] = Citation(
                n=len(self._numbers) + 1,
                document=chunk.document,
                version=chunk.version,
                chunk=chunk.id,
                name=item.name,
                title=item.title,
                page=chunk.page_first,
                span=Span(start=start, end=end),
                quote=quote,
                hash=hashlib.sha256(quote.encode()).hexdigest(),
                verified=support.verified,
            )
            self._flush()
            self._out.append(BoundCitation(citation=self._numbers[key]))
        return self._numbers[key]

    def _close(self) -> None:
        """End the sentence: it is verified by what it cites, or by evidence it did not name, or it is marked."""
        sentence, cited = self._sentence, self._cited
        if sentence and not self._is_supported(sentence, cited):
            found = None if cited else self._found(sentence)
            spaces, self._spaces = self._spaces, ""
            if found is not None:
                self._spaces = " "
                self._cite(*found)
            else:
                self._show(" " + UNSUPPORTED_MARK)
                self._flush()
                span = Span(start=self._start, end=self._length)
                self._out.append(Unsupported(sentence=sentence, span=span))
            self._spaces = spaces
        self._sentence, self._clause, self._cited = "", 0, []
        self._group.clear()

    def _is_supported(self, sentence: str, cited: Sequence[Citation]) -> bool:
        if not is_claim(sentence) or any(citation.verified for citation in cited):
            return True
        if not cited:
            return is_refusal(sentence)
        return len(cited) > 1 and verifies(sentence, [citation.quote for citation in cited])

    def _found(self, sentence: str) -> tuple[Evidence, Support] | None:
        best: tuple[Evidence, Support] | None = None
        for n, passage in self._passages.items():
            support = best_support(sentence, passage)
            if support and support.verified and (best is None or support.coverage > best[1].coverage):
                best = (self._evidence[n], support)
        return best

    def _show_spaces(self) -> str:
        spaces, self._spaces = self._spaces, ""
        if self._length:  # An answer does not begin with white space.
            self._show(spaces)
        return spaces

    def _show(self, text: str) -> None:
        self._text.append(text)
        self._length += len(text)

    def _flush(self) -> None:
        if text := "".join(self._text):
            self._out.append(BoundText(text=text))
        self._text.clear()

    def _taken(self) -> list[Bound]:
        self._flush()
        out, self._out = self._out, []
        return out


def _expanded(numbers: str) -> list[int]:
    expanded: list[int] = []
    for part in re.split(r"[,;]", numbers):
        first, *rest = (int(number) for number in re.split(r"[–-]", part))  # noqa: RUF001 - a dash
        last = rest[-1] if rest else first
        expanded.extend(range(first, last + 1) if first <= last < first + _LONGEST_RANGE else [first, last])
    return list(dict.fromkeys(expanded))
