"""The tensors of one inference, from token ids."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def padded_batch(
    ids: Sequence[Sequence[int]], *, inputs: Collection[str], pad_id: int, width: int = 0
) -> dict[str, NDArray[np.int64]]:
    """Return those tensors that the graph has among its `inputs`, each of shape (len(ids), max(width, longest))."""
    width = max(width, *map(len, ids))
    tokens = np.full((len(ids), width), pad_id, np.int64)
    mask = np.zeros_like(tokens)
    for row, values in enumerate(ids):
        tokens[row, : len(values)] = values
        mask[row, : len(values)] = 1
    given = dict(zip(INPUTS, (tokens, mask, np.zeros_like(tokens)), strict=True))
    return {name: value for name, value in given.items() if name in inputs}
