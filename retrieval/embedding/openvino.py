"""The converted model on the CPU: openvino, tokenizers and numpy, and neither torch nor transformers."""

import queue
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelUnavailable
from retrieval.embedding.batching import batches
from retrieval.embedding.converted import QUANTISED, find_converted
from retrieval.embedding.inputs import padded_batch
from retrieval.embedding.precision import fastest_precision, known_precision
from retrieval.embedding.runtime import load_openvino
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """The compiled model: what it computes with, what it takes, and its requests that are free."""

    precision: str
    inputs: frozenset[str]
    requests: "queue.SimpleQueue[InferRequest]"


class OpenVinoEmbedder:
    """Serves a model that `convert` put into the cache. All methods may be called from many threads at once.

    The model is loaded when the first text is embedded: whoever wants its id, its size or its tokenizer does not wait.

    `mode` is `latency` where queries are answered (all cores work on one inference) and `throughput` where documents
    are embedded (an inference per stream, two or more at once); every method works in both. `threads` 0: all cores.
    `quantised` takes the model's int8 form, which is another embedder with an id of its own.

    :raises ModelUnavailable: it has not been converted, or quantised; or, at the first text, it cannot be loaded.
    """

    def __init__(
        self, model: str, *, cache: Path, threads: int = 0, mode: Mode = "latency", quantised: bool = False
    ) -> None:
        self._converted = find_converted(cache, model, quantised=quantised)
        self._meta = self._converted.meta
        self._threads = threads
        self._mode = mode
        self._batch_tokens = _BATCH_TOKENS if mode == "throughput" else _INTERACTIVE_TOKENS
        self._readings: dict[str, _Reading] = {}  # in the order they were made
        self._guard = Lock()
        self._loading = Lock()

    @property
    def id(self) -> str:
        """Name and weights hash: two embedders with one id give the same vectors."""
        return self._meta.embedder_id

    @property
    def precision(self) -> str:
        """What it computes with, and where."""
        stored = f"{QUANTISED} and " if self._meta.quantised else ""
        return f"{stored}{self._loaded.precision} on cpu"

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._meta.dim

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond is cut off."""
        return self._meta.max_tokens

    @cached_property
    def tokenizer(self) -> HuggingFaceTokenizer:
        """The model's tokenizer."""
        return HuggingFaceTokenizer.from_file(self._converted.tokenizer)

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

    @property
    def _loaded(self) -> "_Loaded":
        with self._loading:
            return self._compiled

    @cached_property
    def _compiled(self) -> "_Loaded":
        # Who answers queries does not stop to measure; who embeds thousands of documents may.
        choose = fastest_precision if self._mode == "throughput" else known_precision
        try:
            core = load_openvino().Core()
            precision = choose(core, self._converted)
            options: dict[str, Any] = {
                "PERFORMANCE_HINT": self._mode.upper(),
                "INFERENCE_PRECISION_HINT": precision,
            }
            if self._threads:
                options["INFERENCE_NUM_THREADS"] = self._threads
            compiled = core.compile_model(self._converted.graph, "CPU", options)
            requests: queue.SimpleQueue[InferRequest] = queue.SimpleQueue()
            for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
                requests.put(compiled.create_infer_request())
        except RuntimeError as error:
            raise ModelUnavailable(
                f"The converted model in {self._converted.folder} cannot be loaded: delete the folder and run "
                "`make setup`."
            ) from error
        inputs = frozenset(name for port in compiled.inputs for name in port.get_names())
        return _Loaded(precision=precision, inputs=inputs, requests=requests)

    def _alone(self, text: str) -> "_Reading":
        """Read one text by itself, unless it was among the last ones: a question is wanted in both of its forms."""
        with self._guard:
            held = self._readings.get(text)
        if held is not None:
            return held
        [encoded] = self._encode([text], spans=True)
        request = self._loaded.requests.get()
        try:
            request.start_async(self._batch([encoded.ids]))
            request.wait()
            sentence = request.get_tensor("sentence").data[0].astype(np.float32, copy=True)
            vectors = request.get_tensor("tokens").data[0].astype(np.float32)[encoded.body]
        finally:
            self._loaded.requests.put(request)
        sentence.setflags(write=False)  # Both are handed out more than once.
        vectors.setflags(write=False)
        reading = _Reading(sentence=sentence, tokens=TokenVectors(vectors=vectors, spans=tuple(encoded.spans)))
        with self._guard:
            self._readings[text] = reading
            while len(self._readings) > _READINGS:
                del self._readings[next(iter(self._readings))]
        return reading

    def _encode(self, texts: Sequence[str], *, spans: bool) -> list[EncodedText]:
        return self.tokenizer.encode(texts, max_tokens=self.max_tokens, spans=spans)

    def _infer(self, encoded: Sequence[EncodedText], output: str) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield (rows, values) per batch, as many inferences under way as there are free requests."""
        running: deque[tuple[InferRequest, list[int]]] = deque()
        try:
            lengths = [len(text.ids) for text in encoded]
            for rows in batches(lengths, budget=self._batch_tokens, largest=_LARGEST_BATCH):
                request = self._free_request()
                while request is None and running:  # Never wait for others while holding what they may wait for.
                    yield self._collect(running, output)
                    request = self._free_request()
                request = request or self._loaded.requests.get()
                running.append((request, rows))
                request.start_async(self._batch([encoded[row].ids for row in rows]))
            while running:
                yield self._collect(running, output)
        finally:
            while running:  # The caller gave up, or an inference failed: give back what is still under way.
                request, _ = running.popleft()
                request.wait()
                self._loaded.requests.put(request)

    def _free_request(self) -> "InferRequest | None":
        try:
            return self._loaded.requests.get_nowait()
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
            self._loaded.requests.put(request)
        return rows, values

    def _batch(self, ids: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int64]]:
        longest = max(map(len, ids))
        width = min(-(-longest // _STEP) * _STEP, max(self.max_tokens, longest))
        return padded_batch(ids, inputs=self._loaded.inputs, pad_id=self.tokenizer.pad_id, width=width)
