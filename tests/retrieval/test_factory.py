import subprocess
import sys
from pathlib import Path

import pytest

from core.db.session import Database
from core.domain import Principal
from core.errors import InvalidInput
from core.ids import DEFAULT_TENANT
from core.settings import Settings
from retrieval.factory import (
    build_embedder,
    build_reranker,
    build_search,
    build_sparse,
    index_manifest,
    open_index,
)
from retrieval.manifest import IndexManifest
from retrieval.reranking.late_interaction import LateInteractionReranker


def manifest(settings: Settings, *, parser: str = "p/1", chunker: str = "c/1") -> IndexManifest:
    embedder, sparse = build_embedder(settings), build_sparse(settings)
    return index_manifest(embedder, sparse, parser_version=parser, chunker_version=chunker)


HASHING = Settings(embedder="hashing:64")


def test_hashing_embedder_by_setting() -> None:
    assert build_embedder(HASHING).dim == 64


@pytest.mark.parametrize("name", ["", "openvino", "openvino:", "hashing:", "hashing:x", "hashing:0", "magic:1"])
def test_unknown_embedder_is_refused_with_what_is_possible(name: str) -> None:
    with pytest.raises(InvalidInput, match="openvino:MODEL"):
        build_embedder(Settings(embedder=name))


def test_default_reranker_is_late_interaction_over_the_embedder() -> None:
    assert isinstance(build_reranker(HASHING, build_embedder(HASHING)), LateInteractionReranker)


def test_reranker_none_is_none() -> None:
    settings = Settings(embedder="hashing:64", reranker="none")
    assert build_reranker(settings, build_embedder(settings)) is None


@pytest.mark.parametrize("name", ["", "cross-encoder:", "cross-encoder", "none:x", "late-interaction:x", "magic"])
def test_unknown_reranker_is_refused_with_what_is_possible(name: str) -> None:
    settings = Settings(embedder="hashing:64", reranker=name)
    with pytest.raises(InvalidInput, match="late-interaction, cross-encoder:MODEL or none"):
        build_reranker(settings, build_embedder(settings))


def test_index_id_follows_whatever_decides_what_is_stored() -> None:
    ids = {
        manifest(HASHING).index_id,
        manifest(HASHING, parser="p/2").index_id,
        manifest(HASHING, chunker="c/2").index_id,
        manifest(Settings(embedder="hashing:32")).index_id,
    }
    assert len(ids) == 4


def test_index_id_is_the_same_however_queries_are_answered() -> None:
    assert manifest(HASHING) == manifest(Settings(embedder="hashing:64", rrf_k=60, reranker="none"))


def test_index_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    made = manifest(HASHING)
    index = open_index(HASHING, tmp_path, made.index_id, 64)
    index.close()
    assert (tmp_path / made.index_id).is_dir()


@pytest.mark.parametrize("url", ["ftp://index", "no url", "http://127.0.0.1:99999"])
def test_a_qdrant_server_that_cannot_be_is_refused_with_what_is_possible(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="must be like http"):
        open_index(Settings(qdrant_url=url), tmp_path, manifest(HASHING).index_id, 64)


def test_without_a_qdrant_server_the_index_is_embedded(tmp_path: Path) -> None:
    open_index(Settings(qdrant_url=""), tmp_path, manifest(HASHING).index_id, 64).close()
    assert list(tmp_path.iterdir())


def test_search_is_put_together_over_the_catalogue(sqlite_database: Database, tmp_path: Path) -> None:
    embedder, sparse = build_embedder(HASHING), build_sparse(HASHING)
    index = open_index(HASHING, tmp_path, manifest(HASHING).index_id, embedder.dim)
    search = build_search(
        HASHING,
        database=sqlite_database,
        embedder=embedder,
        sparse=sparse,
        index=index,
        reranker=build_reranker(HASHING, embedder),
    )
    asker = Principal(tenant=DEFAULT_TENANT, closure=frozenset({"*"}))
    assert search.search("anything", principal=asker, limit=5).hits == ()
    index.close()


def test_importing_the_factory_loads_no_engine_and_no_model() -> None:
    heavy = ("torch", "transformers", "sentence_transformers", "openvino", "qdrant_client", "qdrant_edge", "tokenizers")
    code = f"import sys, retrieval.factory; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
