"""Any sentence-transformers CrossEncoder as a reranker. Imported late: it takes seconds and brings torch along."""

from collections.abc import Sequence
from threading import Lock

import numpy as np

from core.errors import ModelUnavailable
from retrieval.embedding.weights import model_folder, short_name, weights_hash
from retrieval.ports import Passage


class CrossEncoderReranker:
    """A model by folder, or by name in the local Hugging Face cache; nothing is downloaded.

    Reads passages in the order given until `max_tokens` (query included, once per passage) are used up; the first one
    is always read. `device`: as torch names it; None takes a GPU when there is one.
    """

    def __init__(self, model: str, *, max_tokens: int, device: str | None = None) -> None:
        folder = model_folder(model)
        try:
            from sentence_transformers import CrossEncoder  # noqa: PLC0415  # seconds; only where it is used
        except ImportError as error:
            raise ModelUnavailable("This reranker needs the extra `local-models`: run `make setup`.") from error
        self._model = CrossEncoder(str(folder), device=device, local_files_only=True)
        if self._model.num_labels != 1:
            raise ModelUnavailable(f"{model!r} gives {self._model.num_labels} numbers per pair; a reranker gives one.")
        self._max_tokens = max_tokens
        self._id = f"cross-encoder:{short_name(model)}@{weights_hash(folder)[:16]}:{max_tokens}"
        self._turn = Lock()

    @property
    def id(self) -> str:
        """Model, weights and budget: together they determine the scores."""
        return self._id

    def score(self, query: str, passages: Sequence[Passage]) -> list[float | None]:
        """Return one score per passage, None for those beyond the budget."""
        pairs = [
            (query, f"{passage.header}\n{passage.text}" if passage.header else passage.text) for passage in passages
        ]
        with self._turn:
            read = self._affordable(pairs)
            if not read:
                return []
            scores = np.asarray(self._model.predict(read, show_progress_bar=False), np.float32).reshape(-1)
        return [*map(float, scores), *[None] * (len(pairs) - len(read))]

    def _affordable(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if not pairs:
            return []
        longest = int(self._model.max_seq_length or 512)
        encoded = self._model.tokenizer([one for one, _ in pairs], [other for _, other in pairs], truncation=False)
        used = 0
        for position, ids in enumerate(encoded["input_ids"]):
            used += min(len(ids), longest)
            if used > self._max_tokens and position:
                return pairs[:position]
        return pairs
