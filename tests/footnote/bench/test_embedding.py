"""The contenders are real ones, over a few texts."""

import pytest

from core.errors import Unavailable
from core.settings import Settings
from footnote.bench import embedding
from footnote.bench.embedding import BASELINE, bench_embedding, timed
from retrieval.factory import build_embedder

pytestmark = pytest.mark.slow
TEXTS = [f"Passage {number} is about leave, costs and travel." for number in range(40)]


def test_every_embedder_that_is_here_has_a_rate_beside_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "OURS", ("openvino",))
    settings = Settings()
    lines: list[str] = []

    report = bench_embedding(
        TEXTS, settings=settings, tokenizer=build_embedder(settings).tokenizer, rounds=1, progress=lines.append
    )

    told = report.as_dict()
    assert (told["texts"], told["left_out"]) == (40, {})
    assert report.tokens > 8 * 40
    assert set(report.rates) == {BASELINE, "openvino"}
    assert report.rates[BASELINE].ratio == 1
    assert all(rate.tokens_per_second > 0 for rate in report.rates.values())
    assert len(lines) == 2


def test_who_fails_is_told_with_a_reason() -> None:
    with pytest.raises(Unavailable, match=r"openvino failed: .*has not been converted"):
        timed("openvino", TEXTS, Settings(embedder="openvino:no-such-model"))


def test_another_kind_of_embedder_is_refused() -> None:
    with pytest.raises(Unavailable, match="Only a model that OpenVINO serves"):
        timed("openvino", TEXTS, Settings(embedder="hashing:8"))
