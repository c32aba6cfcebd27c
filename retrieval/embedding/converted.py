"""The folder of a converted model: `CACHE/models/NAME-KEY/{model.xml,model.bin,tokenizer.json,meta.json}`.

The key is made of the weights, the recipe and the runtime's version, so that whatever changes one of them converts
anew, and a folder once complete never changes. Read by serving, written by `convert`.
"""

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import ModelUnavailable
from retrieval.embedding.weights import short_name

QUANTISED = "int8"  # How the weights of a quantised model are stored.
RECIPE = 1  # Raise it when the graph, the pooling or the tokenizer's settings change.


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedMeta:
    """What is known about a converted model. Cosines are the lowest against the original, on bundled sentences."""

    model: str
    weights: str
    recipe: int
    runtime: str
    dim: int
    max_tokens: int
    query_prompt: str
    document_prompt: str
    stored: str
    cosine_f32: float
    cosine_best: float
    best_precision: str
    digest: str = ""  # Of a quantised graph: two quantisations are two embedders.

    @property
    def embedder_id(self) -> str:
        """The id of the embedder. Runtime and precision change vectors by less than the cosine check lets through."""
        form = f"-{QUANTISED}-{self.digest[:8]}" if self.quantised else ""
        return f"openvino:{short_name(self.model)}@{self.weights[:16]}-r{self.recipe}{form}"

    @property
    def quantised(self) -> bool:
        """Whether its vectors are those of the int8 form."""
        return self.stored == QUANTISED


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedModel:
    """A complete converted model on disk."""

    folder: Path
    meta: ConvertedMeta

    @property
    def graph(self) -> Path:
        return self.folder / "model.xml"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"


def runtime_version() -> str:
    """Return the installed OpenVINO's version without importing it; empty when it is not installed."""
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return ""


def folder_of(cache: Path, model: str, weights: str) -> Path:
    """Return the folder that the model with these weights is converted into, for the recipe and runtime of now."""
    key = hashlib.sha256(f"{weights}/{RECIPE}/{runtime_version()}".encode()).hexdigest()[:16]
    return cache / "models" / f"{short_name(model)}-{key}"


def quantised_folder_of(converted: ConvertedModel, method: str) -> Path:
    """Return the folder of this model's int8 form, made in that way: beside its own."""
    key = hashlib.sha256(method.encode()).hexdigest()[:8]
    return converted.folder.with_name(f"{converted.folder.name}-{QUANTISED}-{key}")


def read_converted(folder: Path) -> ConvertedModel | None:
    """Return the converted model in the folder, None when there is none or it was written by other code."""
    try:
        meta = ConvertedMeta(**json.loads((folder / "meta.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return ConvertedModel(folder=folder, meta=meta)


def write_meta(folder: Path, meta: ConvertedMeta) -> None:
    """Write the description of the model into its folder."""
    (folder / "meta.json").write_text(json.dumps(asdict(meta), indent=2) + "\n", encoding="utf-8")


def find_converted(cache: Path, model: str, *, quantised: bool = False) -> ConvertedModel:
    """Return the converted model of that name: of several weights, the one that `convert` was last asked for.

    `quantised` asks for its int8 form.

    Needs no weights, so that a serving machine need not carry them. Raises `ModelUnavailable` when there is none.
    """
    found = [
        (path.stat().st_mtime_ns, path.parent.name, converted)
        for path in (cache / "models").glob(f"{short_name(model)}-*/meta.json")
        if (converted := read_converted(path.parent))
        and (short_name(converted.meta.model), converted.meta.recipe) == (short_name(model), RECIPE)
        and converted.meta.runtime == runtime_version()
        and converted.meta.quantised == quantised
    ]
    if not found and quantised:
        raise ModelUnavailable(
            f"The model {model!r} has no int8 form for OpenVINO {runtime_version() or '(not installed)'} in "
            f"{cache / 'models'}. Run `make model-int8`, or `python -m retrieval.embedding.quantize {model}`."
        )
    if not found:
        raise ModelUnavailable(
            f"The model {model!r} has not been converted for OpenVINO {runtime_version() or '(not installed)'} "
            f"into {cache / 'models'}. Run `make setup`, or `python -m retrieval.embedding.convert {model}`."
        )
    return max(found, key=lambda entry: entry[:2])[2]
