"""The one place that imports `unstructured`, after its telemetry, advert and model download have been taken away.

`unstructured` tags every text with a spaCy model that it would fetch from the internet at first use. All it asks of
the tags is whether a text holds a verb, which only tells narrative text from other text; a few rules answer that, and
spaCy itself (60 MB of memory, 0.8 s) is never loaded.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any, Final

from docx.oxml import xmlchemy
from docx.oxml.ns import nsmap
from lxml import etree  # type: ignore[import-untyped]  # it ships no types

os.environ.update(UNSTRUCTURED_DISABLE_NOTICE="1", DO_NOT_TRACK="1", SCARF_NO_ANALYTICS="true")
# Its annotations name spaCy's types and nothing else does, as long as the loader below is replaced.
sys.modules.setdefault("spacy", ModuleType("spacy"))

import unstructured.nlp.tokenize  # noqa: E402 - the lines above must come first
from unstructured.documents.elements import Element as Found  # noqa: E402
from unstructured.partition.docx import partition_docx  # noqa: E402
from unstructured.partition.html import partition_html  # noqa: E402

_WORD: Final = re.compile(r"\w+|[^\w\s]")
_SENTENCE: Final = re.compile(r"[^.!?]*[.!?]+(?=\s|$)|[^.!?]+$|[^.!?]+")
_COMMON_VERBS: Final = frozenset(
    [
        "am",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "has",
        "have",
        "had",
        "do",
        "does",
        "did",
        "will",
        "would",
        "can",
        "could",
        "shall",
        "should",
        "may",
        "might",
        "must",
        "get",
        "gets",
        "got",
        "make",
        "makes",
        "made",
        "take",
        "takes",
        "took",
        "give",
        "gives",
        "gave",
        "go",
        "goes",
        "went",
        "come",
        "comes",
        "came",
        "see",
        "sees",
        "saw",
        "say",
        "says",
        "said",
        "know",
        "knows",
        "knew",
        "think",
        "thinks",
        "thought",
        "find",
        "finds",
        "found",
        "use",
        "uses",
        "need",
        "needs",
        "want",
        "wants",
        "include",
        "includes",
        "provide",
        "provides",
        "require",
        "requires",
        "apply",
        "applies",
        "allow",
        "allows",
        "contain",
        "contains",
        "offer",
        "offers",
        "cover",
        "covers",
        "show",
        "shows",
        "work",
        "works",
        "pay",
        "pays",
        "paid",
        "keep",
        "keeps",
        "kept",
        "let",
        "lets",
        "begin",
        "begins",
        "began",
        "seem",
        "seems",
        "help",
        "helps",
    ]
)
_TAG_OF_ENDING: Final[Mapping[str, str]] = MappingProxyType({"ed": "VBD", "ing": "VBG"})


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    tag_: str


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str


class _Tagged:
    """What `unstructured` reads of a spaCy document."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[_Token]:
        return (_Token(word, _tag(word.lower())) for word in _WORD.findall(self._text))

    @property
    def sents(self) -> Iterator[_Sentence]:
        return (_Sentence(match[0].strip()) for match in _SENTENCE.finditer(self._text) if match[0].strip())


class _RuleTagger:
    """Stands in for the spaCy pipeline."""

    max_length = 1_000_000_000

    def __call__(self, text: str) -> _Tagged:
        return _Tagged(text)


def _tag(word: str) -> str:
    if word in _COMMON_VERBS:
        return "VB"
    return _TAG_OF_ENDING.get(word[-3:] if word.endswith("ing") else word[-2:], "NN") if len(word) > 4 else "NN"  # noqa: PLR2004 - red, bring


# The only place where the library loads a model; it asks of it no more than `_RuleTagger` has.
unstructured.nlp.tokenize._load_spacy_model = _RuleTagger  # noqa: SLF001


@cache
def _compiled(expression: str) -> Any:  # noqa: ANN401 - lxml ships no types
    return etree.XPath(expression, namespaces=nsmap)


def _xpath(element: Any, expression: str) -> Any:  # noqa: ANN401 - the same
    return _compiled(expression)(element)


# `unstructured` asks python-docx for the same few paths at every paragraph, and each time it would compile them anew: a
# quarter of what a long Word document takes.
xmlchemy.BaseOxmlElement.xpath = _xpath  # type: ignore[method-assign, assignment]  # on purpose

__all__ = ["Found", "partition_docx", "partition_html"]
