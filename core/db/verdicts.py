"""What to think of a queue: numbers in, one word and one sentence out.

No single sign is trusted. A worker that is slow and one that is dead both finish nothing: what tells them apart is
whether the leases are still being renewed. A model that answers "too many requests" and one that is gone both put work
off: what tells is whether anything gets done beside that. A worker that was never there leaves no lease that could
lapse: what tells is that something has been ready for a while, and nobody took anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SLOW_SECONDS = 120.0  # Nothing moved for so long although somebody is at it: as long as one parse may take.
LATELY_SECONDS = 60.0  # What was done in this time shows that somebody works.
GRACE_SECONDS = 15.0  # A lease that lapsed is taken up at the next ring, and that is every five seconds.
UNTAKEN_SECONDS = 60.0  # Who is there takes what is ready in a moment; who starts, loads a model first.


class Verdict(StrEnum):
    """What an operator should think of a queue."""

    IDLE = "idle"
    WORKING = "working"
    WAITING = "waiting"
    SLOW = "slow"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """Stages that wait for another attempt, by the reason. `shared`: some part that every document needs refused."""

    reason: str
    count: int
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """What was seen of a queue in one moment.

    `ready` may be claimed now, `postponed` later; `leased` is in somebody's hand, `lapsed` was in the hand of somebody
    who has not been heard of since. `lapsed_seconds` is how long ago the first of those lapsed, `still_seconds` how
    long ago the leased stage that moved last did (None: there is none), `done_lately` what ended in the last minute.
    `untaken_seconds` is for how long something has been ready and nobody took anything (`core.db.untaken`), 0 where
    somebody did.
    """

    ready: int = 0
    postponed: int = 0
    leased: int = 0
    lapsed: int = 0
    lapsed_seconds: float = 0.0
    still_seconds: float | None = None
    done_lately: int = 0
    untaken_seconds: float = 0.0
    put_off: Sequence[PutOff] = ()


def judge(facts: QueueFacts) -> tuple[Verdict, str]:
    """Return the verdict, and why."""
    if not facts.ready + facts.postponed + facts.leased + facts.lapsed:
        return Verdict.IDLE, "Nothing to do."
    trouble = _trouble(facts)
    if trouble is not None:
        return trouble
    if facts.leased or facts.done_lately:
        return Verdict.WORKING, f"{facts.leased} being worked on."
    if facts.ready or facts.lapsed:
        return Verdict.WAITING, f"{facts.ready + facts.lapsed} could be worked on, and nobody has taken any."
    return Verdict.WAITING, f"{facts.postponed} put off until the next attempt."


def _trouble(facts: QueueFacts) -> tuple[Verdict, str] | None:
    if facts.lapsed and not facts.leased and not facts.done_lately and facts.lapsed_seconds > GRACE_SECONDS:
        return Verdict.DEAD, (
            f"{facts.lapsed} in the hands of workers that have not been heard of since their time was up "
            f"{facts.lapsed_seconds:.0f} s ago, and nobody took them over."
        )
    refused = [one for one in facts.put_off if one.shared]
    refusals = sum(one.count for one in refused)
    if refusals > facts.done_lately:
        reasons = ", ".join(sorted({one.reason for one in refused}))
        return Verdict.SLOW, f"{refusals} put off because a part that they need refuses or does not answer: {reasons}."
    still = facts.still_seconds
    if facts.leased and still is not None and still > SLOW_SECONDS and not facts.done_lately:
        return Verdict.SLOW, f"{facts.leased} in the hands of living workers, and nothing has moved for {still:.0f} s."
    if facts.ready and not facts.leased and not facts.done_lately and facts.untaken_seconds > UNTAKEN_SECONDS:
        return Verdict.DEAD, (
            f"{facts.ready} could be worked on, and nobody has taken any for {facts.untaken_seconds:.0f} s: no worker "
            "of this queue runs, or none hears its broker."
        )
    return None
