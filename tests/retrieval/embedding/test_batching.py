import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.embedding.batching import batches, one_ahead


@given(
    st.lists(st.integers(min_value=1, max_value=300), max_size=60),
    st.integers(min_value=1, max_value=3_000),
    st.integers(min_value=1, max_value=20),
)
def test_batches_hold_every_text_once_within_budget_and_size(lengths: list[int], budget: int, largest: int) -> None:
    found = list(batches(lengths, budget=budget, largest=largest))
    assert sorted(position for batch in found for position in batch) == list(range(len(lengths)))
    for batch in found:
        longest = max(lengths[position] for position in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert len(batch) <= largest


@given(st.lists(st.integers(min_value=1, max_value=300), min_size=1, max_size=60))
def test_the_longest_come_first_so_that_too_little_memory_shows_at_once(lengths: list[int]) -> None:
    found = [lengths[position] for batch in batches(lengths, budget=1_000, largest=8) for position in batch]
    assert found == sorted(lengths, reverse=True)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_item_comes_in_order_with_what_was_made_of_it(count: int) -> None:
    assert list(one_ahead(str, range(count))) == [(number, str(number)) for number in range(count)]


def test_the_next_one_is_made_while_the_present_one_is_used_and_no_more_than_that() -> None:
    made = threading.Semaphore(0)
    begun: list[int] = []

    def make(item: int) -> int:
        begun.append(item)
        made.release()
        return item

    found = one_ahead(make, range(5))
    next(found)
    assert made.acquire(timeout=5)
    assert made.acquire(timeout=5), "the second is not made before it is asked for"
    assert begun == [0, 1]
    found.close()
    assert begun == [0, 1]


def test_one_alone_needs_no_thread() -> None:
    assert list(one_ahead(lambda _: threading.current_thread(), ["text"])) == [("text", threading.current_thread())]


def test_what_fails_is_raised_at_its_own_item() -> None:
    found = one_ahead(lambda item: 1 // item, [1, 0, 1])
    assert next(found) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        next(found)
