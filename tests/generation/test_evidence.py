from hypothesis import given
from hypothesis import strategies as st

from generation.evidence import estimated_tokens, evidence_budget, pack, recent_turns
from generation.ports import Turn
from tests.generation.samples import chunk_of, hits_of


@given(st.lists(st.integers(1, 3_000), max_size=15), st.integers(-100, 3_000))
def test_what_is_packed_fits_keeps_its_order_and_is_numbered_from_one(sizes: list[int], budget: int) -> None:
    hits = hits_of(*(chunk_of("x" * size) for size in sizes))
    packed = pack(hits, budget_tokens=budget)
    assert sum(estimated_tokens(item.chunk.text) for item in packed) <= max(budget, 0)
    assert [item.n for item in packed] == list(range(1, len(packed) + 1))
    order = [hit.chunk.id for hit in hits]
    assert [order.index(item.chunk.id) for item in packed] == sorted(order.index(item.chunk.id) for item in packed)


def test_a_passage_that_repeats_a_better_one_is_left_out() -> None:
    first = chunk_of("x" * 100)
    repeated, further = (
        chunk_of(text, start=start, document=first.document, version=first.version)
        for text, start in (("y" * 100, 20), ("z" * 100, 70))
    )
    assert [item.chunk for item in pack(hits_of(first, repeated, further), budget_tokens=10_000)] == [first, further]


def test_a_passage_that_does_not_fit_makes_room_for_a_shorter_one() -> None:
    long, short = chunk_of("x" * 4_000), chunk_of("y" * 100)
    assert [item.chunk for item in pack(hits_of(long, short), budget_tokens=200)] == [short]


def test_estimates_count_scripts_of_more_tokens_higher() -> None:
    assert estimated_tokens("你好世界") > estimated_tokens("abcd")
    assert estimated_tokens("") == 0


def test_the_newest_turns_stay() -> None:
    turns = [Turn(question=str(number) * 100, answer="a" * 300) for number in range(6)]
    kept = recent_turns(turns, context_tokens=1_200)
    assert kept == tuple(turns[-2:])


def test_the_budget_is_what_the_rest_leaves() -> None:
    turn = Turn(question="q" * 35, answer="a" * 70)
    assert evidence_budget(context_tokens=1_000, max_output_tokens=200, fixed=["f" * 350], turns=[turn]) == 670
