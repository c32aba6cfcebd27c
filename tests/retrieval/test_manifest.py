from dataclasses import replace

import pytest

from core.ids import IndexId
from retrieval.manifest import IndexManifest, ReleaseManifest

INDEX = IndexManifest(parser="p/1", canonicaliser="c/1", chunker="k/1", header="h/1", embedder="e", sparse="s")
RELEASE = ReleaseManifest(index_id=INDEX.index_id, fusion="rrf:k=2", reranker="none", prompt="p/1", model_route="x")


def test_index_id_is_stable_and_fit_for_a_folder() -> None:
    assert INDEX.index_id == IndexId("ce8bacb25102d87d")


@pytest.mark.parametrize("part", ["parser", "canonicaliser", "chunker", "header", "embedder", "sparse"])
def test_every_part_changes_the_index_id(part: str) -> None:
    assert replace(INDEX, **{part: "other"}).index_id != INDEX.index_id


@pytest.mark.parametrize(
    "other",
    [
        replace(RELEASE, index_id=IndexId("other")),
        replace(RELEASE, fusion="other"),
        replace(RELEASE, reranker="other"),
        replace(RELEASE, prompt="other"),
        replace(RELEASE, model_route="other"),
    ],
)
def test_every_part_changes_the_release_id(other: ReleaseManifest) -> None:
    assert other.id != RELEASE.id


def test_manifest_is_kept_word_for_word() -> None:
    assert IndexManifest(**INDEX.as_dict()) == INDEX
    assert RELEASE.as_dict()["index_id"] == INDEX.index_id
