"""The OpenVINO runtime, imported so that it keeps to itself."""

import sys
from typing import TYPE_CHECKING, Any

from core.errors import ModelUnavailable

if TYPE_CHECKING:
    import openvino  # type: ignore[import-untyped]  # it ships no types


def load_openvino() -> Any:  # noqa: ANN401  # a module without types
    """Return the module `openvino` with its telemetry left out.

    Importing openvino starts openvino-telemetry, which writes into the home folder and, where there is internet, sends
    an event. Openvino falls back to a stub when that package cannot be imported, and so it cannot be.

    Raises `ModelUnavailable` when the runtime is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how Python says "not importable".
    try:
        import openvino  # noqa: PLC0415  # the telemetry must be out of the way first
    except ImportError as error:
        raise ModelUnavailable(f"The OpenVINO runtime cannot be loaded ({error}). Run `make setup`.") from error
    return openvino


def best_precision(core: "openvino.Core") -> str:
    """Return the CPU's fastest precision that keeps a bi-encoder's ranking: `bf16` where it has it, else `f32`."""
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
