"""Which precision the weights of a sentence-transformers model are held in: chosen when it is loaded, by measuring.

Half precision is tried on GPUs alone, and kept where the vectors of bundled texts stay the model's own (cosine to
float32 of .999 and more, as for a converted model) and come faster. So the choice changes no index and no id.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding.convert import CHECKED_TEXTS, LOWEST_COSINE, lowest_cosine

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

FULL = "float32"
Tried = Callable[["torch.device"], Sequence[str]]  # A device to the names of what is tried on it, best first.
_ROWS = 32  # The longest bundled text, so many times: enough to fill a GPU for a moment.
_RUNS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What was chosen and why: the lowest cosine to float32, and tokens a second, of each precision that was tried."""

    name: str
    cosines: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)


def worth_trying(device: "torch.device") -> Sequence[str]:
    """Return the half precisions, best first, that this device has units for. A CPU stays at float32.

    bfloat16 has float32's range, and so never overflows; float16 is the finer one, and all that older GPUs have.
    """
    import torch  # noqa: PLC0415  # seconds; only where it is used

    if device.type != "cuda":
        return ()
    with torch.cuda.device(device):
        return ("bfloat16", "float16") if torch.cuda.is_bf16_supported(including_emulation=False) else ("float16",)


def load_fastest(
    load: Callable[[], "SentenceTransformer"], tried: Tried = worth_trying
) -> tuple["SentenceTransformer", Precision]:
    """Return the model in the first of the precisions to be tried that keeps its vectors and is faster; else as it is.

    Where there is something to try it is loaded once more for each, and measuring takes a second or so. A model that
    is stored in half precision stays as it is stored.
    """
    import torch  # noqa: PLC0415  # as above

    model = load()
    stored = str(model.dtype).removeprefix("torch.")
    names = tried(model.device) if stored == FULL else ()
    if not names:
        return model, Precision(name=stored)
    expected = _vectors(model)
    cosines: dict[str, float] = {}
    rates = {FULL: _tokens_per_second(model)}
    for name in names:
        try:
            half = load().to(dtype=getattr(torch, name))
            cosines[name] = lowest_cosine(_vectors(half), expected)
        except torch.OutOfMemoryError:  # Two of them do not fit: the one that is there serves.
            half = None
            torch.cuda.empty_cache()
            break
        if cosines[name] >= LOWEST_COSINE:  # Not where a number is not finite: it compares with nothing.
            rates[name] = _tokens_per_second(half)
            if rates[name] > rates[FULL]:
                return half, Precision(name=name, cosines=cosines, rates=rates)
    return model, Precision(name=FULL, cosines=cosines, rates=rates)


def _vectors(model: "SentenceTransformer") -> NDArray[np.float32]:
    """Return the vectors of the bundled texts, shape (texts, dim), of unit length."""
    found = model.encode(list(CHECKED_TEXTS), prompt="", convert_to_tensor=True, show_progress_bar=False)
    vectors: NDArray[np.float32] = found.float().cpu().numpy()
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _tokens_per_second(model: "SentenceTransformer") -> float:
    import torch  # noqa: PLC0415  # as above

    features = model.preprocess([CHECKED_TEXTS[-1]] * _ROWS)
    given = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in features.items()}
    taken = []
    with torch.inference_mode():
        for _ in range(1 + _RUNS):  # The first one chooses kernels.
            started = time.perf_counter()
            model(dict(given))["sentence_embedding"].cpu()  # Which waits for the GPU.
            taken.append(time.perf_counter() - started)
    return round(float(given["input_ids"].numel()) / median(taken[1:]), 1)
