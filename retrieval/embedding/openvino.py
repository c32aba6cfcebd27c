"""The converted model on the CPU: openvino, tokenizers and numpy, and neither torch nor transformers."""

import queue
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelUnavailable
from retrieval.embedding.converted import find_converted
from retrieval.embedding.runtime import best_precision, load_openvino
from retrieval.embedding.tokenizer import EncodedText, HuggingFaceTokenizer
from retrieval.ports import TokenVectors, Vector

if TYPE_CHECKING:
    from openvino import InferRequest  # type: ignore[import-untyped]  # it ships no types

Mode = Literal["latency", "throughput"]
_LARGEST_BATCH = 16
_BATCH_TOKENS = 2_048  # Padded tokens of one inference: larger ones are no faster and keep more memory.
_INTERACTIVE_TOKENS = 640  # The same in latency mode: another query need not wait longer for its turn.
_STEP = 8  # Lengths are padded to multiples of this: each new shape costs compilation and memory once.
_READINGS = 8  # Texts whose vectors are kept: those of the questions under way.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    sentence: Vector
    tokens: TokenVectors


class OpenVinoEmbedder:
    """Serves a model that `convert` put into the cache. All methods may be called from many threads at once.

    `mode` is `latency` where queries are answered (all cores work on one inference) and `throughput` where documents
    are embedded (an inference per stream, two or more at once); every method works in both. `threads` 0: all cores.
    Raises `ModelUnavailable` when the model has not been converted.
    """

    def __init__(self, model: str, *, cache: Path, threads: int = 0, mode: Mode = "latency") -> None:
        converted = find_converted(cache, model)
        openvino = load_openvino()
        core = openvino.Core()
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": mode.upper(),
            "INFERENCE_PRECISION_HINT": best_precision(core),
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = core.compile_model(converted.graph, "CPU", options)
        except RuntimeError as error:
            raise ModelUnavailable(
                f"The converted model in {converted.folder} cannot be loaded: delete the folder and run `make setup`."
            ) from error
        self._meta = converted.meta
        self._tokenizer = HuggingFaceTokenizer.from_file(converted.tokenizer)
        self._inputs = frozenset(name for port in compiled.inputs for name in port.get_names())
        self._batch_tokens = _BATCH_TOKENS if mode == "throughput" else _INTERACTIVE_TOKENS
        self._readings: dict[str, _Reading] = {}  # in the order they were made
        self._guard = Lock()
        self._requests: queue.SimpleQueue[InferRequest] = queue.SimpleQueue()
        for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
            self._requests.put(compiled.create_infer_request())

    @property
    def id(self) -> str:
        """Name and weights hash: two embedders with one id give the same vectors."""
        return self._meta.embedder_id

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._meta.dim

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond is cut off."""
        return self._meta.max_tokens

    @property
    def tokenizer(self) -> HuggingFaceTokenizer:
        """The model's tokenizer."""
        return self._tokenizer

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return shape (len(texts), dim); rows in the order of `texts`."""
        prompt = self._meta.document_prompt
        encoded = self._encode([prompt + text for text in texts] if prompt else texts, spans=False)
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for rows, values in self._infer(encoded, "sentence"):
            vectors[rows] = values
        return vectors

    def embed_query(self, text: str) -> Vector:
        """Return shape (dim,)."""
        return self._alone(self._meta.query_prompt + text).sentence

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of each text (special tokens left out)."""
        if len(texts) == 1:
            return [self._alone(texts[0]).tokens]
        encoded = self._encode(texts, spans=True)
        found: dict[int, TokenVectors] = {}
        for rows, values in self._infer(encoded, "tokens"):
            for row, vectors in zip(rows, values, strict=True):
                found[row] = TokenVectors(vectors=vectors[encoded[row].body], spans=tuple(encoded[row].spans))
        return [found[row] for row in range(len(texts))]

    def _alone(self, text: str) -> "_Reading":
        """Read one text by itself, unless it was among the last ones: a question is wanted in both of its forms."""
        with self._guard:
            held = self._readings.get(text)
        if held is not None:
            return held
        [encoded] = self._encode([text], spans=True)
        request = self._requests.get()
        try:
            request.start_async(self._batch([encoded.ids]))
            request.wait()
            sentence = request.get_tensor("sentence").data[0].astype(np.float32, copy=True)
            vectors = request.get_tensor("tokens").data[0].astype(np.float32)[encoded.body]
        finally:
            self._requests.put(request)
        sentence.setflags(write=False)  # Both are handed out more than once.
        vectors.setflags(write=False)
        reading = _Reading(sentence=sentence, tokens=TokenVectors(vectors=vectors, spans=tuple(encoded.spans)))
        with self._guard:
            self._readings[text] = reading
            while len(self._readings) > _READINGS:
                del self._readings[next(iter(self._readings))]
        return reading

    def _encode(self, texts: Sequence[str], *, spans: bool) -> list[EncodedText]:
        return self._tokenizer.encode(texts, max_tokens=self.max_tokens, spans=spans)

    def _infer(self, encoded: Sequence[EncodedText], output: str) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield (rows, values) per batch, as many inferences under way as there are free requests."""
        running: deque[tuple[InferRequest, list[int]]] = deque()
        try:
            for rows in batches([len(text.ids) for text in encoded], self._batch_tokens):
                request = self._free_request()
                while request is None and running:  # Never wait for others while holding what they may wait for.
                    yield self._collect(running, output)
                    request = self._free_request()
                request = request or self._requests.get()
                running.append((request, rows))
                request.start_async(self._batch([encoded[row].ids for row in rows]))
            while running:
                yield self._collect(running, output)
        finally:
            while running:  # The caller gave up, or an inference failed: give back what is still under way.
                request, _ = running.popleft()
                request.wait()
                self._requests.put(request)

    def _free_request(self) -> "InferRequest | None":
        try:
            return self._requests.get_nowait()
        except queue.Empty:
            return None

    def _collect(
        self, running: "deque[tuple[InferRequest, list[int]]]", output: str
    ) -> tuple[list[int], NDArray[np.float32]]:
        request, rows = running.popleft()
        try:
            request.wait()
            values: NDArray[np.float32] = request.get_tensor(output).data.astype(np.float32, copy=True)
        finally:
            self._requests.put(request)
        return rows, values

    def _batch(self, ids: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int64]]:
        longest = max(map(len, ids))
        width = min(-(-longest // _STEP) * _STEP, max(self.max_tokens, longest))
        tokens = np.full((len(ids), width), self._tokenizer.pad_id, np.int64)
        mask = np.zeros_like(tokens)
        for row, values in enumerate(ids):
            tokens[row, : len(values)] = values
            mask[row, : len(values)] = 1
        given = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
        return {name: value for name, value in given.items() if name in self._inputs}


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield positions of `lengths` grouped by similar length, longest first, within `budget` padded tokens a batch."""
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    batch: list[int] = []
    for position in order:
        if batch and (len(batch) == _LARGEST_BATCH or (len(batch) + 1) * lengths[batch[0]] > budget):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
