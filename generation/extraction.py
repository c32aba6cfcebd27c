"""Which sentences of the evidence answer a question, or none. Pure: vectors and texts in, ranges out.

Each sentence of the best passages is scored by

- late interaction: for each token of the question the most similar token of the sentence, weighted by kind (words that
  carry meaning 1, function words `_STOPWORD_WEIGHT`, punctuation 0) and averaged. Token vectors come from the whole
  passage, so a sentence knows what its `it` stands for;
- coverage: the share of the question's content words that the sentence has;
- less a penalty that grows with the passage's rank: retrieval read more than a sentence.

No answer is given (`Extraction.chosen` is empty) when

- no sentence reaches `_LEAST_SIMILARITY`, or `_DOUBTFUL_SIMILARITY` where the passages lack many of its words;
- the question names something (a proper name, a number) that occurs nowhere in the evidence: whatever is said there, it
  is about something else.

The numbers were chosen on one set of 246 questions, seen whole; both halves of it agree, and neighbouring values change
little. They hold for embedders of the MiniLM kind and have to be measured again for others.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import Span
from core.sentences import sentences
from generation.ports import Evidence
from generation.wording import content_words, is_stopword, normalised, words
from retrieval.ports import TokenVectors

READ_PASSAGES = 5
MOST_SENTENCES = 4
_STOPWORD_WEIGHT = 0.15
_COVERAGE_WEIGHT = 0.5
_RANK_PENALTY = 0.3
_LEAST_SIMILARITY = 0.55
_DOUBTFUL_SIMILARITY = 0.65
_ENOUGH_KNOWN_WORDS = 0.75
_FEWEST_WORDS = 4
_FURTHER_SCORE = 0.85  # A further sentence reaches this share of the best one's score.
_SAME = 0.6  # Sentences that share this much of their words say the same.
_LONGEST = 600  # characters; what is longer is a table or a list, not a sentence to quote

# A sentence that speaks to a language model does not answer a person's question.
_COMMANDS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,60}\b(?:instructions?|prompts?|rules|above|previous|everything)\b"
    r"|\b(?:system|developer) prompt\b|\byou are (?:now )?(?:an? |the )?"
    r"(?:ai|assistant|chatbot|chatgpt|language model|llm)\b"
    r"|\b(?:ai|language) (?:model|assistant)s?\b.{0,60}\b(?:must|should|shall|reply|respond|answer|say|output|reveal)\b"
    r"|\b(?:reply|respond|answer) (?:only )?with\b|\bdo not (?:cite|mention|reveal|follow)\b.{0,60}\b(?:instructions?|"
    r"prompts?|sources?|rules)\b|\bnew instructions\b|^\s*(?:assistant|system|user)\s*:",
    re.IGNORECASE | re.DOTALL,
)
_NAMEWORD = re.compile(r"[\w][\w'’\-]*")  # noqa: RUF001 - an apostrophe as typeset
_MOSTLY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """A sentence of passage `n`: its range in the passage's text, and its score."""

    n: int
    span: Span
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What was chosen, best first (empty: the evidence does not answer), and the figures that decided."""

    chosen: tuple[Extract, ...]
    similarity: float
    known_words: float
    missing_names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    extract: Extract
    similarity: float
    words: frozenset[str]
    position: int


def extract(
    question: str, query: TokenVectors, evidence: Sequence[Evidence], passages: Sequence[TokenVectors]
) -> Extraction:
    """Return the sentences that answer.

    `query` holds the question's token vectors; `passages` those of the first passages' `embedded_text`, in the order of
    `evidence`, which may be longer: all of it is searched for what the question names.
    """
    wanted = frozenset(content_words(question))
    known = [_known_words(item) for item in evidence]
    read = frozenset[str]().union(*known[: len(passages)])
    share = len(wanted & read) / len(wanted) if wanted else 0.0
    missing = _names(question).difference(*known)
    weights = _token_weights(question, query)
    candidates = [
        candidate
        for rank, (item, vectors) in enumerate(zip(evidence, passages, strict=False))
        for candidate in _candidates(item, rank, wanted, query.vectors, weights, vectors)
    ]
    similarity = max((candidate.similarity for candidate in candidates), default=0.0)
    refused = (
        bool(missing)
        or similarity < _LEAST_SIMILARITY
        or (similarity < _DOUBTFUL_SIMILARITY and share < _ENOUGH_KNOWN_WORDS)
    )
    chosen = () if refused else _with_list(_chosen(candidates), evidence)
    return Extraction(chosen=chosen, similarity=similarity, known_words=share, missing_names=missing)


def addresses_a_model(text: str) -> bool:
    """Return whether the text speaks to a language model rather than to its reader."""
    return _COMMANDS.search(text) is not None


def _candidates(
    item: Evidence,
    rank: int,
    wanted: frozenset[str],
    query: NDArray[np.float32],
    weights: NDArray[np.float32],
    passage: TokenVectors,
) -> list[_Candidate]:
    if not passage.spans or not len(query):
        return []
    text = item.chunk.text
    lead = len(item.chunk.embedded_text) - len(text)
    starts = np.array([start for start, _ in passage.spans]) - lead
    ends = np.array([end for _, end in passage.spans]) - lead
    similar = query @ passage.vectors.T
    found = []
    for span in sentences(text):
        sentence = text[span.start : span.end]
        inside = (starts >= span.start) & (ends <= span.end)
        if not inside.any() or not _may_answer(sentence):
            continue
        similarity = float(similar[:, inside].max(axis=1) @ weights)
        held = frozenset(content_words(sentence))
        coverage = len(wanted & held) / len(wanted) if wanted else 0.0
        score = similarity + _COVERAGE_WEIGHT * coverage - _RANK_PENALTY * (1 - 1 / (1 + rank))
        found.append(
            _Candidate(
                extract=Extract(n=item.n, span=span, score=score),
                similarity=similarity,
                words=held,
                position=span.start,
            )
        )
    return found


def _may_answer(sentence: str) -> bool:
    bare = normalised(sentence)
    return (
        len(words(bare)) >= _FEWEST_WORDS
        and len(bare) <= _LONGEST
        and not bare.endswith("?")
        and not _is_heading(bare)
        and not addresses_a_model(bare)
    )


def _is_heading(line: str) -> bool:
    """Return whether the line is a title: no closing punctuation, and every word of weight begins with a capital."""
    weighty = [word for word in _NAMEWORD.findall(line) if not is_stopword(word.lower())]
    return line[-1].isalnum() and all(word[0].isupper() for word in weighty)


def _chosen(candidates: Sequence[_Candidate]) -> tuple[Extract, ...]:
    """Return the best sentence, and after it those nearly as good that add something, best passage first."""
    ranked = sorted(
        candidates, key=lambda candidate: (-candidate.extract.score, candidate.extract.n, candidate.position)
    )
    if not ranked:
        return ()
    best, *others = ranked
    chosen = [best]
    for candidate in others:
        if len(chosen) == MOST_SENTENCES or candidate.extract.score < _FURTHER_SCORE * best.extract.score:
            break
        if all(_overlap(candidate.words, other.words) < _SAME for other in chosen):
            chosen.append(candidate)
    further = sorted(chosen[1:], key=lambda candidate: (candidate.extract.n, candidate.position))
    return (best.extract, *(candidate.extract for candidate in further))


def _with_list(chosen: tuple[Extract, ...], evidence: Sequence[Evidence]) -> tuple[Extract, ...]:
    """Return the choice; if its best sentence only leads in (`… are:`), that one and what follows it in its passage."""
    if not chosen:
        return chosen
    best = chosen[0]
    text = next(item.chunk.text for item in evidence if item.n == best.n)
    if text[best.span.end - 1] != ":":
        return chosen
    following = [
        Extract(n=best.n, span=span, score=best.score)
        for span in sentences(text)
        if span.start >= best.span.end and not addresses_a_model(text[span.start : span.end])
    ]
    return (best, *following[: MOST_SENTENCES - 1]) if following else chosen


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(min(len(one), len(other)), 1)


def _known_words(item: Evidence) -> frozenset[str]:
    return frozenset(content_words(" ".join((item.name.replace("_", " "), item.title or "", item.chunk.embedded_text))))


def _names(question: str) -> frozenset[str]:
    """Return the stems of what the question names: capitalised words inside it, and numbers.

    A question in capitals or title case names nothing in particular.
    """
    found = _NAMEWORD.findall(question)
    capitalised = [word for word in found[1:] if word[0].isupper() and not is_stopword(word.lower())]
    if len(capitalised) > _MOSTLY * len(found):
        capitalised = []
    named = [*capitalised, *(word for word in found if any(map(str.isdigit, word)))]
    return frozenset(stem for word in named for stem in content_words(word))


def _token_weights(question: str, query: TokenVectors) -> NDArray[np.float32]:
    """Return one weight per token of the question, adding up to 1."""
    weights = np.zeros(len(query.spans), dtype=np.float32)
    for match in re.finditer(r"\w+", question):
        weight = _STOPWORD_WEIGHT if is_stopword(match.group().lower()) else 1.0
        for number, (start, end) in enumerate(query.spans):
            if start < match.end() and end > match.start():
                weights[number] = weight
    total = float(weights.sum())
    return weights / total if total else np.full_like(weights, 1 / max(len(weights), 1))
