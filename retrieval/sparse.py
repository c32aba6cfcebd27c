"""BM25 term weights by Qdrant's own encoder, so that Edge and a Qdrant server store the same."""

import hashlib

import qdrant_edge

from core.domain import Chunk
from retrieval.ports import SparseVector

# Measured on scifact_dev (docs/figures.md): chunks of 200 tokens hold 80 to 100 counted terms each, contextual header
# included; between 80 and 150 nDCG@10 moves by .002. The value is baked into stored weights, hence part of the id.
AVERAGE_LENGTH = 100.0
TERM_SATURATION = 1.2
LENGTH_NORMALISATION = 0.75

# The contextual header (title, headings) counts as text of its chunk: .700 to .704 instead of .685 without.
TEXT = "header+text"

_PROBE = "Running cats' naïve e-mails, 3.14 times (ACME-7) in Zürich: the probe of the tokeniser"


def bm25_text(chunk: Chunk) -> str:
    """Return what BM25 sees of a chunk. The choice is `TEXT` in the index manifest."""
    return chunk.embedded_text


class Bm25Encoder:
    """`SparseEncoder`: lower-cased words, English stop words and stemmer. Weights lack the IDF: the index adds it."""

    def __init__(
        self,
        *,
        average_length: float = AVERAGE_LENGTH,
        k: float = TERM_SATURATION,
        b: float = LENGTH_NORMALISATION,
    ) -> None:
        self._encoder = qdrant_edge.Bm25(qdrant_edge.Bm25Config(k=k, b=b, avg_len=average_length, language="english"))
        # What the encoder does with a text says more than the version of its package: the id changes with behaviour.
        behaviour = hashlib.sha256(repr(self.encode_document(_PROBE)).encode()).hexdigest()[:8]
        self._id = f"bm25:english:k={k:g}:b={b:g}:avg_len={average_length:g}:{behaviour}"

    @property
    def id(self) -> str:
        """Parameters, and a hash of what the encoder makes of a fixed text."""
        return self._id

    def encode_document(self, text: str) -> SparseVector:
        """Return the saturated, length-normalised frequency of every term; empty if the text has no term."""
        return _ours(self._encoder.embed_document(text))

    def encode_query(self, text: str) -> SparseVector:
        """Return weight 1 for every distinct term; empty if the text has no term, which matches nothing."""
        return _ours(self._encoder.embed_query(text))


def _ours(vector: qdrant_edge.SparseVector) -> SparseVector:
    terms = sorted(zip(vector.indices, vector.values, strict=True))
    return SparseVector(indices=tuple(index for index, _ in terms), values=tuple(value for _, value in terms))
