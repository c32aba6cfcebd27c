"""One word for a queue, from signs that no single one of which is trusted."""

import pytest

from core.db.verdicts import GRACE_SECONDS, SLOW_SECONDS, UNTAKEN_SECONDS, PutOff, QueueFacts, Verdict, judge

REFUSED = PutOff(reason="embedder_failed", count=64, shared=True)
OWN = PutOff(reason="parser_crashed", count=64, shared=False)
LONG = SLOW_SECONDS + 1
UNTAKEN = UNTAKEN_SECONDS + 1


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (QueueFacts(), Verdict.IDLE),
        (QueueFacts(done_lately=9), Verdict.IDLE),
        (QueueFacts(ready=5), Verdict.WAITING),
        (QueueFacts(postponed=5, put_off=[OWN]), Verdict.WAITING),
        (QueueFacts(ready=5, done_lately=1), Verdict.WORKING),
        (QueueFacts(ready=5, leased=1, still_seconds=3), Verdict.WORKING),
        (QueueFacts(leased=1, still_seconds=LONG), Verdict.SLOW),
        (QueueFacts(leased=1, still_seconds=LONG, done_lately=1), Verdict.WORKING),
        (QueueFacts(leased=1, still_seconds=None), Verdict.WORKING),
        (QueueFacts(postponed=64, put_off=[REFUSED]), Verdict.SLOW),
        (QueueFacts(postponed=64, leased=64, still_seconds=1, put_off=[REFUSED]), Verdict.SLOW),
        (QueueFacts(postponed=64, done_lately=64, put_off=[REFUSED]), Verdict.WORKING),
        (QueueFacts(lapsed=2, lapsed_seconds=GRACE_SECONDS + 1), Verdict.DEAD),
        (QueueFacts(lapsed=2, lapsed_seconds=GRACE_SECONDS - 1), Verdict.WAITING),
        (QueueFacts(lapsed=2, lapsed_seconds=GRACE_SECONDS + 1, ready=900, postponed=64, put_off=[REFUSED]), "dead"),
        (QueueFacts(ready=1, untaken_seconds=UNTAKEN_SECONDS - 1), Verdict.WAITING),
        (QueueFacts(ready=1, untaken_seconds=UNTAKEN), Verdict.DEAD),
        (QueueFacts(ready=1, untaken_seconds=UNTAKEN, postponed=1, put_off=[OWN]), Verdict.DEAD),
        (QueueFacts(ready=1, untaken_seconds=UNTAKEN, postponed=1, put_off=[REFUSED]), Verdict.SLOW),
        (QueueFacts(ready=1, untaken_seconds=UNTAKEN, leased=1, still_seconds=1), Verdict.WORKING),
        (QueueFacts(ready=1, untaken_seconds=UNTAKEN, done_lately=1), Verdict.WORKING),
    ],
)
def test_the_signs_together_give_the_verdict(facts: QueueFacts, verdict: str) -> None:
    assert judge(facts)[0] == verdict


@pytest.mark.parametrize("alive", [{"leased": 1, "still_seconds": 2.0}, {"done_lately": 1}])
def test_a_queue_where_somebody_works_is_not_dead_however_many_leases_lapsed(alive: dict[str, float]) -> None:
    facts = QueueFacts(lapsed=50, lapsed_seconds=3_600.0, **alive)  # type: ignore[arg-type]  # counts and seconds alike
    assert judge(facts)[0] is Verdict.WORKING


def test_the_sentence_names_the_part_that_refuses() -> None:
    assert "embedder_failed" in judge(QueueFacts(postponed=64, put_off=[REFUSED, OWN]))[1]
    assert "parser_crashed" not in judge(QueueFacts(postponed=64, put_off=[REFUSED, OWN]))[1]
