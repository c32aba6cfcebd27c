"""Ranking measures as BEIR and trec_eval define them. Pure; each query's measure lies in [0, 1]."""

import math
from collections.abc import Hashable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def ndcg_at(ranked: Sequence[Item], gains: Mapping[Item, float], k: int) -> float:
    """Return the normalised discounted cumulative gain: gain / log2(rank + 1), ranks from 1, over the ideal order's.

    An item that `ranked` names again gains nothing there; no positive gain at all gives 0.
    """
    ideal = sorted((gain for gain in gains.values() if gain > 0), reverse=True)
    best = _discounted(ideal[:k])
    if best == 0:
        return 0.0
    return _discounted([max(gain, 0.0) for gain in _gains(ranked[:k], gains)]) / best


def mrr_at(ranked: Sequence[Item], gains: Mapping[Item, float], k: int) -> float:
    """Return 1 / rank of the first relevant item among the first k, 0 if there is none."""
    return next((1 / rank for rank, item in enumerate(ranked[:k], start=1) if gains.get(item, 0) > 0), 0.0)


def recall_at(ranked: Sequence[Item], gains: Mapping[Item, float], k: int) -> float:
    """Return the share of the relevant items that are among the first k; nothing relevant gives 0."""
    relevant = {item for item, gain in gains.items() if gain > 0}
    return len(relevant.intersection(ranked[:k])) / len(relevant) if relevant else 0.0


def mean(values: Sequence[float]) -> float:
    """Return the mean over the queries, 0 if there are none."""
    return fmean(values) if values else 0.0


def _discounted(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def _gains(ranked: Sequence[Item], gains: Mapping[Item, float]) -> list[float]:
    seen: set[Item] = set()
    found = []
    for item in ranked:
        found.append(0.0 if item in seen else gains.get(item, 0.0))
        seen.add(item)
    return found
