"""Questions that need the one before to be understood. Pure."""

import re
from collections.abc import Sequence

from generation.wording import content_words, is_stopword, words

_FEW_WORDS = 3
_ENOUGH_WORDS = 5  # A question with so many words of its own mostly points into itself.
_LONGEST_PREFIX = 12  # words: the topic, not the whole question
_POINTING = frozenset({"it", "its", "they", "them", "their", "theirs", "this", "that", "these", "those", "he", "she"})
_POINTING |= {"him", "her", "his", "hers", "there", "former", "latter", "same", "one", "ones"}
_OPENING = re.compile(r"(?:and|but|so|or|what about|how about|also|why|why not|really|else)\b", re.IGNORECASE)


def standalone_question(question: str, earlier: Sequence[str]) -> str:
    """Return the question as retrieval should see it, given the conversation's earlier questions, oldest first.

    A question gets the previous one's content words put before it if it begins like a continuation (`and what about
    …`), has fewer than three words of its own, or fewer than five and points back (`it`, `those`) before it has named
    three; any other stays as it is. Simple on purpose: it can add words that do not help, but it loses none.
    """
    if not earlier or not _points_back(question):
        return question
    own = set(content_words(question))
    topic = [word for word in words(earlier[-1]) if not is_stopword(word) and not own.intersection(content_words(word))]
    return " ".join([*dict.fromkeys(topic[:_LONGEST_PREFIX]), question])


def _points_back(question: str) -> bool:
    own = set(content_words(question))
    if len(own) < _FEW_WORDS or _OPENING.match(question.strip()):
        return True
    if len(own) >= _ENOUGH_WORDS:
        return False
    named: set[str] = set()
    for word in words(question):
        if word.removesuffix("'s") in _POINTING:
            return len(named) < _FEW_WORDS  # After so many words of its own, `it` is one of them.
        named.update(content_words(word))
    return False
