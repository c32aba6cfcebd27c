"""Which floating-point precision a processor runs a converted model fastest in, measured once and remembered.

Only a precision that the model was found to keep its vectors in when it was converted is tried: the choice changes no
index. (cosine above .999, see `convert`.)
"""

import json
import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.embedding.converted import ConvertedModel, runtime_version
from retrieval.embedding.inputs import INPUTS, padded_batch
from retrieval.embedding.runtime import best_precision

if TYPE_CHECKING:
    import openvino  # type: ignore[import-untyped]  # it ships no types

FILE = "precisions.json"  # Beside the folders of models: {model, runtime and processor: {precision: tokens/s}}.
_ROWS, _TOKENS = 8, 128
_RUNS = 5


def fastest_precision(core: "openvino.Core", converted: ConvertedModel) -> str:
    """Return the fastest precision; where there is more than one and nobody has measured yet, measure now."""
    best = _best(core, converted)
    if best == "f32":
        return best
    known = _read(converted)
    key = _key(converted)
    if key not in known:
        known[key] = {one: round(_tokens_per_second(core, converted, one), 1) for one in ("f32", best)}
        _write(converted, known)
    return max(known[key], key=lambda one: known[key][one])


def known_precision(core: "openvino.Core", converted: ConvertedModel) -> str:
    """Return the fastest precision as measured before, else what the processor says that it is good at."""
    best = _best(core, converted)
    rates = _read(converted).get(_key(converted))
    return max(rates, key=lambda one: rates[one]) if rates and best in rates else best


def _best(core: "openvino.Core", converted: ConvertedModel) -> str:
    """Return the processor's own, unless the model was converted where that could not be checked."""
    best = best_precision(core)
    return best if best == converted.meta.best_precision else "f32"


def _key(converted: ConvertedModel) -> str:
    """Name what a measurement holds for. The flags tell processors apart that hide their model."""
    flags = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    vector = ",".join(sorted(flag for flag in flags.split() if flag.startswith(("avx512", "avx_vnni", "amx"))))
    place = f"{platform.machine()}, {os.cpu_count()} cores, {vector or 'no avx512'}"
    return f"{converted.folder.name}, openvino {runtime_version()}, {place}"


def _tokens_per_second(core: "openvino.Core", converted: ConvertedModel, precision: str) -> float:
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
    compiled: Any = core.compile_model(converted.graph, "CPU", options)
    names = {name for port in compiled.inputs for name in port.get_names()}
    ids = np.full((_ROWS, _TOKENS), 7).tolist()
    given = padded_batch(ids, inputs=names & set(INPUTS), pad_id=0)
    compiled(given)  # The first inference compiles kernels for the shape.
    taken = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        compiled(given)
        taken.append(time.perf_counter() - started)
    return _ROWS * _TOKENS / median(taken)


def _read(converted: ConvertedModel) -> dict[str, dict[str, float]]:
    try:
        known = json.loads((converted.folder.parent / FILE).read_bytes())
        return {key: dict(rates) for key, rates in known.items() if rates}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(converted: ConvertedModel, known: dict[str, dict[str, float]]) -> None:
    """Remember the rates; where the cache is read-only the next process measures again."""
    target = converted.folder.parent / FILE
    scratch = target.with_name(f".{FILE}.{os.getpid()}")
    with suppress(OSError):
        scratch.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        scratch.replace(target)
