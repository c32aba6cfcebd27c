import subprocess
import sys
from pathlib import Path

import pytest
import structlog.testing

from core.errors import ModelUnavailable
from retrieval.embedding.sentence_transformers import SentenceTransformersEmbedder
from tests.retrieval.tiny_models import save_tiny_sentence_model


def test_importing_the_adapter_does_not_import_the_library() -> None:
    program = (
        "import sys, retrieval.embedding.sentence_transformers, retrieval.reranking.cross_encoder\n"
        "print([name for name in ('torch', 'transformers', 'sentence_transformers') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_that_is_not_here_is_reported() -> None:
    with pytest.raises(ModelUnavailable, match="not on this machine"):
        SentenceTransformersEmbedder("nobody/no-such-model")


@pytest.mark.slow
def test_the_first_use_tells_operators_where_the_model_runs_and_in_which_precision(tmp_path: Path) -> None:
    embedder = SentenceTransformersEmbedder(str(save_tiny_sentence_model(tmp_path / "tiny")), device="cpu")
    with structlog.testing.capture_logs() as logs:
        embedder.embed_query("the plan pays")
        embedder.embed_documents(["visits"])

    [event] = [event for event in logs if event["event"] == "model_loaded"]
    assert (event["embedder"], event["device"], event["precision"]) == (embedder.id, "cpu", "float32")
    assert embedder.precision == "float32 on cpu"


@pytest.mark.slow
def test_questions_and_documents_get_the_models_own_prompts(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = str(save_tiny_sentence_model(tmp_path / "tiny"))
    embedder = SentenceTransformersEmbedder(folder, device="cpu")
    model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    asked, kept = (
        model.encode("the plan pays", prompt_name=name, normalize_embeddings=True) for name in ("query", "document")
    )

    assert embedder.embed_query("the plan pays") == pytest.approx(asked, abs=1e-5)
    assert embedder.embed_documents(["the plan pays"])[0] == pytest.approx(kept, abs=1e-5)
    assert float(asked @ kept) < 0.999
