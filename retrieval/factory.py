"""The one place that names adapters. Models and engines are imported when built: importing this loads none of them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.db.session import Database
from core.errors import InvalidInput
from core.ids import IndexId
from core.settings import Settings
from retrieval.manifest import IndexManifest, ReleaseManifest
from retrieval.ports import Embedder, Reranker, SparseEncoder, VectorIndex
from retrieval.search import HybridSearch

if TYPE_CHECKING:
    from starlette.applications import Starlette

CANONICALISER = "nfc-lf/1"
HEADER = "title+headings/1"


def build_embedder(
    settings: Settings, *, mode: Literal["latency", "throughput"] = "latency", device: str | None = None
) -> Embedder:
    """Return the embedder that `settings.embedder` names, for queries (`latency`) or for documents (`throughput`).

    `device` is for sentence-transformers, as torch names it; None is a GPU where there is one.

    :raises InvalidInput: the setting names none.
    :raises ModelUnavailable: the model is not there.
    """
    kind, _, name = settings.embedder.partition(":")
    match kind:
        case "openvino" | "openvino-int8" if name:
            from retrieval.embedding.openvino import OpenVinoEmbedder  # noqa: PLC0415 - with what it needs

            return OpenVinoEmbedder(
                name,
                cache=settings.cache,
                threads=settings.embed_threads,
                mode=mode,
                quantised=kind == "openvino-int8",
            )
        case "sentence-transformers" if name:
            from retrieval.embedding.sentence_transformers import (  # noqa: PLC0415 - as the others
                SentenceTransformersEmbedder,
            )

            return SentenceTransformersEmbedder(name, device=device)
        case "hashing" if name.isdecimal() and int(name):
            from retrieval.embedding.hashing import HashingEmbedder  # noqa: PLC0415 - as the others

            return HashingEmbedder(dim=int(name))
        case _:
            raise InvalidInput(
                f"FOOTNOTE_EMBEDDER is {settings.embedder!r}; "
                "it must be openvino:MODEL, openvino-int8:MODEL, sentence-transformers:MODEL or hashing:DIM."
            )


def original_model(name: str) -> Path:
    """Return the folder of the sentence-transformers model that OpenVINO serves under that name, for comparisons.

    :raises ModelUnavailable: it is not on this machine.
    """
    from retrieval.embedding.weights import model_folder  # noqa: PLC0415 - as the others

    return model_folder(name)


def build_reranker(settings: Settings, embedder: Embedder) -> Reranker | None:
    """Return the reranker that `settings.reranker` names, None for `none`.

    :raises InvalidInput: the setting names none.
    """
    kind, _, name = settings.reranker.partition(":")
    match kind, name:
        case "none", "":
            return None
        case "late-interaction", "":
            from retrieval.reranking.late_interaction import LateInteractionReranker  # noqa: PLC0415 - as the others

            return LateInteractionReranker(embedder, max_tokens=settings.rerank_tokens)
        case "cross-encoder", name if name:
            from retrieval.reranking.cross_encoder import CrossEncoderReranker  # noqa: PLC0415 - loads torch

            return CrossEncoderReranker(name, max_tokens=settings.rerank_tokens)
        case _:
            raise InvalidInput(
                f"FOOTNOTE_RERANKER is {settings.reranker!r}; it must be late-interaction, cross-encoder:MODEL or none."
            )


def build_sparse(_settings: Settings) -> SparseEncoder:
    """Return the BM25 encoder."""
    from retrieval.sparse import Bm25Encoder  # noqa: PLC0415 - loads the engine

    return Bm25Encoder()


def index_manifest(
    embedder: Embedder, sparse: SparseEncoder, *, parser_version: str, chunker_version: str
) -> IndexManifest:
    """Return what an index made with these settings consists of; its `index_id` names the index."""
    from retrieval.sparse import TEXT  # noqa: PLC0415 - loads the engine

    return IndexManifest(
        parser=parser_version,
        canonicaliser=CANONICALISER,
        chunker=chunker_version,
        header=f"{HEADER}:dense=header+text:bm25={TEXT}",
        embedder=embedder.id,
        sparse=sparse.id,
    )


def release_manifest(settings: Settings, index: IndexManifest, *, prompt: str) -> ReleaseManifest:
    """Return how these settings query that index and answer from it."""
    return ReleaseManifest(
        index_id=index.index_id,
        fusion=f"rrf:k={settings.rrf_k}",
        reranker=f"{settings.reranker}:tokens={settings.rerank_tokens}",
        prompt=prompt,
        model_route=settings.chat_model,
    )


def open_index(settings: Settings, directory: Path, index_id: IndexId, dim: int) -> VectorIndex:
    """Open, or make, the index `index_id`: on the server that the settings name, else in the directory of indexes.

    The caller closes it.

    :raises DataDirectoryInUse: another process has it open.
    :raises IndexUnavailable: it cannot be read, or the server does not answer.
    :raises InvalidInput: the settings name no server that there could be.
    """
    if settings.qdrant_url:
        from retrieval.index.qdrant_connection import connect  # noqa: PLC0415 - loads the client

        key = settings.qdrant_api_key
        return connect(
            settings.qdrant_url,
            api_key=None if key is None else key.get_secret_value(),
            index_id=index_id,
            dim=dim,
            grpc_port=settings.qdrant_grpc_port,
            ca_file=settings.qdrant_ca_file,
            prefix=settings.qdrant_prefix,
        )
    from retrieval.index.edge import EdgeIndex  # noqa: PLC0415 - loads the engine

    return EdgeIndex(directory / index_id, index_id=index_id, dim=dim)


@contextmanager
def open_index_service(settings: Settings, directory: Path) -> "Iterator[Starlette]":
    """Hold the directory of indexes and yield the application that answers for them, until the block ends.

    :raises DataDirectoryInUse: another process holds it.
    """
    from retrieval.index.service.app import create_app  # noqa: PLC0415 - loads the engine
    from retrieval.index.service.collections import Collections  # noqa: PLC0415 - the same

    key = settings.qdrant_api_key
    with closing(Collections(directory)) as collections:
        yield create_app(collections, api_key=None if key is None else key.get_secret_value())


def build_search(
    settings: Settings,
    *,
    database: Database,
    embedder: Embedder,
    sparse: SparseEncoder,
    index: VectorIndex,
    reranker: Reranker | None,
) -> HybridSearch:
    """Return the search over this index, checked against the catalogue in this database."""
    from retrieval.catalogue import DatabaseCatalogue  # noqa: PLC0415 - draws the database in, as late as the others

    return HybridSearch(
        embedder=embedder,
        sparse=sparse,
        index=index,
        catalogue=DatabaseCatalogue(database),
        reranker=reranker,
        rrf_k=settings.rrf_k,
    )
