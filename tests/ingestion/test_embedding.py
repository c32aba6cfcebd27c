import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.embedding import OVERLAP, SLICE_TEXTS, overlapped, slices


def test_parts_are_told_in_order_and_never_more_than_two_are_under_way() -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    met = threading.Barrier(OVERLAP, timeout=10)

    def run(part: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if part < OVERLAP:
            met.wait()  # Passes only when two are really under way at once.
        with lock:
            under_way -= 1

    assert list(overlapped(run, range(9))) == list(range(9))
    assert most == OVERLAP


def test_what_fails_ends_it_and_nothing_after_it_is_begun() -> None:
    begun: list[int] = []

    def run(part: int) -> None:
        begun.append(part)
        if part == 2:
            raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        list(overlapped(run, range(50)))
    assert set(range(3)) <= set(begun) <= set(range(4))


def test_a_caller_that_stops_waits_for_what_is_under_way() -> None:
    ended = threading.Event()

    def run(part: int) -> None:
        if part == 1:
            ended.set()

    for part in overlapped(run, range(50)):
        assert part == 0
        break
    assert ended.is_set()


@given(tokens=st.lists(st.integers(1, 300), max_size=60), budget=st.integers(1, 1_000))
def test_a_slice_keeps_to_its_tokens_and_no_text_is_left_out_or_doubled(tokens: list[int], budget: int) -> None:
    of_text = {str(place): size for place, size in enumerate(sorted(tokens))}
    wanted = list(of_text)
    parts = list(slices(wanted, of_text, budget))
    assert [text for part in parts for text in part] == wanted
    assert all(part for part in parts)
    assert all(len(part) == 1 or sum(of_text[text] for text in part) <= budget for part in parts)
    for part, following in pairwise(parts):  # None could have taken one more.
        assert sum(of_text[text] for text in part) + of_text[following[0]] > budget


def test_a_slice_of_the_shortest_texts_is_not_endless() -> None:
    wanted = [str(number) for number in range(2 * SLICE_TEXTS + 1)]
    parts = list(slices(wanted, dict.fromkeys(wanted, 1), 10**9))
    assert [len(part) for part in parts] == [SLICE_TEXTS, SLICE_TEXTS, 1]
