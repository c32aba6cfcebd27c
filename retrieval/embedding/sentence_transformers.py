"""Any sentence-transformers bi-encoder, on CPU or GPU. Imported late: it takes seconds and brings torch along."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.errors import ModelUnavailable
from retrieval.embedding.half_precision import Precision, load_fastest
from retrieval.embedding.tokenizer import HuggingFaceTokenizer
from retrieval.embedding.weights import model_folder, short_name, weights_hash
from retrieval.ports import TokenVectors, Vector

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from retrieval.embedding.torch_batches import TorchBatches

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    model: "SentenceTransformer"
    precision: Precision
    tokenizer: HuggingFaceTokenizer
    batches: "TorchBatches"


class SentenceTransformersEmbedder:
    """A model by packaged name, folder, or name in the local Hugging Face cache; nothing is downloaded.

    `device`: as torch names it; None takes a GPU when there is one. On a GPU the weights are held in half precision
    where that is measured to be faster and to keep the vectors. May be called from many threads; they take turns.
    The model is loaded when first used; its id is there at once.

    :raises ModelUnavailable: it is not on this machine; or, when first used, it cannot be loaded or has no fast
        tokenizer.
    """

    def __init__(self, model: str, *, device: str | None = None) -> None:
        self._name = model
        self._folder = model_folder(model)
        if find_spec("sentence_transformers") is None:
            raise ModelUnavailable("This embedder needs the extra `local-models`: run `make setup`.")
        self._device = device
        self._loading = Lock()

    @cached_property
    def id(self) -> str:
        """Name and weights hash. Device and precision change vectors by less than a cosine of .001."""
        return f"sentence-transformers:{short_name(self._name)}@{weights_hash(self._folder)[:16]}"

    @property
    def precision(self) -> str:
        """What the weights are held in, and where."""
        return f"{self._ready.precision.name} on {self._ready.model.device.type}"

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._ready.model.get_embedding_dimension() or 0)

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond is cut off."""
        return int(self._ready.model.max_seq_length or 512)

    @property
    def tokenizer(self) -> HuggingFaceTokenizer:
        """The model's tokenizer."""
        return self._ready.tokenizer

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return shape (len(texts), dim); rows in the order of `texts`."""
        return self._embed(texts, "document")

    def embed_query(self, text: str) -> Vector:
        """Return shape (dim,)."""
        return np.ascontiguousarray(self._embed([text], "query")[0])

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of each text (special tokens left out)."""
        if not texts:
            return []
        encoded = self.tokenizer.encode(texts, max_tokens=self.max_tokens, spans=True)
        vectors = []
        for text, values in zip(encoded, self._ready.batches.tokens(texts), strict=True):
            rows = values[text.body]
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            vectors.append(TokenVectors(vectors=rows, spans=tuple(text.spans)))
        return vectors

    def _embed(self, texts: Sequence[str], name: str) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        model = self._ready.model
        prompt = model.prompts.get(name if name in model.prompts else model.default_prompt_name)
        return self._ready.batches.vectors(texts, prompt=prompt or "")

    @property
    def _ready(self) -> _Loaded:
        with self._loading:
            return self._loaded

    @cached_property
    def _loaded(self) -> _Loaded:
        started = time.perf_counter()
        try:
            from retrieval.embedding.torch_batches import TorchBatches  # noqa: PLC0415  # draws torch in

            model, precision = load_fastest(self._load)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise ModelUnavailable(f"The model in {self._folder} cannot be loaded ({type(error).__name__}).") from error
        seconds = time.perf_counter() - started
        log.info(
            "model_loaded",
            embedder=self.id,
            device=str(model.device),
            precision=precision.name,
            cosines=precision.cosines,
            tokens_per_second=precision.rates,
            seconds=round(seconds, 3),
        )
        # A copy: the model cuts and pads with its own.
        tokenizer = HuggingFaceTokenizer(Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str()))
        batches = TorchBatches(model, tokenizer)
        return _Loaded(model=model, precision=precision, tokenizer=tokenizer, batches=batches)

    def _load(self) -> "SentenceTransformer":
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415  # seconds; only where it is used

        model = SentenceTransformer(str(self._folder), device=self._device, local_files_only=True)
        if getattr(model.tokenizer, "backend_tokenizer", None) is None:
            raise ModelUnavailable(f"The tokenizer of {self._name!r} has no fast form, which chunking needs.")
        return model
