"""Words of a text, for matching questions, claims and evidence; where a streamed sentence ends. Pure."""

import re
from collections.abc import Sequence

_WIDE = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # Scripts without spaces: each character is a word.
_WORD = re.compile(rf"[{_WIDE}]|[^\W_{_WIDE}]+(?:['’.,][^\W_{_WIDE}]+)*")  # noqa: RUF001 - an apostrophe as typeset
_STOPWORDS_TEXT = (
    "a about above after again against all also am an and any are as at be because been before being below "
    "between both but by can could did do does doing down during each either few for from further get gets give "
    "given had has have having he her here hers him his how however i if in into is it its itself just let many may me "
    "might more most much must my myself no nor not now of off on once one only or other our ours out over own per "
    "please same shall she should so some such tell than that the their theirs them themselves then there these "
    "they this those through to too under until up upon us use used using very via was we were what when where "
    "whether which while who whom whose why will with within without would yes you your yours yourself explain "
    "describe s t d m ll re ve don doesn"
)
_STOPWORDS = frozenset(_STOPWORDS_TEXT.split())
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}
_NEGATIONS = frozenset({"not", "no", "never", "none", "cannot", "without", "nor", "neither"})
_ABBREVIATIONS_TEXT = (
    "e.g i.e etc vs cf dr mr mrs ms prof st no nos fig figs eq sec ch vol pp p approx dept est inc ltd co corp "
    "u.s u.k jr sr al art para tel ca incl resp"
)
_ABBREVIATIONS = frozenset(_ABBREVIATIONS_TEXT.split())
_ENDINGS = (("ies", "y", 5), ("ing", "", 6), ("ed", "", 5), ("es", "", 5), ("s", "", 4))
_CLOSERS = "\"'”’)]*_»"  # noqa: RUF001 - quotes as typeset
_WIDE_TERMINALS = "。！？"  # noqa: RUF001 - they end a sentence without a space
_PLAIN = str.maketrans("[]“”‘’–—‐‑", "()\"\"''----")  # noqa: RUF001 - typography on the left


def words(text: str) -> list[str]:
    """Return the lower-case words in order; `1,500.00` is one word, a contraction too; CJK gives one per character."""
    return [match.group().lower().replace("’", "'") for match in _WORD.finditer(text)]  # noqa: RUF001


def stem(word: str) -> str:
    """Return the word without common English endings, so that `covers`, `covered` and `covering` meet.

    Deliberately crude: it only has to treat both sides alike.
    """
    word = word.removesuffix("'s")
    for ending, replacement, shortest in _ENDINGS:
        if word.endswith(ending) and len(word) >= shortest and not word.endswith("ss"):
            word = word[: -len(ending)] + replacement
            break
    return word.removesuffix("e") if len(word) > 3 else word  # noqa: PLR2004 - `use` keeps its e, `covere` does not


def number(word: str) -> str | None:
    """Return the canonical form of a number (`1,500.00` and `1500` meet, `two` is `2`), None for any other word."""
    if word in _NUMBER_WORDS:
        return _NUMBER_WORDS[word]
    if not any(map(str.isdigit, word)):
        return None
    plain = word.replace(",", "")
    return plain.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", plain) else plain


def is_stopword(word: str) -> bool:
    """Return whether the lower-case word carries no meaning of its own."""
    return word in _STOPWORDS


def content_words(text: str) -> list[str]:
    """Return the stems of the words that carry meaning, numbers in canonical form, in order and repeated."""
    return [number(word) or stem(word) for word in words(text) if word not in _STOPWORDS or word in _NUMBER_WORDS]


def numbers(text: str) -> frozenset[str]:
    """Return the numbers written in digits, in canonical form."""
    return frozenset(found for word in words(text) if any(map(str.isdigit, word)) and (found := number(word)))


def negates(text: str) -> bool:
    """Return whether the text contains a negation."""
    return any(word in _NEGATIONS or word.endswith("n't") for word in words(text))


def normalised(text: str) -> str:
    """Return the text on one line: every run of white space becomes one space."""
    return " ".join(text.split())


def squeezed(text: str) -> tuple[str, Sequence[int]]:
    """Return the text without white space, lower-case, with plain brackets, quotes and dashes; and each one's offset.

    Two texts that differ only in line wraps or typography become equal; the offsets lead back to the original.
    """
    kept = [offset for offset, character in enumerate(text) if not character.isspace()]
    plain = (text[offset].translate(_PLAIN) for offset in kept)
    return "".join(lower if len(lower := one.lower()) == 1 else one for one in plain), kept


def ends_sentence(before: str, gap: str, following: str) -> bool:
    """Return whether a sentence ends after `before`, when white space `gap` (may be empty) and `following` come next.

    `following` starts with the first character of what may be the next sentence. One character of it decides, so that
    a stream need not be held back. A line break always ends a sentence; abbreviations, initials, list numbers and
    lower-case continuations do not.
    """
    if "\n" in gap:
        return True
    bare = before.rstrip(_CLOSERS)
    if not bare or bare[-1] not in ".!?…" + _WIDE_TERMINALS:
        return False
    if bare[-1] in _WIDE_TERMINALS:
        return True
    if not gap or following[:1].islower():
        return False
    if bare[-1] in "!?…" or bare.endswith(".."):
        return True
    start, _, last = bare[:-1].rpartition(" ")
    token = last.lstrip("([\"'“‘*_-")  # noqa: RUF001 - quotes as typeset
    numbering = token.isdigit() and not start.strip("*_- ")
    initial = len(token) == 1 and token.isalpha() and token.isupper()
    return not (numbering or initial or token.lower() in _ABBREVIATIONS)


def sentence_pieces(text: str) -> list[str]:
    """Return the sentences of one line of text as a reader of the stream will see them, trimmed."""
    pieces: list[str] = []
    start = 0
    for match in re.finditer(r"\s+|(?<=[。！？])(?=\S)", text):  # noqa: RUF001
        if ends_sentence(text[start : match.start()], match.group(), text[match.end() :]):
            pieces.append(text[start : match.start()].strip())
            start = match.end()
    pieces.append(text[start:].strip())
    return [piece for piece in pieces if piece]
