"""Late interaction: how well each token of the query is met by some token of the passage (MaxSim), no extra model."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from core.ids import ChunkId
from retrieval.ports import Embedder, Passage, TokenVectors

_CACHE_BYTES = 32_000_000  # About 400 chunks of 200 tokens in half precision.
_LENGTHS = 20_000  # Token counts kept, of 150 bytes each.
_COUNTED = 8  # Passages counted at a time: about what the budget allows.


class TokenVectorCache:
    """Token vectors of texts, computed once: of passages by chunk id (a chunk's text never changes), least used out.

    Held in half precision, up to `max_bytes`. Shared by the reranker and the extractive model, which read the same
    passages one after the other. May be used from many threads at once.
    """

    def __init__(self, embedder: Embedder, *, max_bytes: int = _CACHE_BYTES) -> None:
        self._embedder = embedder
        self._max_bytes = max_bytes
        self._held: OrderedDict[ChunkId, tuple[NDArray[np.float16], tuple[tuple[int, int], ...]]] = OrderedDict()
        self._bytes = 0
        self._lengths: dict[ChunkId, int] = {}
        self._guard = Lock()

    @property
    def embedder_id(self) -> str:
        """The id of the embedder whose vectors these are."""
        return self._embedder.id

    def query(self, text: str) -> TokenVectors:
        """Return the token vectors of a query."""
        return self._embedder.token_vectors([text])[0]

    def lengths(self, passages: Sequence[Passage]) -> list[int]:
        """Return how many tokens each passage's header and text are, special tokens excluded; counted once."""
        known = {one.chunk: self._lengths.get(one.chunk) for one in passages}
        new = [one for one in passages if known[one.chunk] is None]
        counts = self._embedder.tokenizer.count([embedded_text(one) for one in new]) if new else []
        found = {one.chunk: count for one, count in zip(new, counts, strict=True)}
        with self._guard:
            self._lengths.update(found)
            while len(self._lengths) > _LENGTHS:
                del self._lengths[next(iter(self._lengths))]
        return [found[one.chunk] if (length := known[one.chunk]) is None else length for one in passages]

    def passages(self, passages: Sequence[Passage]) -> list[TokenVectors]:
        """Return the token vectors of each passage's header and text, as embedded; `spans` in the two joined."""
        found = {passage.chunk: held for passage in passages if (held := self.get(passage.chunk)) is not None}
        missing = [
            passage
            for passage in {passage.chunk: passage for passage in passages}.values()
            if passage.chunk not in found
        ]
        computed = self._embedder.token_vectors([embedded_text(passage) for passage in missing]) if missing else []
        for passage, vectors in zip(missing, computed, strict=True):
            found[passage.chunk] = vectors
            self._put(passage.chunk, vectors)
        return [found[passage.chunk] for passage in passages]

    def get(self, chunk: ChunkId) -> TokenVectors | None:
        """Return the vectors of the chunk when they are held."""
        with self._guard:
            held = self._held.get(chunk)
            if held is None:
                return None
            self._held.move_to_end(chunk)
        return TokenVectors(vectors=held[0].astype(np.float32), spans=held[1])

    def _put(self, chunk: ChunkId, vectors: TokenVectors) -> None:
        half = vectors.vectors.astype(np.float16)
        with self._guard:
            replaced = self._held.pop(chunk, None)
            self._bytes += half.nbytes - (replaced[0].nbytes if replaced else 0)
            self._held[chunk] = (half, vectors.spans)
            while self._bytes > self._max_bytes:
                _, (dropped, _) = self._held.popitem(last=False)
                self._bytes -= dropped.nbytes


class LateInteractionReranker:
    """Scores passages by MaxSim, a mean over the query's tokens: 1 when each of them stands in the passage as such.

    Reads passages in the order given until `max_tokens` are used up; the first is always read. What the cache holds
    counts like the rest, so that a ranking does not depend on what was asked before.
    """

    def __init__(self, embedder: Embedder, *, max_tokens: int, cache: TokenVectorCache | None = None) -> None:
        self._embedder = embedder
        self._max_tokens = max_tokens
        self._cache = cache or TokenVectorCache(embedder)

    @property
    def id(self) -> str:
        """Method, budget and embedder: together they determine the scores."""
        return f"late-interaction/1:{self._max_tokens}:{self._embedder.id}"

    @property
    def vectors(self) -> TokenVectorCache:
        """The token vectors that scoring leaves behind."""
        return self._cache

    def score(self, query: str, passages: Sequence[Passage]) -> list[float | None]:
        """Return one score per passage, None for those beyond the budget."""
        read = self._affordable(passages)
        if not read or not (asked := self._cache.query(query)).spans:
            return [None] * len(passages)
        scores: list[float | None] = [max_similarity(asked, vectors) for vectors in self._cache.passages(read)]
        return scores + [None] * (len(passages) - len(read))

    def _affordable(self, passages: Sequence[Passage]) -> Sequence[Passage]:
        special = 2
        used = 0
        for start in range(0, len(passages), _COUNTED):  # Most are beyond the budget: no need to know by how much.
            lengths = self._cache.lengths(passages[start : start + _COUNTED])
            for position, length in enumerate(lengths, start):
                used += min(length + special, self._embedder.max_tokens)
                if used > self._max_tokens and position:
                    return passages[:position]
        return passages


def embedded_text(passage: Passage) -> str:
    """Return the text that the dense model saw of the passage."""
    return f"{passage.header}\n{passage.text}" if passage.header else passage.text


def max_similarity(query: TokenVectors, passage: TokenVectors) -> float:
    """Return the mean over the query's tokens of the cosine of the passage's most similar token; 0 without tokens."""
    if not len(query.vectors) or not len(passage.vectors):
        return 0.0
    return float((query.vectors @ passage.vectors.T).max(axis=1).mean())
