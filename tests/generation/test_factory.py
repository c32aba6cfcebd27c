import pytest

from core.blobs import BlobStore
from core.db.session import Database
from core.errors import InvalidInput
from core.settings import Settings
from generation.factory import build_answering, build_chat_model
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.reranking.late_interaction import TokenVectorCache
from tests.generation.samples import FixedSearch

VECTORS = TokenVectorCache(HashingEmbedder(64))


def test_the_extractive_model_can_always_be_asked_for(sqlite_database: Database) -> None:
    class NoBlobs(BlobStore):
        pass

    settings = Settings(chat_model="openai:big", openai_base_url="http://127.0.0.1:1/v1")
    answering = build_answering(
        settings,
        database=sqlite_database,
        blobs=NoBlobs(),  # type: ignore[abstract]  # nothing is read
        search=FixedSearch(()),
        embedder=HashingEmbedder(64),
    )
    assert answering.model_names == ("openai:big", "extractive")


def test_a_model_is_built_by_its_name() -> None:
    settings = Settings(chat_context_tokens=1_234)
    assert build_chat_model(settings, "extractive", VECTORS).id == "extractive"
    model = build_chat_model(settings, "openai:gpt-x", VECTORS)
    assert (model.id, model.context_tokens) == ("openai:gpt-x", 1_234)


@pytest.mark.parametrize("name", ["", "openai", "openai:", "claude"])
def test_a_name_of_no_model_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="FOOTNOTE_CHAT_MODEL"):
        build_chat_model(Settings(), name, VECTORS)
