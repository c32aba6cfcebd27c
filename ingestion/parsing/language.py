"""Which language a text is in."""

from array import array
from functools import cache
from typing import Any

from langdetect import LangDetectException, detector_factory  # type: ignore[import-untyped]  # it ships no types

_MIN_LETTERS = 60  # Below that the guess is often wrong.
_MIN_PROBABILITY = 0.8
_TRIALS = 2  # Of the usual seven: the answer is the same, and a small document is not mostly language detection.


@cache
def _factory() -> Any:  # noqa: ANN401 - the library ships no types
    detector_factory.init_factory()
    detector_factory.DetectorFactory.seed = 0  # Detecting draws samples; the same text must give the same answer.
    factory = detector_factory._factory  # noqa: SLF001 - `detect_langs` hides the number of trials
    # Lists of floats would be copied page by page into every forked child, by the reference counts of what it reads.
    shares_of = factory.word_lang_prob_map
    for word in shares_of:
        shares_of[word] = array("f", shares_of[word])
    return factory


def detect_language(sample: str) -> str | None:
    """Return the ISO 639-1 code (Chinese: `zh-cn`, `zh-tw`), or None when the text is short or no one language."""
    if sum(character.isalpha() for character in sample) < _MIN_LETTERS:
        return None
    detector = _factory().create()
    detector.n_trial = _TRIALS
    detector.append(sample)
    try:
        best = detector.get_probabilities()[0]
    except (LangDetectException, IndexError):
        return None
    return str(best.lang) if best.prob >= _MIN_PROBABILITY else None
