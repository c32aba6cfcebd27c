"""A unit store is a list, whatever it packs away."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import Span
from ingestion import unit_store
from ingestion.unit_store import Seam, Unit, UnitStore

places = st.integers(0, 2**31 - 1)
units = st.builds(
    Unit,
    start=places,
    end=places,
    size=st.integers(1, 10_000),
    headings=st.lists(st.sampled_from(["One", "Two"]), max_size=2).map(tuple),
    page=st.none() | st.integers(-5, 2**64),
    seam=st.sampled_from(Seam),
    columns=st.none() | st.builds(Span, start=places, end=places),
    heading=st.booleans(),
    repeatable=st.booleans(),
)


@given(st.lists(st.tuples(units, st.booleans()), max_size=60), st.integers(1, 8))
@settings(max_examples=200)
def test_what_is_read_is_what_was_appended(steps: list[tuple[Unit, bool]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_store, "BLOCK", block)
        store, expected = UnitStore(), list[Unit]()
        for unit, replaces in steps:
            if replaces and expected:
                store.replace_last(unit)
                expected[-1] = unit
            else:
                store.append(unit)
                expected.append(unit)
        assert list(store) == expected
        assert [store[-place] for place in range(1, len(expected) + 1)] == expected[::-1]
        assert store[1:7] == expected[1:7]
        assert (len(store), store.size) == (len(expected), sum(unit.size for unit in expected))


def test_beyond_the_end_is_nothing() -> None:
    store = UnitStore()
    store.append(Unit(start=0, end=1, size=1, headings=(), page=None, seam=Seam.BLOCK))
    with pytest.raises(IndexError):
        store[1]
    with pytest.raises(IndexError):
        store[-2]


def test_a_store_knows_whether_it_holds_headings_alone() -> None:
    store = UnitStore()
    heading = Unit(start=0, end=1, size=1, headings=(), page=None, seam=Seam.BLOCK, heading=True)
    store.append(heading)
    assert store.only_headings
    store.append(Unit(start=2, end=3, size=1, headings=(), page=None, seam=Seam.BLOCK))
    store.append(heading)
    assert not store.only_headings
