"""`footnote bench gpu`: how much of what a device can multiply the embedder makes use of, with random weights."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from core.settings import Settings
from footnote.bench.device import device_name, product_rates
from footnote.bench.random_model import SPECIAL_TOKENS, random_texts, save_random_model
from footnote.bench.shapes import SHAPES, flops
from retrieval.factory import build_embedder

OURS, PEER = "ours", "sentence-transformers"
WARM_UP = 64  # Texts before the clock starts: kernels are chosen and memory is taken.

Embed = Callable[[Sequence[str]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """What was measured. `products`: FLOP/s of matrix products on the device, in the precision that ours ran in.

    Tokens are those of the texts with the model's special tokens, and without padding. Rates of texts are tokens a
    second, of ours and of `SentenceTransformer.encode` at its defaults; like their ratio, the median of the rounds.
    """

    device: str
    shape: str
    precision: str
    texts: int
    tokens: int
    flops: int
    rate: float
    peer_rate: float
    ratio: float
    tokenizer_rate: float
    products: Mapping[str, float]

    @property
    def model_flops(self) -> float:
        """Operations a second that the formula of `shapes` gives for our rate."""
        return self.rate * self.flops / self.tokens

    @property
    def utilization(self) -> dict[str, float]:
        """Our operations a second as a part of each measured rate of products."""
        return {name: self.model_flops / rate for name, rate in self.products.items()}

    def as_dict(self) -> dict[str, object]:
        return {
            "device": self.device,
            "shape": self.shape,
            "precision": self.precision,
            "texts": self.texts,
            "tokens": self.tokens,
            "mflop_per_token": round(self.flops / self.tokens / 1e6, 3),
            "tokens_per_second": {
                OURS: round(self.rate),
                PEER: round(self.peer_rate),
                "tokenizer": round(self.tokenizer_rate),
            },
            "ratio": round(self.ratio, 2),
            "gflops": {
                "model": round(self.model_flops / 1e9, 2),
                **{name: round(rate / 1e9, 2) for name, rate in self.products.items()},
            },
            "utilization": {name: round(part, 4) for name, part in self.utilization.items()},
        }


def bench_gpu(*, device: str, shape: str, tokens: int, rounds: int, progress: Callable[[str], None]) -> GpuReport:
    """Embed generated passages, `tokens` together, with our embedder and with the peer, in turns, `rounds` times over.

    :raises Unavailable: there is no such device, or sentence-transformers is not installed.
    """
    name = device_name(device)
    with tempfile.TemporaryDirectory(prefix="footnote-bench-") as scratch:
        folder = Path(scratch) / shape
        progress(f"{name}: making a model of the shape {shape}")
        save_random_model(folder, SHAPES[shape])
        embedder = build_embedder(
            Settings(embedder=f"sentence-transformers:{folder}"), mode="throughput", device=device
        )
        texts = random_texts(embedder.tokenizer, tokens)
        started = time.perf_counter()
        lengths = [count + SPECIAL_TOKENS for count in embedder.tokenizer.count(texts)]
        tokenized = time.perf_counter() - started
        contenders = {OURS: embedder.embed_documents, PEER: _peer(folder, device)}
        taken = _in_turns(contenders, texts, sum(lengths), rounds, progress)
        kind = embedder.precision.partition(" ")[0]
        progress(f"multiplying matrices of {kind}")
        products = product_rates(device, kind, SHAPES[shape])
    return GpuReport(
        device=name,
        shape=shape,
        precision=kind,
        texts=len(texts),
        tokens=sum(lengths),
        flops=flops(SHAPES[shape], lengths),
        rate=sum(lengths) / median(taken[OURS]),
        peer_rate=sum(lengths) / median(taken[PEER]),
        ratio=median(peer / ours for peer, ours in zip(taken[PEER], taken[OURS], strict=True)),
        tokenizer_rate=sum(lengths) / tokenized,
        products=products,
    )


def _peer(folder: Path, device: str) -> Embed:
    """At its defaults: float32, batches of 32."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - seconds; only where it is used

    model = SentenceTransformer(str(folder), device=device, local_files_only=True)

    def embed(texts: Sequence[str]) -> object:
        return model.encode(list(texts), show_progress_bar=False)

    return embed


def _in_turns(
    contenders: Mapping[str, Embed], texts: Sequence[str], tokens: int, rounds: int, progress: Callable[[str], None]
) -> dict[str, list[float]]:
    """Return the seconds that each contender took for all texts, per round; both end with vectors in our memory."""
    for embed in contenders.values():
        embed(texts[:WARM_UP])
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, embed in contenders.items():
            started = time.perf_counter()
            embed(texts)
            seconds[name].append(time.perf_counter() - started)
            progress(f"round {number + 1}: {name} {tokens / seconds[name][-1]:,.0f} tokens/s")
    return seconds
