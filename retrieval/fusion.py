"""Reciprocal rank fusion: rankings are merged by rank alone, so scores of different scales never meet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.ids import ChunkId


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """A chunk with its fused score; higher is better."""

    chunk: ChunkId
    score: float


def reciprocal_rank_fusion(rankings: Sequence[Sequence[ChunkId]], *, k: int) -> list[Fused]:
    """Return every ranked chunk once, best first: `score = sum over the rankings of 1 / (k + rank)`, rank from 0.

    This is Qdrant's formula, whose default is k = 2. Cormack, Clarke and Büttcher (SIGIR 2009) count ranks from 1, so
    their k = 60 is k = 61 here. A chunk that a ranking lacks gets nothing from it. Equal scores are ordered by rank in
    the first ranking, then in the second, and so on: never by id, so that the same corpus ingested twice fuses alike.

    :raises ValueError: k < 1, or a ranking names a chunk twice.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    ranks: dict[ChunkId, list[float]] = {}
    for position, ranking in enumerate(rankings):
        for rank, chunk in enumerate(ranking):
            places = ranks.setdefault(chunk, [math.inf] * len(rankings))
            if places[position] != math.inf:
                raise ValueError(f"ranking {position} names {chunk} twice")
            places[position] = rank
    # fsum rounds once: the score of a set of ranks does not depend on which ranking gave which.
    fused = [Fused(chunk=chunk, score=math.fsum(1 / (k + rank) for rank in places)) for chunk, places in ranks.items()]
    return sorted(fused, key=lambda item: (-item.score, ranks[item.chunk]))
