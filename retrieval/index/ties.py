"""Engines leave the order of equal scores open, also at the cut; here it is settled by chunk id."""

from collections.abc import Callable

from retrieval.ports import Candidate

_SPARE = 8


def settle_ties(fetch: Callable[[int], list[Candidate]], *, limit: int) -> list[Candidate]:
    """Return the best `limit` by score, equal scores by chunk id: the same every time, whatever the engine's order.

    `fetch(n)` returns the engine's best n, or fewer if there are no more. A few more than `limit` are fetched, and
    twice as many while the score at the cut goes on beyond what was fetched.
    """
    if limit < 1:
        return []
    asked = limit + _SPARE
    while True:
        found = fetch(asked)
        ordered = sorted(found, key=lambda candidate: (-candidate.score, candidate.chunk))
        if len(found) < asked or ordered[-1].score < ordered[limit - 1].score:
            return ordered[:limit]
        asked *= 2
