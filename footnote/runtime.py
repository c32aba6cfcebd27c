"""Everything that one serving process holds, put together: the composition root of `footnote up`."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import structlog

from api.services import Health, Services
from core.blobs import BlobStore, open_blobs, place_of_blobs
from core.db.blobs import sample_of_blobs
from core.db.directory import add_tenant, add_user, list_tenants, list_users
from core.db.holding import held
from core.db.index_audits import reclaim_audits
from core.db.index_tasks import reclaim_tasks
from core.db.keys import authenticate, create_key, list_keys, revoke_key
from core.db.releases import ensure_live_release, live_release
from core.db.releases import index_manifest as index_manifest_of
from core.db.session import Database, sqlite_url
from core.db.stages import reclaim_all
from core.errors import Conflict, FootnoteError
from core.ids import DEFAULT_TENANT, IndexId
from core.intake import Intake
from core.settings import Settings
from footnote.background import Background, EmbeddedWork
from footnote.datadir import DataDirectory
from footnote.supervisor import WorkerSupervisor
from generation.factory import build_answering
from generation.prompts import PROMPT_VERSION
from ingestion.auditing import Auditor
from ingestion.chunking import chunker_version
from ingestion.indexing import IndexLoop
from ingestion.parsing import PARSER_VERSION
from ingestion.rebuilding import check_index_at_start
from ingestion.sandbox import PageSandbox, ParserLimits
from ingestion.sweeping import CopiesSweep
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
OWNER_KEY = "owner"  # The label of the key that is in the file.
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


@contextmanager
def open_runtime(settings: Settings) -> Iterator[Runtime]:
    """Hold the data directory, bring its database up to date, and run the background work until the block ends.

    Where the settings name a broker, other processes do that work: they are rung, and nothing of theirs is reclaimed.

    :raises DataDirectoryInUse: another process holds it.
    :raises ModelUnavailable: the embedding model has not been converted yet.
    """
    directory = DataDirectory(settings.data.absolute())
    with ExitStack() as stack:
        stack.enter_context(directory.held())
        database = Database(settings.database_url or sqlite_url(directory.path))
        stack.callback(database.close)
        distributed = settings.broker_url is not None
        stack.enter_context(held(database, alone=not distributed))
        database.upgrade()
        blobs = open_blobs(settings, directory.path)
        _check_files(database, blobs, place_of_blobs(settings, directory.path))
        blobs.sweep()
        copies = CopiesSweep(directory.path, max_bytes=settings.s3_cache_bytes)
        copies.start()
        stack.callback(copies.stop)
        _ensure_owner(database, directory, alone=not distributed)
        embedder = build_embedder(settings)
        embedder.embed_query("")  # Loaded now rather than under the first question.
        sparse = build_sparse(settings)
        chunker = chunker_version(
            max_tokens=settings.chunk_tokens, overlap_tokens=settings.chunk_overlap_tokens, tokenizer=embedder.id
        )
        manifest = index_manifest(embedder, sparse, parser_version=PARSER_VERSION, chunker_version=chunker)
        with database.transaction() as session:
            if not distributed:
                reclaim_all(session)
                reclaim_tasks(session)
                reclaim_audits(session)
            release = ensure_live_release(
                session,
                manifest.index_id,
                manifest.as_dict(),
                release=release_manifest(settings, manifest, prompt=PROMPT_VERSION).as_dict(),
            )
            _check_index(manifest.as_dict(), index_manifest_of(session, release.index_id), release.index_id)
        index = open_index(settings, directory.indexes, release.index_id, embedder.dim)
        stack.callback(index.close)
        _compare(database, index, release.index_id, embedder.id)
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
        if not distributed:
            answering.end_interrupted()
        pages = PageSandbox(ParserLimits.from_settings(settings))
        stack.callback(pages.close)
        background = (
            _relay(settings, database)
            if distributed
            else EmbeddedWork(
                WorkerSupervisor(
                    database=database,
                    settings=settings.model_copy(update={"data": directory.path}),
                    log_path=directory.worker_log,
                ),
                IndexLoop(
                    database=database,
                    collect=Intake(database=database, blobs=blobs, max_bytes=settings.max_upload_bytes).collect,
                    index=index,
                    sparse=sparse,
                    embedder_id=embedder.id,
                    owner=f"index-{os.getpid()}",
                    index_id=release.index_id,
                    audit=Auditor(
                        database=database,
                        index=index,
                        index_id=release.index_id,
                        embedder_id=embedder.id,
                        has_file=blobs.has,
                        owner=f"index-{os.getpid()}",
                        hour=settings.audit_hour,
                    ).step,
                ),
            )
        )
        background.start()
        stack.callback(background.stop)
        services = Services(
            settings=settings,
            database=database,
            blobs=blobs,
            search=search,
            answering=answering,
            pages=pages,
            wake=background.wake,
            health=lambda: _health(database, background),
            doctor=_doctor(settings, embedder.id, release.index_id, pages.active_layers),
            distributed=distributed,
        )
        yield Runtime(
            settings=settings,
            directory=directory,
            database=database,
            index=index,
            search=search,
            services=services,
        )


def _compare(database: Database, index: VectorIndex, index_id: IndexId, embedder_id: str) -> None:
    """Have an index that was lost, or that is an older copy, filled again, before anybody is told what is in it."""
    try:
        check_index_at_start(database, index, index_id, embedder_id)
    except FootnoteError as error:  # Questions that can be answered are answered; whoever writes the index looks again.
        log.warning("index_not_compared", detail=error.detail)


def _relay(settings: Settings, database: Database) -> Background:
    from core.jobs import Relay, celery_app, ring_unless_many, sender  # noqa: PLC0415 - the embedded mode needs no Celery

    app = celery_app(settings)
    return Relay(database, sender(app), ring=partial(ring_unless_many, app, "index"))


def _health(database: Database, background: Background) -> Health:
    """Ready means: the catalogue can be read, and the background work that uploads rely on is alive."""
    if not background.alive:
        return Health(ready=False, detail="The background work has stopped; restart `footnote up` and see its log.")
    try:
        with database.reading() as session:
            live = live_release(session)
    except FootnoteError as error:
        return Health(ready=False, detail=error.detail)
    return Health(ready=live is not None)


def _ensure_owner(database: Database, directory: DataDirectory, *, alone: bool) -> None:
    """Make the default tenant, its owner and the owner's key; a key file that is lost or opens nothing is replaced.

    The keys that were in it before end then: to delete the file is how a secret that leaked is got rid of. An API that
    is not `alone` leaves a key that another one has in its file as it is.
    """
    secret = directory.owner_key()
    with database.reading() as session:
        if secret is not None and authenticate(session, secret) is not None:
            return
    with database.transaction() as session:
        if DEFAULT_TENANT not in list_tenants(session):
            add_tenant(session, DEFAULT_TENANT)
        if OWNER not in {user.name for user in list_users(session, DEFAULT_TENANT)}:
            add_user(session, DEFAULT_TENANT, OWNER)
        before = [
            key.id
            for key in list_keys(session, DEFAULT_TENANT)
            if key.user == OWNER and key.label == OWNER_KEY and key.revoked_at is None
        ]
        if before and not alone:
            return
        for key in before:
            revoke_key(session, DEFAULT_TENANT, key)
        _, secret = create_key(
            session, DEFAULT_TENANT, user=OWNER, role="admin", scopes=("impersonate",), label=OWNER_KEY
        )
        # Inside the transaction: no key without a file. A kill before the commit leaves a file without a key, which
        # the next start replaces.
        directory.write_owner_key(secret)


def _check_files(database: Database, blobs: BlobStore, place: str) -> None:
    """Refuse a database whose files lie elsewhere: its documents would fail here, or be lost between two indexes.

    :raises Conflict: the database knows files, and none of those looked for is in this data directory.
    """
    with database.reading() as session:
        sample = sample_of_blobs(session)
    if sample and not any(blobs.has(tenant, one) for tenant, one in sample):
        raise Conflict(
            f"The database holds documents whose files are not in {place}: it belongs to another data "
            "directory. Nothing was changed. Name that directory with --data, restore its files from the backup, or "
            "set FOOTNOTE_DATABASE_URL to a database of its own."
        )


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
