"""Any sentence-transformers bi-encoder, on CPU or GPU. Imported late: it takes seconds and brings torch along."""

from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.errors import ModelUnavailable
from retrieval.embedding.tokenizer import HuggingFaceTokenizer
from retrieval.embedding.weights import model_folder, short_name, weights_hash
from retrieval.ports import TokenVectors, Vector


class SentenceTransformersEmbedder:
    """A model by packaged name, folder, or name in the local Hugging Face cache; nothing is downloaded.

    `device`: as torch names it; None takes a GPU when there is one. May be called from many threads; they take turns.
    """

    def __init__(self, model: str, *, device: str | None = None, batch_size: int = 32) -> None:
        folder = model_folder(model)
        try:
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415  # seconds; only where it is used
        except ImportError as error:
            raise ModelUnavailable("This embedder needs the extra `local-models`: run `make setup`.") from error
        self._model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        backend = getattr(self._model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelUnavailable(f"The tokenizer of {model!r} has no fast form, which chunking needs.")
        self._tokenizer = HuggingFaceTokenizer(Tokenizer.from_str(backend.to_str()))  # a copy: the model pads its own
        self._id = f"sentence-transformers:{short_name(model)}@{weights_hash(folder)[:16]}"
        self._max_tokens = int(self._model.max_seq_length or 512)
        self._dim = int(self._model.get_embedding_dimension() or 0)
        self._batch_size = batch_size
        self._turn = Lock()

    @property
    def id(self) -> str:
        """Name and weights hash: two embedders with one id give the same vectors."""
        return self._id

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond is cut off."""
        return self._max_tokens

    @property
    def tokenizer(self) -> HuggingFaceTokenizer:
        """The model's tokenizer."""
        return self._tokenizer

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
        encoded = self._tokenizer.encode(texts, max_tokens=self._max_tokens, spans=True)
        with self._turn:
            found = self._model.encode(
                list(texts),
                output_value="token_embeddings",
                prompt="",
                batch_size=self._batch_size,
                show_progress_bar=False,
            )
        vectors = []
        for text, values in zip(encoded, found, strict=True):
            rows = np.asarray(values.float().cpu().numpy(), np.float32)[text.body]
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            vectors.append(TokenVectors(vectors=rows, spans=tuple(text.spans)))
        return vectors

    def _embed(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self._dim), np.float32)
        with self._turn:
            values = self._model.encode(
                list(texts),
                prompt_name=prompt if prompt in self._model.prompts else None,
                batch_size=self._batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        return np.asarray(values, np.float32)
