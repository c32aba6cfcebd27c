"""The adapter on a real, tiny cross-encoder: what the scores mean is the model's business."""

from pathlib import Path

import pytest

from core.errors import ModelUnavailable
from retrieval.reranking.cross_encoder import CrossEncoderReranker
from tests.retrieval.reranking.test_late_interaction import passage
from tests.retrieval.tiny_models import save_tiny_bert

pytestmark = pytest.mark.slow

PASSAGES = [
    passage("the plan pays for visits."),
    passage("leave expires in march."),
    passage("the plan .", header="leave"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-cross-encoder"
    save_tiny_bert(folder, labels=1)
    return folder


def test_scores_are_those_of_the_model_in_the_order_given(model: Path) -> None:
    from sentence_transformers import CrossEncoder

    texts = ["the plan pays for visits.", "leave expires in march.", "leave\nthe plan ."]
    expected = CrossEncoder(str(model), device="cpu").predict([("leave", text) for text in texts])
    found = CrossEncoderReranker(str(model), max_tokens=1_000, device="cpu").score("leave", PASSAGES)
    assert found == pytest.approx([float(score) for score in expected], abs=1e-4)


def test_passages_beyond_the_budget_have_no_score(model: Path) -> None:
    reranker = CrossEncoderReranker(str(model), max_tokens=12, device="cpu")
    assert [score is not None for score in reranker.score("leave", PASSAGES)] == [True, False, False]
    assert reranker.score("leave", []) == []


def test_a_classifier_of_several_classes_is_refused(tmp_path: Path) -> None:
    save_tiny_bert(tmp_path / "classes", labels=3)
    with pytest.raises(ModelUnavailable, match="3 numbers"):
        CrossEncoderReranker(str(tmp_path / "classes"), max_tokens=100)


def test_a_model_that_is_not_here_is_reported() -> None:
    with pytest.raises(ModelUnavailable, match="not on this machine"):
        CrossEncoderReranker("nobody/no-such-model", max_tokens=100)
