"""Quantisation for real: it needs the converted model and NNCF, and takes seconds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelUnavailable
from core.settings import Settings
from retrieval.embedding import quantize as quantisation
from retrieval.embedding.convert import convert
from retrieval.embedding.converted import find_converted
from retrieval.embedding.openvino import OpenVinoEmbedder

pytestmark = pytest.mark.slow

MODEL = "all-MiniLM-L6-v2"
TEXTS = ["What does the plan pay for a visit?", "Volcanoes and their ashes.", "Unused leave expires in March. " * 30]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    (folder / "models").mkdir()
    converted = convert(MODEL, Settings().cache).folder
    (folder / "models" / converted.name).symlink_to(converted)  # Converting is another test's matter.
    quantisation.quantize(MODEL, folder)
    return folder


def test_the_int8_form_is_an_embedder_of_its_own_near_the_model(cache: Path) -> None:
    plain = OpenVinoEmbedder(MODEL, cache=cache)
    small = OpenVinoEmbedder(MODEL, cache=cache, quantised=True)

    assert small.id.startswith(f"{plain.id}-int8-")
    assert (small.dim, small.max_tokens) == (plain.dim, plain.max_tokens)
    cosines = (small.embed_documents(TEXTS) * plain.embed_documents(TEXTS)).sum(axis=1)
    assert 0.98 < cosines.min() < 0.9999  # Near, and really another computation.
    assert min(find_converted(cache, MODEL, quantised=True).meta.cosine_f32, cosines.min()) >= 0.98


def test_its_weights_take_less_room(cache: Path) -> None:
    sizes = [
        (find_converted(cache, MODEL, quantised=quantised).folder / "model.bin").stat().st_size
        for quantised in (True, False)
    ]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_second_time_is_a_look(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantisation, "_quantize_into", lambda *_: pytest.fail("it was quantised already"))
    assert quantisation.quantize(MODEL, cache).meta.quantised


def test_one_too_far_from_the_model_is_not_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    source = find_converted(cache, MODEL).folder
    (tmp_path / "models" / source.name).symlink_to(source)
    monkeypatch.setattr(quantisation, "LOWEST_COSINE", 1.1)

    with pytest.raises(ModelUnavailable, match="too far from the original"):
        quantisation.quantize(MODEL, tmp_path)

    assert [path.name for path in (tmp_path / "models").iterdir()] == [source.name]


def test_the_command_prints_the_folder_alone(cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "retrieval.embedding.quantize", MODEL, "--cache", str(cache)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(find_converted(cache, MODEL, quantised=True).folder)


def test_without_an_int8_form_the_error_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="make model-int8"):
        OpenVinoEmbedder(MODEL, cache=tmp_path, quantised=True)


def test_token_vectors_and_queries_work_too(cache: Path) -> None:
    small = OpenVinoEmbedder(MODEL, cache=cache, mode="throughput", quantised=True)
    [tokens] = small.token_vectors([TEXTS[0]])
    assert tokens.vectors.shape == (len(tokens.spans), small.dim)
    assert np.linalg.norm(small.embed_query(TEXTS[0])) == pytest.approx(1, abs=0.01)


def test_int8_is_chosen_and_never_given() -> None:
    assert Settings.model_fields["embedder"].default == f"openvino:{MODEL}"
