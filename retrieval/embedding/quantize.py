"""Quantise a converted model to int8, once: 1.5 times the rate of bf16 on a CPU with VNNI, for a little of the vectors.

`python -m retrieval.embedding.quantize [MODEL] [--cache DIR]` prints the folder. The result is a converted model of its
own, with an id of its own, because its vectors differ: an index is made and asked with one of the two.
Method: static post-training quantisation with SmoothQuant and bias correction, by NNCF
(https://github.com/openvinotoolkit/nncf), calibrated on the texts bundled with the program.
"""

import hashlib
import importlib.metadata
import io
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from core.errors import ModelUnavailable
from retrieval.embedding.convert import checked_vectors, command, convert, lowest_cosine, move_into_place
from retrieval.embedding.converted import (
    QUANTISED,
    ConvertedModel,
    quantised_folder_of,
    read_converted,
    write_meta,
)
from retrieval.embedding.inputs import padded_batch
from retrieval.embedding.runtime import best_precision, load_openvino
from retrieval.embedding.tokenizer import HuggingFaceTokenizer

# Of the checked texts, against the model itself; eleven texts are no ranking, `footnote bench retrieval` is.
LOWEST_COSINE = 0.98
CALIBRATION = Path(__file__).with_name("calibration.txt")


def quantize(model: str, cache: Path) -> ConvertedModel:
    """Return the model in int8, converting and quantising it when that is not there yet. May be run at once by several.

    :raises ModelUnavailable: it cannot be converted, NNCF is not installed, or the quantised model's vectors are not
        near enough to the model's own (cosine below .98): nothing is kept then.
    """
    converted = convert(model, cache)
    target = quantised_folder_of(converted, _method())
    found = read_converted(target)
    if found is None:
        scratch = Path(tempfile.mkdtemp(prefix=".quantising-", dir=target.parent))
        try:
            _quantize_into(scratch, converted)
            move_into_place(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        found = read_converted(target)
        if found is None:
            raise ModelUnavailable(f"The quantisation of {model!r} left nothing readable in {target}.")
    os.utime(target / "meta.json")  # Of several under one name, the last one asked for serves.
    return found


def _method() -> str:
    """Return what determines the int8 graph beside the model: NNCF and the texts that it is calibrated on."""
    try:
        version = importlib.metadata.version("nncf")
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelUnavailable("Quantising needs the extra `local-models`: run `make setup`.") from error
    return f"nncf {version}, {hashlib.sha256(CALIBRATION.read_bytes()).hexdigest()}"


def _quantize_into(folder: Path, converted: ConvertedModel) -> None:
    openvino = load_openvino()
    import nncf  # type: ignore[import-untyped]  # noqa: PLC0415  # seconds, and only when quantising

    logging.getLogger("nncf").setLevel(logging.ERROR)
    core = openvino.Core()
    graph = core.read_model(converted.graph)
    tokenizer = HuggingFaceTokenizer.from_file(converted.tokenizer)
    names = {name for port in graph.inputs for name in port.get_names()}
    given = [
        padded_batch([text.ids], inputs=names, pad_id=tokenizer.pad_id)
        for text in tokenizer.encode(_calibration(), max_tokens=converted.meta.max_tokens, spans=False)
    ]
    with redirect_stdout(io.StringIO()):  # Bars of progress.
        quantised = nncf.quantize(
            graph,
            nncf.Dataset(given),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(given),
        )
    openvino.save_model(quantised, folder / "model.xml")
    shutil.copyfile(converted.tokenizer, folder / "tokenizer.json")
    expected = checked_vectors(core, converted.folder, converted.meta.max_tokens)("f32")
    encode = checked_vectors(core, folder, converted.meta.max_tokens)
    precision = best_precision(core)  # What stays in floating point is computed in this.
    cosines = {one: lowest_cosine(encode(one), expected) for one in {"f32", precision}}
    if min(cosines.values()) < LOWEST_COSINE:
        raise ModelUnavailable(
            f"The quantised model is too far from the original: cosine {min(cosines.values()):.4f}, at least "
            f"{LOWEST_COSINE} is needed. Use `openvino:{converted.meta.model}`."
        )
    write_meta(
        folder,
        replace(
            converted.meta,
            stored=QUANTISED,
            cosine_f32=cosines["f32"],
            cosine_best=cosines[precision],
            best_precision=precision,
            digest=hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest(),
        ),
    )


def _calibration() -> list[str]:
    """Return the bundled passages, their first words, and runs of four of them: inputs of every length."""
    passages = CALIBRATION.read_text(encoding="utf-8").strip().split("\n\n")
    openings = [" ".join(passage.split()[: 1 + number % 5]) for number, passage in enumerate(passages)]
    runs = ["\n".join(passages[start : start + 4]) for start in range(0, len(passages), 2)]
    return [*openings, *passages, *runs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Quantise a model, as `command` says."""
    return command(arguments, prog="python -m retrieval.embedding.quantize", description=__doc__, make=quantize)


if __name__ == "__main__":
    sys.exit(main())
