"""`footnote bench embed`: tokens embedded per second, beside peers on the same model and the same texts."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import Any

from core.errors import Unavailable
from core.settings import Settings
from footnote.bench.contender import OURS
from retrieval.ports import Tokenizer

BASELINE = "sentence-transformers"
LONGEST_SECONDS = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Tokens of text per second; `ratio` to the baseline in the same round; each the median of the rounds."""

    tokens_per_second: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedReport:
    """Who embedded how fast; `left_out` says why somebody was not measured."""

    texts: int
    tokens: int
    rates: Mapping[str, Rate]
    left_out: Mapping[str, str]

    def as_dict(self) -> dict[str, object]:
        return {
            "texts": self.texts,
            "tokens": self.tokens,
            "rates": {
                name: {"tokens_per_second": round(rate.tokens_per_second), "ratio": round(rate.ratio, 2)}
                for name, rate in self.rates.items()
            },
            "left_out": self.left_out,
        }


def bench_embedding(
    texts: Sequence[str], *, settings: Settings, tokenizer: Tokenizer, rounds: int, progress: Callable[[str], None]
) -> EmbedReport:
    """Embed the texts with every contender that is here, one after the other, `rounds` times over.

    :raises Unavailable: the baseline is not installed, or fails.
    """
    tokens = sum(tokenizer.count(texts))
    left_out: dict[str, str] = {}
    seconds: dict[str, list[float]] = {}
    for number in range(rounds):
        for name in (BASELINE, *OURS):
            if name in left_out:
                continue
            try:
                taken = timed(name, texts, settings)["seconds"]
            except Unavailable as error:
                if name == BASELINE:
                    raise
                left_out[name] = error.detail
                seconds.pop(name, None)  # Of all rounds or of none.
                continue
            seconds.setdefault(name, []).append(taken)
            progress(f"round {number + 1}: {name} {tokens / taken:,.0f} tokens/s")
    base = seconds[BASELINE]
    rates = {
        name: Rate(
            tokens_per_second=tokens / median(taken),
            ratio=median(one / ours for one, ours in zip(base, taken, strict=True)),
        )
        for name, taken in seconds.items()
    }
    return EmbedReport(texts=len(texts), tokens=tokens, rates=rates, left_out=left_out)


def timed(name: str, texts: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Return what the contender of that name printed of these texts; its process has the machine for itself.

    :raises Unavailable: it is not installed, or it failed.
    """
    kind, _, model = settings.embedder.partition(":")
    if kind not in OURS:
        raise Unavailable(
            f"Only a model that OpenVINO serves can be compared, not FOOTNOTE_EMBEDDER={settings.embedder}."
        )
    if name == "llama-index" and find_spec("llama_index") is None:
        raise Unavailable("LlamaIndex is not installed: run `make peers`.")
    command = [sys.executable, "-P", "-m", "footnote.bench.contender", name, model]
    try:
        done = subprocess.run(  # noqa: S603 - this program itself
            command, input=json.dumps(list(texts)), capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{name} took more than {LONGEST_SECONDS} s.") from error
    if done.returncode:
        raise Unavailable(f"{name} failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
