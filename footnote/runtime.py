"""Everything that one serving process holds, put together: the composition root of the embedded mode."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import structlog

from api.services import Health, Services
from core.blobs import DirectoryBlobs
from core.db.directory import add_tenant, add_user, list_tenants, list_users
from core.db.keys import authenticate, create_key
from core.db.releases import ensure_live_release, live_release
from core.db.releases import index_manifest as index_manifest_of
from core.db.session import Database, sqlite_url
from core.db.stages import reclaim_all
from core.errors import Conflict, FootnoteError
from core.ids import DEFAULT_TENANT, IndexId
from core.intake import Intake
from core.settings import Settings
from footnote.datadir import DataDirectory
from footnote.supervisor import WorkerSupervisor
from generation.factory import build_answering
from generation.prompts import PROMPT_VERSION
from ingestion.chunking import chunker_version
from ingestion.indexing import IndexLoop
from ingestion.parsing import PARSER_VERSION
from ingestion.sandbox import PageSandbox, ParserLimits
from retrieval.factory import (
    build_embedder,
    build_reranker,
    build_search,
    build_sparse,
    index_manifest,
    open_index,
    release_manifest,
)
from retrieval.ports import VectorIndex
from retrieval.search import HybridSearch

log = structlog.get_logger()

OWNER = "owner"
QUERIED_WITH = ("embedder", "sparse", "header")  # Parts of an index that a query must share.


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """An open data directory with all that works on it."""

    settings: Settings
    directory: DataDirectory
    database: Database
    index: VectorIndex
    search: HybridSearch
    services: Services
    supervisor: WorkerSupervisor


@contextmanager
def open_runtime(settings: Settings) -> Iterator[Runtime]:
    """Hold the data directory, bring its database up to date, and run the background work until the block ends.

    :raises DataDirectoryInUse: another process holds it.
    :raises ModelUnavailable: the embedding model has not been converted yet.
    """
    directory = DataDirectory(settings.data.absolute())
    with ExitStack() as stack:
        stack.enter_context(directory.held())
        database = Database(settings.database_url or sqlite_url(directory.path))
        stack.callback(database.close)
        database.upgrade()
        blobs = DirectoryBlobs(directory.blobs)
        blobs.sweep()
        _ensure_owner(database, directory)
        embedder = build_embedder(settings)
        sparse = build_sparse(settings)
        chunker = chunker_version(
            max_tokens=settings.chunk_tokens, overlap_tokens=settings.chunk_overlap_tokens, tokenizer=embedder.id
        )
        manifest = index_manifest(embedder, sparse, parser_version=PARSER_VERSION, chunker_version=chunker)
        with database.transaction() as session:
            reclaim_all(session)
            release = ensure_live_release(
                session,
                manifest.index_id,
                manifest.as_dict(),
                release=release_manifest(settings, manifest, prompt=PROMPT_VERSION).as_dict(),
            )
            _check_index(manifest.as_dict(), index_manifest_of(session, release.index_id), release.index_id)
        index = open_index(settings, directory.indexes, release.index_id, embedder.dim)
        stack.callback(index.close)
        reranker = build_reranker(settings, embedder)
        search = build_search(
            settings, database=database, embedder=embedder, sparse=sparse, index=index, reranker=reranker
        )
        answering = build_answering(
            settings,
            database=database,
            blobs=blobs,
            search=search,
            embedder=embedder,
            vectors=getattr(reranker, "vectors", None),  # What it has read of the passages need not be read again.
        )
        answering.end_interrupted()
        pages = PageSandbox(ParserLimits.from_settings(settings))
        stack.callback(pages.close)
        supervisor = WorkerSupervisor(database=database, data=directory.path, log_path=directory.worker_log)
        loop = IndexLoop(
            database=database,
            collect=Intake(database=database, blobs=blobs, max_bytes=settings.max_upload_bytes).collect,
            index=index,
            sparse=sparse,
            embedder_id=embedder.id,
            owner=f"index-{os.getpid()}",
            index_id=release.index_id,
        )
        supervisor.start()
        stack.callback(supervisor.stop)
        loop.start()
        stack.callback(loop.stop)

        def wake() -> None:
            supervisor.wake()
            loop.wake()

        services = Services(
            settings=settings,
            database=database,
            blobs=blobs,
            search=search,
            answering=answering,
            pages=pages,
            wake=wake,
            health=lambda: _health(database, supervisor, loop),
            doctor=_doctor(settings, embedder.id, release.index_id, pages.active_layers),
        )
        yield Runtime(
            settings=settings,
            directory=directory,
            database=database,
            index=index,
            search=search,
            services=services,
            supervisor=supervisor,
        )


def _health(database: Database, supervisor: WorkerSupervisor, loop: IndexLoop) -> Health:
    """Ready means: the catalogue can be read, and the background work that uploads rely on is alive."""
    if not (supervisor.alive and loop.alive):
        return Health(ready=False, detail="The background work has stopped; restart `footnote up` and see its log.")
    try:
        with database.reading() as session:
            live = live_release(session)
    except FootnoteError as error:
        return Health(ready=False, detail=error.detail)
    return Health(ready=live is not None)


def _ensure_owner(database: Database, directory: DataDirectory) -> None:
    """Make the default tenant, its owner and the owner's key; a key file that is lost or opens nothing is replaced."""
    secret = directory.owner_key()
    with database.reading() as session:
        if secret is not None and authenticate(session, secret) is not None:
            return
    with database.transaction() as session:
        if DEFAULT_TENANT not in list_tenants(session):
            add_tenant(session, DEFAULT_TENANT)
        if OWNER not in {user.name for user in list_users(session, DEFAULT_TENANT)}:
            add_user(session, DEFAULT_TENANT, OWNER)
        _, secret = create_key(
            session, DEFAULT_TENANT, user=OWNER, role="admin", scopes=("impersonate",), label="owner"
        )
        # Inside the transaction: no key without a file. A kill before the commit leaves a file without a key, which
        # the next start replaces.
        directory.write_owner_key(secret)


def _check_index(configured: Mapping[str, str], live: Mapping[str, str], index_id: IndexId) -> None:
    """Refuse to serve an index with another model than it was made with; nothing is re-indexed unasked.

    :raises Conflict: embedder, BM25 encoder or header differ.
    """
    differing = [part for part in QUERIED_WITH if live.get(part) != configured[part]]
    if differing:
        told = "; ".join(f"{part}: {live.get(part)} there, {configured[part]} set" for part in differing)
        raise Conflict(
            f"The documents are indexed with other settings ({told}). Nothing was changed. "
            "Set them back, or use a new --data directory and ingest again."
        )
    if live.get("chunker") != configured["chunker"] or live.get("parser") != configured["parser"]:
        log.warning("index_drifted", index=index_id, detail="new documents are parsed or chunked in another way")


def _doctor(
    settings: Settings, embedder_id: str, index_id: str, layers: Callable[[], Sequence[str]]
) -> Callable[[], Mapping[str, object]]:
    def facts() -> Mapping[str, object]:
        return {
            "version": version("footnote-rag"),
            "python": platform.python_version(),
            "data": str(settings.data.absolute()),
            "database": "postgresql" if (settings.database_url or "").startswith("postgres") else "sqlite",
            "embedder": embedder_id,
            "index": index_id,
            "reranker": settings.reranker,
            "chat_model": settings.chat_model,
            "sandbox_layers": list(layers()),
        }

    return facts
