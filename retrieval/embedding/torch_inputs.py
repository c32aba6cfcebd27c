"""What a sentence-transformers model is given for texts, in batches. Imports torch: import it late."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from retrieval.embedding.batching import batches
from retrieval.embedding.convert import CHECKED_TEXTS
from retrieval.embedding.inputs import padded_batch
from retrieval.embedding.tokenizer import HuggingFaceTokenizer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Features = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quick:
    """What the features of every batch are, under one prompt: these tensors of its tokens, and the rest as it is."""

    tensors: frozenset[str]
    rest: Features


class TorchInputs:
    """Makes the features of batches, on the CPU, in any thread.

    The library's own way makes Python objects of every token, several times over, which holds up the thread that feeds
    a GPU. So ours is taken where it gives the very same features for the bundled texts, under the same prompt.
    """

    def __init__(self, model: "SentenceTransformer", tokenizer: HuggingFaceTokenizer) -> None:
        self.guard = RLock()  # Whoever uses the model's own tokenizer holds it: that is not made for two threads.
        self._model = model
        self._tokenizer = tokenizer
        self._max_tokens = int(model.max_seq_length or 512)
        self._quick: dict[str, _Quick | None] = {}

    def batches(
        self, texts: Sequence[str], *, prompt: str, budget: int, largest: int
    ) -> list[tuple[list[int], Features]]:
        """Return (positions, features) of batches: at most `largest` texts each, within `budget` padded tokens."""
        quick = self.quick(prompt)
        ids = self._ids(texts, prompt)
        groups = batches([len(one) for one in ids], budget=budget, largest=largest)
        if quick is None:
            return [(rows, self._theirs([texts[row] for row in rows], prompt)) for rows in groups]
        return [(rows, self._ours([ids[row] for row in rows], quick)) for rows in groups]

    def quick(self, prompt: str) -> _Quick | None:
        """Return how features are made without the library under this prompt; None where they would not be the same."""
        with self.guard:
            if prompt not in self._quick:
                self._quick[prompt] = self._compared(prompt)
            return self._quick[prompt]

    def _compared(self, prompt: str) -> _Quick | None:
        too_long = CHECKED_TEXTS[-1] * (1 + self._max_tokens // 256)
        texts = [*CHECKED_TEXTS, "", " spaces\tand\nlines ", too_long]
        theirs = self._theirs(texts, prompt)
        tensors = frozenset(name for name, value in theirs.items() if torch.is_tensor(value))
        quick = _Quick(tensors=tensors, rest={name: theirs[name] for name in theirs.keys() - tensors})
        return quick if _same(self._ours(self._ids(texts, prompt), quick), theirs) else None

    def _ids(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        return self._tokenizer.ids([prompt + text for text in texts], max_tokens=self._max_tokens)

    def _theirs(self, texts: Sequence[str], prompt: str) -> Features:
        with self.guard:
            return dict(self._model.preprocess(list(texts), prompt=prompt or None))

    def _ours(self, ids: Sequence[Sequence[int]], quick: _Quick) -> Features:
        tokens = padded_batch(ids, inputs=quick.tensors, pad_id=self._tokenizer.pad_id)
        return quick.rest | {name: torch.from_numpy(value) for name, value in tokens.items()}


def _same(ours: Features, theirs: Features) -> bool:
    return ours.keys() == theirs.keys() and all(
        np.array_equal(np.asarray(ours[name]), np.asarray(value)) for name, value in theirs.items()
    )
