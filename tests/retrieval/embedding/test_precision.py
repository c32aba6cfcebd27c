"""The choice, with the real runtime and the real model; the rates are this machine's own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.settings import Settings
from retrieval.embedding import precision
from retrieval.embedding.converted import ConvertedModel, find_converted
from retrieval.embedding.precision import FILE, fastest_precision, known_precision
from retrieval.embedding.runtime import best_precision, load_openvino

pytestmark = pytest.mark.slow

CORE = load_openvino().Core()
more_than_f32 = pytest.mark.skipif(best_precision(CORE) == "f32", reason="this processor has no other precision")


@pytest.fixture
def converted(tmp_path: Path) -> ConvertedModel:
    """The model as if it were converted on a processor of this kind, wherever it was."""
    there = find_converted(Settings().cache, "all-MiniLM-L6-v2")
    (tmp_path / "model").symlink_to(there.folder)
    return ConvertedModel(folder=tmp_path / "model", meta=replace(there.meta, best_precision=best_precision(CORE)))


@more_than_f32
def test_the_precisions_are_measured_once_and_remembered(
    converted: ConvertedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fastest_precision(CORE, converted)

    [rates] = json.loads((tmp_path / FILE).read_text()).values()
    assert set(rates) == {"f32", best_precision(CORE)}
    assert min(rates.values()) > 0
    assert first == max(rates, key=lambda one: rates[one])
    monkeypatch.setattr(precision, "_tokens_per_second", lambda *_: pytest.fail("it was measured already"))
    assert fastest_precision(CORE, converted) == known_precision(CORE, converted) == first


@more_than_f32
def test_what_was_measured_counts_and_not_what_the_processor_claims(converted: ConvertedModel, tmp_path: Path) -> None:
    fastest_precision(CORE, converted)
    [key] = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({key: {"f32": 2.0, best_precision(CORE): 1.0}}))
    assert fastest_precision(CORE, converted) == known_precision(CORE, converted) == "f32"


@more_than_f32
def test_a_precision_that_was_not_checked_at_conversion_is_not_tried(converted: ConvertedModel) -> None:
    unchecked = replace(converted, meta=replace(converted.meta, best_precision="f32"))
    assert fastest_precision(CORE, unchecked) == known_precision(CORE, unchecked) == "f32"


@more_than_f32
def test_one_models_rates_say_nothing_of_anothers(converted: ConvertedModel, tmp_path: Path) -> None:
    fastest_precision(CORE, converted)
    (tmp_path / "other").symlink_to(converted.folder)
    fastest_precision(CORE, replace(converted, folder=tmp_path / "other"))
    assert len(json.loads((tmp_path / FILE).read_text())) == 2


@pytest.mark.parametrize("content", [None, "{", "[]", '{"elsewhere": {"f32": 1.0}}'])
def test_who_answers_queries_never_stops_to_measure(
    converted: ConvertedModel, tmp_path: Path, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    monkeypatch.setattr(precision, "_tokens_per_second", lambda *_: pytest.fail("it measured"))
    assert known_precision(CORE, converted) == best_precision(CORE)
