"""Whether a passage says what a sentence claims, and with which words. Pure and lexical: no model judges a model here.

A claim is *verified* by a quote when it stands there word for word (white space, typography and case aside), or when

- at least `COVERAGE` of the weight of its content words occurs in the quote (stems; a number weighs double),
- every number of the claim, in digits, occurs in the quote,
- every phrase of three or more words that the claim puts in quotation marks stands there word for word, and
- claim and quote agree on whether something is negated (for a quote of one sentence; a longer one may negate more).

This finds claims the passage says nothing about, and wrong figures; it does not find a clever distortion in the
passage's own words. `verified` is therefore a floor, and the reader has the quote.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from core.domain import Span
from core.sentences import sentences
from generation.wording import content_words, negates, numbers, squeezed, words

COVERAGE = 0.6
_NUMBER_WEIGHT = 2.0
_LONGEST_QUOTE = 3  # sentences
_PER_EXTRA_SENTENCE = 0.04  # A longer quote must earn its length.
_SHORTEST_VERBATIM = 12  # characters without white space; less may stand anywhere by chance
_LONGEST_CLAIM = 1_000  # characters; what a sentence without end says last is what its marker is about
_FEWEST_WORDS = 3
_QUOTED = re.compile(r"[\"“]([^\"“”]{8,400})[\"”]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """The words of a passage that fit a claim best: `span` in the passage, share covered, whether they verify it."""

    span: Span
    coverage: float
    verified: bool


@dataclass(frozen=True)
class PassageText:
    """A passage made ready to be searched for many claims."""

    text: str
    sentences: Sequence[Span] = field(default=())

    @cached_property
    def spans(self) -> Sequence[Span]:
        return self.sentences or sentences(self.text)

    @cached_property
    def words(self) -> list[frozenset[str]]:
        return [frozenset(content_words(self.text[span.start : span.end])) for span in self.spans]

    @cached_property
    def squeezed(self) -> tuple[str, Sequence[int]]:
        return squeezed(self.text)


def is_claim(sentence: str) -> bool:
    """Return whether the sentence says something that evidence could support: not a question, a heading, a lead-in."""
    bare = sentence.strip().rstrip("*_")
    return not bare.endswith(("?", ":")) and len(set(content_words(bare[-_LONGEST_CLAIM:]))) >= _FEWEST_WORDS


def best_support(claim: str, passage: PassageText) -> Support | None:
    """Return the words of the passage that fit the claim best; None if the passage has no words."""
    claim = claim[-_LONGEST_CLAIM:]
    if verbatim := _verbatim(claim, passage):
        return Support(span=verbatim, coverage=1.0, verified=True)
    wanted = _weights(claim)
    best: tuple[float, int, int] | None = None
    for first in range(len(passage.spans)):
        found: set[str] = set()
        for last in range(first, min(first + _LONGEST_QUOTE, len(passage.spans))):
            found |= passage.words[last]
            score = _coverage(wanted, found) - _PER_EXTRA_SENTENCE * (last - first)
            if best is None or score > best[0]:
                best = (score, first, last)
    if best is None:
        return None
    _, first, last = best
    span = Span(start=passage.spans[first].start, end=passage.spans[last].end)
    quote = passage.text[span.start : span.end]
    return Support(
        span=span, coverage=_coverage(wanted, set(content_words(quote))), verified=verifies(claim, [quote], wanted)
    )


def verifies(claim: str, quotes: Sequence[str], weights: dict[str, float] | None = None) -> bool:
    """Return whether the quotes together verify the claim (see the module's own words for what that means)."""
    claim = claim[-_LONGEST_CLAIM:]
    quote = "\n".join(quotes)
    found = set(content_words(quote))
    weights = _weights(claim) if weights is None else weights
    if _coverage(weights, found) < COVERAGE or not numbers(claim) <= found:
        return False
    plain = squeezed(quote)[0]
    if not all(squeezed(phrase)[0].rstrip(".,;") in plain for phrase in _quoted(claim)):
        return False
    claimed, said = negates(claim), negates(quote)
    return claimed == said or (said and len(sentences(quote)) > 1)


def _quoted(claim: str) -> Iterable[str]:
    return (match for match in _QUOTED.findall(claim) if len(words(match)) >= _FEWEST_WORDS)


def _weights(claim: str) -> dict[str, float]:
    return {word: _NUMBER_WEIGHT if any(map(str.isdigit, word)) else 1.0 for word in content_words(claim)}


def _coverage(weights: dict[str, float], found: set[str]) -> float:
    total = sum(weights.values())
    return sum(weight for word, weight in weights.items() if word in found) / total if total else 0.0


def _verbatim(claim: str, passage: PassageText) -> Span | None:
    plain, _ = squeezed(claim)
    haystack, offsets = passage.squeezed
    for needle in (plain, plain.strip(".,;:!?\"'()*_-")):
        if len(needle) < _SHORTEST_VERBATIM:
            return None
        position = haystack.find(needle)
        if position >= 0:
            return Span(start=offsets[position], end=offsets[position + len(needle) - 1] + 1)
    return None
