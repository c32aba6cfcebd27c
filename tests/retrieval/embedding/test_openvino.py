from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ModelUnavailable
from retrieval.embedding.openvino import OpenVinoEmbedder, batches


@given(st.lists(st.integers(min_value=1, max_value=300), max_size=60), st.integers(min_value=1, max_value=3_000))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    found = list(batches(lengths, budget))
    assert sorted(position for batch in found for position in batch) == list(range(len(lengths)))
    for batch in found:
        longest = max(lengths[position] for position in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert len(batch) <= 16


def test_a_model_that_was_not_converted_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="make setup"):
        OpenVinoEmbedder("all-MiniLM-L6-v2", cache=tmp_path)
