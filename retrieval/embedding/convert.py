"""Convert a sentence-transformers model once, so that serving needs neither torch nor transformers.

`python -m retrieval.embedding.convert [MODEL] [--cache DIR]` prints the folder. May be run again, at once and by
several processes: a conversion that is there is only looked up, and whoever finishes first wins.
"""

import argparse
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import FootnoteError, ModelUnavailable
from core.settings import Settings
from retrieval.embedding.converted import (
    RECIPE,
    ConvertedMeta,
    ConvertedModel,
    folder_of,
    read_converted,
    runtime_version,
    write_meta,
)
from retrieval.embedding.inputs import INPUTS, padded_batch
from retrieval.embedding.weights import model_folder, weights_hash

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_MODEL = "all-MiniLM-L6-v2"
LOWEST_COSINE = 0.999
_OPSET = 17
CHECKED_TEXTS = (
    "Hello.",
    "What does the plan pay for a visit to the emergency room?",
    "Employees receive twenty days of paid leave each year, and unused days expire at the end of March.",
    "The quick brown fox jumps over the lazy dog while 1,234.56 EUR are transferred to account DE89 3704 0044.",
    "def mean(values): return sum(values) / len(values)  # an empty list raises ZeroDivisionError",
    "Der Vertrag verlängert sich um ein Jahr, wenn er nicht drei Monate vor Ablauf gekündigt wird.",
    "Le remboursement est versé dans les trente jours; aucune démarche n'est nécessaire.",
    "合同期满前三个月未书面通知的,自动延长一年。",  # another script, on purpose
    "Region | Q1 | Q2\nNorth | 120 | 135\nSouth | 98 | 101\nWest | 77 | 64",
    "Interleukin-6 signalling in T cells is required for the differentiation of Th17 cells in vivo. " * 4,
    "In a randomised trial of 412 patients, early mobilisation after surgery shortened the stay by 1.3 days. " * 14,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    f32: float
    best: float
    precision: str


def convert(model: str, cache: Path) -> ConvertedModel:
    """Return the converted model, converting it when it is not there yet.

    Raises `ModelUnavailable` when the model is not on this machine, when what converts is not installed, or when the
    converted model's vectors are not the original's (cosine below .999): nothing is kept then.
    """
    source = model_folder(model)
    weights = weights_hash(source)
    target = folder_of(cache, model, weights)
    found = read_converted(target)
    if found is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
        try:
            _convert_into(scratch, source, model=model, weights=weights)
            move_into_place(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        found = read_converted(target)
        if found is None:
            raise ModelUnavailable(f"The conversion of {model!r} left nothing readable in {target}.")
    os.utime(target / "meta.json")  # Of several weights under one name, the last one asked for serves.
    return found


def move_into_place(scratch: Path, target: Path) -> None:
    """Put the finished folder in place at once; one that another process finished meanwhile is as good."""
    scratch.chmod(0o755)
    try:
        scratch.rename(target)
    except OSError:
        if read_converted(target) is None:  # a damaged folder is in the way
            shutil.rmtree(target)
            scratch.rename(target)


def _convert_into(folder: Path, source: Path, *, model: str, weights: str) -> None:
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    os.environ["TQDM_DISABLE"] = "1"  # transformers' bar over the weights
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415  # seconds, and only when converting
    except ImportError as error:
        raise ModelUnavailable("Converting needs the extra `local-models`: run `make setup`.") from error
    original = SentenceTransformer(
        str(source), device="cpu", local_files_only=True, model_kwargs={"attn_implementation": "eager"}
    ).eval()
    max_tokens = original.max_seq_length or 512
    _save_tokenizer(original, folder)
    expected: NDArray[np.float32] = np.asarray(
        original.encode(list(CHECKED_TEXTS), normalize_embeddings=True, show_progress_bar=False, prompt=""), np.float32
    )
    _export(original, folder / "model.onnx")
    stored, checked = _save_graph(folder, expected, max_tokens)
    (folder / "model.onnx").unlink()
    prompts = original.prompts or {}
    write_meta(
        folder,
        ConvertedMeta(
            model=model,
            weights=weights,
            recipe=RECIPE,
            runtime=runtime_version(),
            dim=int(expected.shape[1]),
            max_tokens=max_tokens,
            query_prompt=prompts.get("query") or "",
            document_prompt=prompts.get("document") or prompts.get("passage") or "",
            stored=stored,
            cosine_f32=checked.f32,
            cosine_best=checked.best,
            best_precision=checked.precision,
        ),
    )


def _save_tokenizer(original: "SentenceTransformer", folder: Path) -> None:
    backend = getattr(original.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelUnavailable("The model's tokenizer has no fast form; serve it with `sentence-transformers:MODEL`.")
    (folder / "tokenizer.json").write_text(backend.to_str(), encoding="utf-8")


def _export(original: "SentenceTransformer", path: Path) -> None:
    """Write one ONNX graph with two outputs: the model's own sentence vector and its token vectors, all of length 1."""
    import torch  # noqa: PLC0415  # seconds, and only when converting

    accepts_types = "token_type_ids" in original.tokenizer.model_input_names

    class Encoder(torch.nn.Module):  # type: ignore[misc]  # mypy does not read torch
        def __init__(self, modules: "SentenceTransformer") -> None:
            super().__init__()
            self.steps = modules

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
            if accepts_types:
                features["token_type_ids"] = types
            for step in self.steps:  # The model's own pooling and projections, whatever they are.
                features = step(features)
            unit = torch.nn.functional.normalize
            return unit(features["sentence_embedding"], dim=-1), unit(features["token_embeddings"], dim=-1)

    example = torch.ones(2, 7, dtype=torch.long)
    axes = {name: {0: "batch", 1: "tokens"} for name in (*INPUTS, "tokens")} | {"sentence": {0: "batch"}}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The tracer warns of constants that the cosine check proves harmless.
        torch.onnx.export(
            Encoder(original),
            (example, example, torch.zeros_like(example)),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=list(INPUTS),
            output_names=["sentence", "tokens"],
            dynamic_axes=axes,
        )


def _save_graph(folder: Path, expected: NDArray[np.float32], max_tokens: int) -> tuple[str, _Checked]:
    """Save the graph with weights in half precision, in full where that is not near enough to the original."""
    from retrieval.embedding.runtime import best_precision, load_openvino  # noqa: PLC0415

    openvino = load_openvino()
    core = openvino.Core()
    graph = core.read_model(folder / "model.onnx")
    precision = best_precision(core)
    checked = _Checked(f32=0.0, best=0.0, precision=precision)
    for stored in ("f16", "f32"):
        openvino.save_model(graph, folder / "model.xml", compress_to_fp16=stored == "f16")
        encode = checked_vectors(core, folder, max_tokens)
        checked = _Checked(
            f32=lowest_cosine(encode("f32"), expected),
            best=lowest_cosine(encode(precision), expected),
            precision=precision,
        )
        if min(checked.f32, checked.best) >= LOWEST_COSINE:
            return stored, checked
    raise ModelUnavailable(
        f"The converted model is not the original: cosine {checked.f32:.5f} in f32 and {checked.best:.5f} in "
        f"{precision}, at least {LOWEST_COSINE} is needed. Serve it with `sentence-transformers:MODEL`."
    )


def checked_vectors(core: Any, folder: Path, max_tokens: int) -> Callable[[str], NDArray[np.float32]]:  # noqa: ANN401
    """Return what gives the vectors of the checked texts in a precision, shape (texts, dim), by the folder's model."""
    from retrieval.embedding.tokenizer import HuggingFaceTokenizer  # noqa: PLC0415

    tokenizer = HuggingFaceTokenizer.from_file(folder / "tokenizer.json")

    def encode(precision: str) -> NDArray[np.float32]:
        compiled = core.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": precision})
        names = {name for port in compiled.inputs for name in port.get_names()}
        rows = []
        for encoded in tokenizer.encode(CHECKED_TEXTS, max_tokens=max_tokens, spans=False):
            given = padded_batch([encoded.ids], inputs=names, pad_id=tokenizer.pad_id)
            rows.append(compiled(given)["sentence"][0])
        return np.asarray(rows, np.float32)

    return encode


def lowest_cosine(ours: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the lowest cosine of row with row, all of unit length, shape (texts, dim)."""
    return round(float((ours * expected).sum(axis=1).min()), 6)


def model_of(settings: Settings) -> str:
    """Return the model that the settings have OpenVINO serve, in whatever form; where they do not, the default one."""
    kind, _, configured = settings.embedder.partition(":")
    return configured if kind.startswith("openvino") else DEFAULT_MODEL


def command(
    arguments: Sequence[str] | None, *, prog: str, description: str | None, make: Callable[[str, Path], ConvertedModel]
) -> int:
    """Make a model of the one named on the command line, by default that of the settings, and print where it lies."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("model", nargs="?", help="packaged name, folder, or name in the local Hugging Face cache")
    parser.add_argument("--cache", type=Path, help="default: the setting FOOTNOTE_CACHE")
    options = parser.parse_args(arguments)
    settings = Settings()
    try:
        made = make(options.model or model_of(settings), options.cache or settings.cache)
    except FootnoteError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    sys.stdout.write(f"{made.folder}\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert a model, as `command` says."""
    return command(arguments, prog="python -m retrieval.embedding.convert", description=__doc__, make=convert)


if __name__ == "__main__":
    sys.exit(main())
