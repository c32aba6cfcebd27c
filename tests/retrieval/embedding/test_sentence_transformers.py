import subprocess
import sys

import pytest

from core.errors import ModelUnavailable
from retrieval.embedding.sentence_transformers import SentenceTransformersEmbedder


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
