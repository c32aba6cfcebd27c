import pytest

from retrieval.embedding.hashing import HashingEmbedder


def test_the_same_text_has_the_same_vector_in_every_process() -> None:
    vector = HashingEmbedder(8).embed_query("the very same words")
    assert vector == pytest.approx([0.0213, 0.2343, -0.4396, -0.5035, 0.216, 0.3947, -0.0419, -0.5419], abs=1e-3)


def test_texts_that_share_words_are_nearer_than_others() -> None:
    embedder = HashingEmbedder()
    near, inflected, far = embedder.embed_documents(["annual leave rules", "yearly leaves rule", "quantum physics"])
    query = embedder.embed_query("annual leave")
    assert query @ near > query @ inflected > query @ far


def test_the_id_tells_the_size() -> None:
    assert HashingEmbedder(8).id != HashingEmbedder(16).id
