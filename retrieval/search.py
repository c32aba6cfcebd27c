"""Query to evidence: embed, dense and BM25 under one filter, check against the catalogue, fuse, rerank, fuse again."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from core.domain import Hit, Principal, Ranks
from core.errors import InvalidInput
from core.ids import ChunkId, DocumentId, VersionId
from retrieval.checking import Arm, Catalogue, CheckedCandidates, Fetch
from retrieval.fusion import Fused, reciprocal_rank_fusion
from retrieval.ports import Arm as ArmName
from retrieval.ports import Candidate, Embedder, Passage, Reranker, SparseEncoder, VectorIndex

Stage = Literal["bm25", "dense", "hybrid", "reranked"]
Timing = Literal["embed", "dense", "bm25", "check", "rerank", "total"]
Counted = Literal["dense", "bm25", "fused", "reranked", "hits"]

ARM_DEPTH = 50  # Candidates per arm at least. On scifact_dev 100 gain .0005 nDCG@10 and cost 2 ms of checking.
MOST_OVERTAKEN = 4  # Times that a search begins anew since a document's version changed under it: once is rare.
RERANK_WINDOW = 20  # Best fused candidates that the reranker is offered; its own budget of tokens may end sooner.

# Equal fused scores (each arm's best, found by it alone) go to BM25: .732 against .728 nDCG@10 on scifact_dev.
_ARMS: Mapping[Stage, tuple[ArmName, ...]] = {
    "bm25": ("bm25",),
    "dense": ("dense",),
    "hybrid": ("bm25", "dense"),
    "reranked": ("bm25", "dense"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Hits, best first, and how long each stage took in milliseconds (0 for one that was not needed).

    `counts` tells how many candidates each step had, of those alone that the principal may read.
    """

    hits: tuple[Hit, ...]
    timings_ms: Mapping[Timing, float]
    counts: Mapping[Counted, int]


class HybridSearch:
    """Searches what a principal may read. Safe for many threads if its collaborators are.

    The final order fuses the arms' rankings and the reranker's by reciprocal rank: a reranker alone can lower a good
    hybrid. What the reranker did not read keeps its fused order, after what it did.

    :raises InvalidInput: rrf_k < 1.
    """

    def __init__(
        self,
        *,
        embedder: Embedder,
        sparse: SparseEncoder,
        index: VectorIndex,
        catalogue: Catalogue,
        reranker: Reranker | None = None,
        rrf_k: int = 2,
    ) -> None:
        if rrf_k < 1:
            raise InvalidInput("The constant k of reciprocal rank fusion must be at least 1.")
        self._embedder = embedder
        self._sparse = sparse
        self._index = index
        self._catalogue = catalogue
        self._reranker = reranker
        self._rrf_k = rrf_k

    def search(self, query: str, *, principal: Principal, limit: int, stage: Stage = "reranked") -> SearchResult:
        """Return the best `limit` chunks that the principal may read, fewer only if no more of them match.

        `stage` says how far to go: one arm alone (score: cosine or BM25), both fused, or both and the reranker fused.
        A principal with an empty closure gets no hits, and no model or index is called.

        :raises InvalidInput: limit < 1.
        :raises Unavailable: the index, the catalogue or a model does not answer.
        """
        if limit < 1:
            raise InvalidInput("limit must be at least 1.")
        clock = _Clock()
        if not principal.closure:
            return SearchResult(hits=(), timings_ms=clock.finished(), counts=dict.fromkeys(get_args(Counted), 0))
        reranker = self._reranker if stage == "reranked" else None
        needed = max(limit, RERANK_WINDOW) if reranker else limit
        depth = max(ARM_DEPTH, 2 * needed)
        fetches = self._fetches(query, stage=stage, principal=principal, clock=clock)
        known: set[tuple[DocumentId, VersionId]] = set()
        for _ in range(MOST_OVERTAKEN + 1):
            arms = {name: Arm(fetch, depth=depth) for name, fetch in fetches.items()}
            checked = CheckedCandidates(self._catalogue, principal=principal)
            rankings, order = self._ranked(arms, checked, needed)
            clock.add("check", checked.seconds)
            overtaken = checked.overtaken(candidate for arm in arms.values() for candidate in arm.found)
            if overtaken <= known:  # No document has changed since the arms were asked.
                break
            known |= overtaken
        reranked: list[ChunkId] = []
        if reranker is not None:
            with clock.measuring("rerank"):
                reranked = _reranked(reranker, query, [item.chunk for item in order[:needed]], checked)
            order = reciprocal_rank_fusion([*rankings.values(), reranked], k=self._rrf_k)
        hits = _hits(order[:limit], rankings=rankings, reranked=reranked, checked=checked)
        counts: dict[Counted, int] = {
            "dense": len(rankings.get("dense", ())),
            "bm25": len(rankings.get("bm25", ())),
            "fused": len(order),
            "reranked": len(reranked),
            "hits": len(hits),
        }
        return SearchResult(hits=hits, timings_ms=clock.finished(), counts=counts)

    def _fetches(self, query: str, *, stage: Stage, principal: Principal, clock: "_Clock") -> dict[ArmName, Fetch]:
        # One after the other: Edge holds the GIL, and a thread costs more than BM25's millisecond beside the embedder.
        fetches: dict[ArmName, Fetch] = {}
        if "dense" in _ARMS[stage]:
            with clock.measuring("embed"):
                vector = self._embedder.embed_query(query)

            def dense(limit: int, exclude: Collection[DocumentId]) -> list[Candidate]:
                with clock.measuring("dense"):
                    return self._index.search_dense(vector, principal=principal, limit=limit, exclude=exclude)

            fetches["dense"] = dense
        if "bm25" in _ARMS[stage]:
            terms = self._sparse.encode_query(query)

            def bm25(limit: int, exclude: Collection[DocumentId]) -> list[Candidate]:
                with clock.measuring("bm25"):
                    return self._index.search_bm25(terms, principal=principal, limit=limit, exclude=exclude)

            fetches["bm25"] = bm25
        return {name: fetches[name] for name in _ARMS[stage]}

    def _ranked(
        self, arms: Mapping[ArmName, Arm], checked: CheckedCandidates, needed: int
    ) -> tuple[dict[ArmName, list[ChunkId]], list[Fused]]:
        """Return what each arm found that may be shown, and their common order, whose first `needed` are loaded."""
        checked.check(candidate for arm in arms.values() for candidate in arm.found)  # both arms in one question
        while True:
            found = {name: arm.readable(checked) for name, arm in arms.items()}
            rankings = {name: [candidate.chunk for candidate in candidates] for name, candidates in found.items()}
            order = self._order(found, rankings)
            if checked.load(item.chunk for item in order[:needed]):
                return rankings, order

    def _order(
        self, found: Mapping[ArmName, Sequence[Candidate]], rankings: Mapping[ArmName, Sequence[ChunkId]]
    ) -> list[Fused]:
        if len(found) > 1:
            return reciprocal_rank_fusion(list(rankings.values()), k=self._rrf_k)
        return [Fused(chunk=item.chunk, score=item.score) for candidates in found.values() for item in candidates]


def _reranked(reranker: Reranker, query: str, chunks: Sequence[ChunkId], checked: CheckedCandidates) -> list[ChunkId]:
    """Return the chunks that the reranker scored, best first; equal scores keep their order."""
    rows = [checked.chunk(chunk).chunk for chunk in chunks[:RERANK_WINDOW]]
    passages = [Passage(chunk=row.id, text=row.text, header=row.header) for row in rows]
    scores = reranker.score(query, passages) if passages else []
    scored = [(score, row.id) for score, row in zip(scores, rows, strict=True) if score is not None]
    return [chunk for _, chunk in sorted(scored, key=lambda pair: -pair[0])]


def _hits(
    order: Sequence[Fused],
    *,
    rankings: Mapping[ArmName, Sequence[ChunkId]],
    reranked: Sequence[ChunkId],
    checked: CheckedCandidates,
) -> tuple[Hit, ...]:
    dense = _ranks(rankings.get("dense", ()))
    bm25 = _ranks(rankings.get("bm25", ()))
    rerank = _ranks(reranked)
    hits = []
    for item in order:
        found = checked.chunk(item.chunk)
        ranks = Ranks(dense=dense.get(item.chunk), bm25=bm25.get(item.chunk), rerank=rerank.get(item.chunk))
        hits.append(Hit(chunk=found.chunk, score=item.score, ranks=ranks, name=found.name, title=found.title))
    return tuple(hits)


def _ranks(ranking: Sequence[ChunkId]) -> dict[ChunkId, int]:
    return {chunk: rank for rank, chunk in enumerate(ranking, start=1)}


class _Clock:
    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._spent: dict[Timing, float] = dict.fromkeys(get_args(Timing), 0.0)

    @contextmanager
    def measuring(self, stage: Timing) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - started)

    def add(self, stage: Timing, seconds: float) -> None:
        self._spent[stage] += seconds

    def finished(self) -> dict[Timing, float]:
        self._spent["total"] = time.perf_counter() - self._started
        return {stage: round(seconds * 1000, 3) for stage, seconds in self._spent.items()}
