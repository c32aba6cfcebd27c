"""Texts through a sentence-transformers model in batches that keep a GPU busy. Imports torch: import it late."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from retrieval.embedding.batching import one_ahead
from retrieval.embedding.torch_inputs import Features, TorchInputs

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from retrieval.embedding.tokenizer import HuggingFaceTokenizer

log = structlog.get_logger()
BUDGET = 16_384  # Padded tokens of one inference: high enough matrices for a large GPU, in some 2 GB of a small one.
_LEAST = 512  # A budget is not halved below that.
_ON_CPU, _ON_GPU = 32, 512  # Texts of one inference: a CPU gains nothing by more, short ones on a GPU do.
_WINDOW = 512  # Texts that are tokenised at once and sorted by length: a few batches.

Batch = tuple[list[int], Features]


class TorchBatches:
    """Reads texts in turns: one thread has the model, others tokenise meanwhile, and so do its own next texts.

    `budget`: padded tokens of one inference. Where a GPU has no memory for so many, it is half of them from then on.
    """

    def __init__(
        self, model: "SentenceTransformer", tokenizer: "HuggingFaceTokenizer", *, budget: int = BUDGET
    ) -> None:
        self._model = model.eval()
        self._inputs = TorchInputs(model, tokenizer)
        self._device = model.device
        self._budget = budget
        self._largest = _ON_CPU if self._device.type == "cpu" else _ON_GPU
        self._turn = Lock()

    def vectors(self, texts: Sequence[str], *, prompt: str) -> NDArray[np.float32]:
        """Return shape (len(texts), dim), of unit length, rows in order. There must be a text.

        :raises RuntimeError: the device failed, or has no memory for one text alone.
        """
        windows = [texts[start : start + _WINDOW] for start in range(0, len(texts), _WINDOW)]
        found: list[NDArray[np.float32]] = []
        with closing(one_ahead(partial(self._prepared, prompt=prompt), windows)) as prepared:
            first = next(prepared)  # Tokenised while others have their turn.
            with self._turn, torch.inference_mode():
                for window, batches in chain([first], prepared):
                    found.append(self._window(window, batches, prompt))
        return np.concatenate(found)

    def tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the vectors of each text's tokens, special tokens included, shape (tokens, dim), not normalised."""
        with self._turn, self._inputs.guard:
            found = self._model.encode(
                list(texts), output_value="token_embeddings", prompt="", batch_size=_ON_CPU, show_progress_bar=False
            )
        return [values.float().cpu().numpy() for values in found]

    def _prepared(self, texts: Sequence[str], *, prompt: str) -> list[Batch]:
        batches = self._inputs.batches(texts, prompt=prompt, budget=self._budget, largest=self._largest)
        if self._device.type != "cuda":
            return batches
        # From pinned memory they are copied while the GPU works.
        return [(rows, _changed(features, torch.Tensor.pin_memory)) for rows, features in batches]

    def _window(self, texts: Sequence[str], batches: Sequence[Batch], prompt: str) -> NDArray[np.float32]:
        """Return the vectors of the texts. They are fetched at the end, once: fetching waits for the device."""
        kept = [values for batch in batches for values in self._read(batch, texts, prompt)]
        values: NDArray[np.float32] = torch.cat(kept).cpu().numpy()
        vectors = np.empty_like(values)
        vectors[[row for rows, _ in batches for row in rows]] = values
        return vectors

    def _read(self, batch: Batch, texts: Sequence[str], prompt: str) -> list[torch.Tensor]:
        """Return the unit vectors of the batch, on the device, in its order; in parts where all do not fit at once."""
        rows, features = batch
        try:
            moved = _changed(features, partial(torch.Tensor.to, device=self._device, non_blocking=True))
            vectors = self._model(moved)["sentence_embedding"].float()
            return [torch.nn.functional.normalize(vectors, p=2, dim=1)]
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise
        # Beyond the clause, whose traceback would hold on to what has to be freed.
        torch.cuda.empty_cache()
        self._budget = max(min(self._budget, features["input_ids"].numel()) // 2, _LEAST)
        log.warning("embedding_memory_short", texts=len(rows), budget=self._budget)
        apart = [texts[row] for row in rows]  # Sorted already, so their parts, too, come in this order.
        parts = self._inputs.batches(apart, prompt=prompt, budget=self._budget, largest=(len(rows) + 1) // 2)
        return [values for part in parts for values in self._read(part, apart, prompt)]


def _changed(features: Mapping[str, Any], change: Any) -> Features:  # noqa: ANN401  # mypy does not read torch
    return {name: change(value) if torch.is_tensor(value) else value for name, value in features.items()}
