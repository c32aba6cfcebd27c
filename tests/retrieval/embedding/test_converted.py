import os
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ModelUnavailable
from retrieval.embedding.converted import (
    QUANTISED,
    RECIPE,
    ConvertedMeta,
    find_converted,
    folder_of,
    quantised_folder_of,
    read_converted,
    runtime_version,
    write_meta,
)

META = ConvertedMeta(
    model="org/some-model",
    weights="a" * 64,
    recipe=RECIPE,
    runtime=runtime_version(),
    dim=4,
    max_tokens=16,
    query_prompt="",
    document_prompt="",
    stored="f16",
    cosine_f32=1.0,
    cosine_best=0.9999,
    best_precision="bf16",
)


def put(cache: Path, meta: ConvertedMeta, *, age: int = 0) -> Path:
    folder = folder_of(cache, meta.model, meta.weights)
    folder.mkdir(parents=True)
    write_meta(folder, meta)
    os.utime(folder / "meta.json", ns=(0, 10**18 - age))
    return folder


def test_a_converted_model_is_found_by_name_without_its_weights(tmp_path: Path) -> None:
    folder = put(tmp_path, META)
    found = find_converted(tmp_path, "some-model")
    assert (found.folder, found.meta) == (folder, META)


def test_of_several_weights_the_last_asked_for_serves(tmp_path: Path) -> None:
    put(tmp_path, META, age=5)
    newer = put(tmp_path, replace(META, weights="b" * 64))
    assert find_converted(tmp_path, "org/some-model").folder == newer


def test_a_conversion_by_another_recipe_or_runtime_does_not_serve(tmp_path: Path) -> None:
    put(tmp_path, replace(META, recipe=RECIPE + 1))
    put(tmp_path, replace(META, weights="b" * 64, runtime="2020.1"))
    put(tmp_path, replace(META, model="some-model-but-larger"))
    with pytest.raises(ModelUnavailable, match="make setup"):
        find_converted(tmp_path, "some-model")


def test_a_damaged_folder_is_no_model(tmp_path: Path) -> None:
    (put(tmp_path, META) / "meta.json").write_text("{")
    assert read_converted(folder_of(tmp_path, META.model, META.weights)) is None


def test_the_embedder_s_id_follows_the_weights_and_not_the_runtime() -> None:
    assert META.embedder_id == replace(META, runtime="2030.1").embedder_id
    assert META.embedder_id != replace(META, weights="b" * 64).embedder_id


def test_the_int8_form_serves_those_alone_who_ask_for_it(tmp_path: Path) -> None:
    folder = put(tmp_path, META, age=5)
    plain = find_converted(tmp_path, "some-model")
    with pytest.raises(ModelUnavailable, match="make model-int8"):
        find_converted(tmp_path, "some-model", quantised=True)

    target = quantised_folder_of(plain, "in some way")
    target.mkdir()
    write_meta(target, replace(META, stored=QUANTISED, digest="f" * 64))

    assert find_converted(tmp_path, "some-model").folder == folder
    found = find_converted(tmp_path, "some-model", quantised=True)
    assert (found.folder, found.meta.embedder_id) == (target, f"{META.embedder_id}-int8-ffffffff")


def test_two_quantisations_are_two_embedders(tmp_path: Path) -> None:
    put(tmp_path, META)
    plain = find_converted(tmp_path, "some-model")
    assert quantised_folder_of(plain, "one way") != quantised_folder_of(plain, "another")
    one, other = (replace(META, stored=QUANTISED, digest=digit * 64) for digit in "ab")
    assert one.embedder_id != other.embedder_id
