"""What one process of a distributed worker holds, and how it answers a message: it works until nothing is due."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache

import structlog
from celery import Celery  # type: ignore[import-untyped]  # it ships no types

from core.blobs import open_blobs
from core.db.holding import held, only_one
from core.db.index_audits import schedule_nightly
from core.db.releases import live_release
from core.db.session import Database
from core.errors import Conflict, Unavailable
from core.intake import Intake
from core.jobs import Relay, ring, ring_unless_many, sender, waiting_messages
from core.settings import Settings
from ingestion.auditing import LOOK_SECONDS, Auditor
from ingestion.indexing import IndexLoop
from ingestion.leases import HeldLeases
from ingestion.pipeline import IngestionPipeline
from ingestion.reconciling import end_abandoned_answers, reconcile
from ingestion.sandbox import ParserLimits, ParserSandbox
from retrieval.factory import build_embedder, build_sparse, open_index
from retrieval.ports import Embedder

log = structlog.get_logger()

PARSERS = 2
SLICE_SECONDS = 20.0  # After so long a message is acknowledged, and the next one goes on: a shutdown need not wait.
COLLECT_SECONDS = 600.0


class StageWorker:
    """Works for some queues. Made inside the process that works: nothing in it survives a fork.

    :raises Conflict: an embedded installation holds the database, or documents are indexed with another model.
    :raises Unavailable: the database does not answer, or nothing has made a release yet.
    """

    def __init__(self, settings: Settings, app: Celery) -> None:
        if settings.database_url is None:
            raise Conflict("A worker needs FOOTNOTE_DATABASE_URL.")
        self._settings = settings
        self._app = app
        self._stack = ExitStack()
        self._database = Database(settings.database_url)
        self._stack.callback(self._database.close)
        self._stack.enter_context(held(self._database, alone=False))
        self._blobs = open_blobs(settings, settings.data)
        self._relay = Relay(self._database, sender(app))
        self._owner = f"worker-{os.uname().nodename[:32]}-{os.getpid()}"
        self._collector: threading.Thread | None = None
        self._collected = 0.0
        self._looked = 0.0

        @cache
        def embedder() -> Embedder:
            return build_embedder(settings, mode="throughput")

        self._embedder = embedder
        self._load = cache(self._load_model)
        self._leases = cache(self._new_leases)
        self._pipeline = cache(self._new_pipeline)
        self._index = cache(self._new_index_loop)

    def work(self, queue: str) -> None:
        """Do what is due for the queue, for a while; what is left after that rings again.

        :raises Unavailable: something that every document needs does not answer; the reconciler rings again.
        """
        if queue != "index":
            self._work(queue)
            return
        # One writer at a time: access that changes while a version is written must not be overtaken by another's hand.
        with only_one(self._database, "index") as mine:
            if mine:
                self._work(queue)

    def _work(self, queue: str) -> None:
        if queue == "embed":
            self._load()
        run = self._runs()[queue]
        end = time.monotonic() + SLICE_SECONDS
        while run():
            self._pass_on()
            if time.monotonic() > end:
                ring(self._app, queue)
                return

    def close(self) -> None:
        self._stack.close()

    def _runs(self) -> dict[str, Callable[[], int]]:
        return {
            "parse": lambda: self._pipeline().run_parse() + self._pipeline().run_chunk(),
            "embed": lambda: self._pipeline().run_embed(),
            "index": lambda: self._index().run_once() + self._index().audit_once(),
            "maintenance": self._maintain,
        }

    def _pass_on(self) -> None:
        """Wake those who do the next step; where the broker is away, the reconciler does it later."""
        with suppress(Unavailable):
            while self._relay.run_once():
                pass

    def _maintain(self) -> int:
        """Ring for what is due; collecting goes on beside it, however long it takes."""
        self._ask_for_audits()
        reconcile(
            self._database,
            ring=lambda queue: ring(self._app, queue),
            waiting=lambda queue: waiting_messages(self._app, queue),
        )
        self._pass_on()
        end_abandoned_answers(self._database)
        collecting = self._collector is not None and self._collector.is_alive()
        if not collecting and time.monotonic() - self._collected > COLLECT_SECONDS:
            self._collected = time.monotonic()
            self._collector = threading.Thread(target=self._collect, name="collector", daemon=True)
            self._collector.start()
        return 0

    def _ask_for_audits(self) -> None:
        """Ask for the night's audit when it is time, and let whoever holds the index look at it now and then."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        with self._database.transaction() as session:
            schedule_nightly(session, self._settings.audit_hour)
        ring_unless_many(self._app, "index")

    def _collect(self) -> None:
        try:
            self._blobs.sweep()
            Intake(database=self._database, blobs=self._blobs, max_bytes=self._settings.max_upload_bytes).collect()
        except Exception as error:
            log.warning("collecting_failed", exc_info=error)

    def _load_model(self) -> None:
        """Load the model before anything is claimed: where it cannot be, documents are left to who can."""
        self._embedder().embed_query("")

    def _new_leases(self) -> HeldLeases:
        leases = HeldLeases(self._database, lease_seconds=self._settings.lease_seconds)
        leases.start()
        self._stack.callback(leases.stop)
        return leases

    def _new_pipeline(self) -> IngestionPipeline:
        settings = self._settings
        leases = self._leases()
        sandbox = ParserSandbox(ParserLimits.from_settings(settings), processes=PARSERS)
        self._stack.callback(sandbox.close)
        pipeline = IngestionPipeline(
            database=self._database,
            blobs=self._blobs,
            parser=sandbox,
            embedder=self._embedder,
            held=leases,
            owner=self._owner,
            parsers=PARSERS,
            chunk_tokens=settings.chunk_tokens,
            chunk_overlap_tokens=settings.chunk_overlap_tokens,
            parse_batch=PARSERS,
        )
        self._stack.callback(pipeline.close)
        return pipeline

    def _new_index_loop(self) -> IndexLoop:
        settings = self._settings
        with self._database.reading() as session:
            release = live_release(session)
        if release is None:
            raise Unavailable("There is no release yet: start the API first, which makes one.")
        embedder, sparse = build_embedder(settings), build_sparse(settings)
        index = open_index(settings, settings.data / "indexes", release.index_id, embedder.dim)
        self._stack.callback(index.close)
        intake = Intake(database=self._database, blobs=self._blobs, max_bytes=settings.max_upload_bytes)
        return IndexLoop(
            database=self._database,
            collect=intake.collect,
            index=index,
            sparse=sparse,
            embedder_id=embedder.id,
            owner=self._owner,
            index_id=release.index_id,
            lease_seconds=settings.lease_seconds,
            polls=False,
            held=self._leases(),
            audit=Auditor(
                database=self._database,
                index=index,
                index_id=release.index_id,
                embedder_id=embedder.id,
                has_file=self._blobs.has,
                owner=self._owner,
                hour=settings.audit_hour,
            ).step,
        )
