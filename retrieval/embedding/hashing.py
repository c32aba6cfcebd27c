"""A deterministic embedder without a model: words and their character n-grams, hashed. For tests and for trying out."""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from retrieval.ports import TokenVectors, Vector

_TOKEN = re.compile(r"\w+|[^\w\s]")
_GRAM = 4
_NEIGHBOUR = 0.25  # How much of the words beside it a token's vector takes on: enough to be contextual.
_FREQUENT = frozenset(
    """
    a an and are as at be by for from has have in is it of on or that the this to was were with
    """.split()  # noqa: SIM905  # a list of words reads best as words
)
_SPECIAL = 2  # As BERT-like models add two, so does this one, in the budget only.


class HashingTokenizer:
    """Words and single signs."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        return [sum(1 for _ in _TOKEN.finditer(text)) for text in texts]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return the half-open code-point range of every token of the text, in order."""
        return [match.span() for match in _TOKEN.finditer(text)]


class HashingEmbedder:
    """Texts that share words, or parts of words, are near each other. Same input, same vector, on every machine."""

    def __init__(self, dim: int = 256, *, max_tokens: int = 256) -> None:
        self._dim = dim
        self._max_tokens = max_tokens
        self._tokenizer = HashingTokenizer()

    @property
    def id(self) -> str:
        """Name and size: they determine the vectors."""
        return f"hashing:{self._dim}@1"

    @property
    def precision(self) -> str:
        """What it computes with, and where."""
        return "float32 on cpu"

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, two for special tokens included; what is beyond is cut off."""
        return self._max_tokens

    @property
    def tokenizer(self) -> HashingTokenizer:
        """Words and single signs."""
        return self._tokenizer

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return shape (len(texts), dim)."""
        return np.array([self.embed_query(text) for text in texts], np.float32).reshape(len(texts), self._dim)

    def embed_query(self, text: str) -> Vector:
        """Return shape (dim,)."""
        words = [text[start:end].casefold() for start, end in self._spans(text)]
        total = np.zeros(self._dim, np.float32)
        for word in words:
            total += _weight(word) * _hashed(word, self._dim)
        return _unit(total)

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of each text."""
        return [self._tokens(text) for text in texts]

    def _tokens(self, text: str) -> TokenVectors:
        spans = self._spans(text)
        own = [_hashed(text[start:end].casefold(), self._dim) for start, end in spans]
        mixed = [vector.copy() for vector in own]
        for (left, one), (right, other) in pairwise(enumerate(own)):
            mixed[left] += _NEIGHBOUR * other
            mixed[right] += _NEIGHBOUR * one
        vectors = np.array([_unit(vector) for vector in mixed], np.float32).reshape(len(spans), self._dim)
        return TokenVectors(vectors=vectors, spans=tuple(spans))

    def _spans(self, text: str) -> list[tuple[int, int]]:
        return self._tokenizer.offsets(text)[: self._max_tokens - _SPECIAL]


def _weight(word: str) -> float:
    if not word[0].isalnum():
        return 0.1
    return 0.2 if word in _FREQUENT else 1.0


@lru_cache(maxsize=20_000)
def _hashed(word: str, dim: int) -> Vector:
    """Return the word's own direction, mixed with those of its character n-grams; of unit length. Read-only."""
    total = np.zeros(dim, np.float32)
    marked = f"<{word}>"
    grams = [marked[start : start + _GRAM] for start in range(len(marked) - _GRAM + 1)]
    for feature, weight in [(word, 1.0), *((f"#{gram}", 0.5 / len(grams)) for gram in grams)]:
        generator = np.random.default_rng(zlib.crc32(feature.encode()))
        total += weight * generator.standard_normal(dim, np.float32)
    total = _unit(total)
    total.flags.writeable = False
    return total


def _unit(vector: Vector) -> Vector:
    """Scale to length 1; what has no direction (a text without tokens) gets the first axis."""
    length = float(np.linalg.norm(vector))
    if length == 0:
        vector = np.zeros_like(vector)
        vector[0] = 1
        return vector
    return np.asarray(vector / length, np.float32)
