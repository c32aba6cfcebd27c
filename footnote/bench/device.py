"""What a device of torch can do: its name, and how fast it multiplies matrices."""

import time
from statistics import median
from typing import Any

from core.errors import Unavailable
from footnote.bench.shapes import Shape

DEVICES = ("cuda", "cpu")
_SIDE = {"cuda": 8_192, "cpu": 1_024}  # Of the big square matrices.
_TOKENS = {"cuda": 16_384, "cpu": 2_048}  # Rows of the model's own products: a batch.
_SECONDS = 0.1  # That one timing lasts.
_TIMINGS = 5


def device_name(device: str) -> str:
    """Return what the device calls itself.

    :raises Unavailable: torch is not installed, or sees no such device.
    """
    try:
        import torch  # noqa: PLC0415 - seconds; only where it is used
    except ImportError as error:
        raise Unavailable("This benchmark needs the extra `local-models`: run `make setup`.") from error
    if device == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    why = "sees none (NVIDIA's driver, CUDA_VISIBLE_DEVICES)" if torch.version.cuda else "is built without CUDA"
    raise Unavailable(
        f"There is no CUDA device to measure: torch {torch.__version__} {why}. `--device cpu` measures without one."
    )


def product_rates(device: str, precision: str, shape: Shape) -> dict[str, float]:
    """Return the rates (FLOP/s) of a big square product, and of the model's own products over a batch of tokens.

    `precision`: of the matrices, as torch names it.
    """
    side, tokens = _SIDE[device], _TOKENS[device]
    operations = sum(2 * tokens * inputs * outputs * count for inputs, outputs, count in shape.products)
    seconds = sum(
        count * _seconds(device, precision, tokens, inputs, outputs) for inputs, outputs, count in shape.products
    )
    return {"square": 2 * side**3 / _seconds(device, precision, side, side, side), "own": operations / seconds}


def _seconds(device: str, precision: str, rows: int, inputs: int, outputs: int) -> float:
    """Return how long one product takes, of many made one after the other."""
    import torch  # noqa: PLC0415 - as above

    given: Any = torch.randn(rows, inputs, device=device).to(getattr(torch, precision))
    weights: Any = torch.randn(outputs, inputs, device=device).to(getattr(torch, precision))

    def timed(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            torch.nn.functional.linear(given, weights)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    with torch.inference_mode():
        timed(3)  # Kernels are chosen.
        times = max(1, round(_SECONDS / timed(1)))
        return median(timed(times) for _ in range(_TIMINGS)) / times
