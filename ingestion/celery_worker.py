"""A Celery worker over the queue of record: its pool's processes each hold a `StageWorker`."""

import contextlib
import os
import socket
import stat
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import structlog
from celery import Celery, signals  # type: ignore[import-untyped]  # it ships no types
from celery.worker import state  # type: ignore[import-untyped]  # the same

from core.errors import FootnoteError
from core.jobs import QUEUES, TASK, celery_app
from core.observability import configure_logging
from core.settings import Settings
from ingestion import fitness
from ingestion.deafness import DeafnessWatch
from ingestion.parent import die_with
from ingestion.priority import weigh_session, yield_to_everybody
from ingestion.stage_worker import StageWorker
from ingestion.sweeping import CopiesSweep

log = structlog.get_logger()

RECONCILE_SECONDS = 5.0
STALE_SECONDS = 3_600  # A call of the clock that old is worth nothing; clocks of machines differ by less.
TASKS_PER_CHILD = 2_000  # Whatever leaks, leaks no further.
LONGEST_SECONDS = 3_600  # Whatever hangs, and its heartbeat not, ends by this; twice of it is Redis' patience.


def run(settings: Settings, queues: Sequence[str], *, concurrency: int, beat: bool) -> int:
    """Work for these queues until told to stop; return the exit status, not 0 when the worker could not go on.

    With `beat` this worker also rings the reconciler, every few seconds; one such worker per installation is enough,
    and more do no harm.

    :raises Conflict: this worker is set to another model than the index is made with.
    :raises Unavailable: the database does not answer, or no API has made a release yet.
    """
    fitness.check(settings)
    app = _worker_app(settings, queues)
    if beat:
        app.conf.beat_schedule = {
            "reconcile": {
                "task": TASK,
                "schedule": timedelta(seconds=RECONCILE_SECONDS),
                "args": ["maintenance", ""],
                "options": {"queue": "maintenance", "expires": STALE_SECONDS},
            }
        }
    worker = app.Worker(
        queues=list(queues),
        concurrency=concurrency,
        pool="prefork",
        beat=beat,
        schedule=str(settings.data / "beat-schedule"),
        without_gossip=True,
        without_mingle=True,
        loglevel="WARNING",
        quiet=True,
    )
    watch = DeafnessWatch(
        str(settings.database_url),
        queues,
        busy=lambda: bool(state.active_requests),
        always_rung=beat,
    )
    signals.task_received.connect(lambda **_: watch.heard(), weak=False)
    watch.start()
    CopiesSweep(settings.data, max_bytes=settings.s3_cache_bytes).start()
    worker.start()
    return int(worker.exitcode or 0)


def _worker_app(settings: Settings, queues: Sequence[str]) -> Celery:
    app = celery_app(settings)
    app.conf.update(
        task_time_limit=LONGEST_SECONDS,
        worker_max_tasks_per_child=TASKS_PER_CHILD,
    )
    holder: list[StageWorker] = []

    @app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def work(queue: str, _stage: str = "") -> None:
        if queue not in queues:  # Forged, or of another version.
            log.warning("message_ignored", queue=str(queue)[:32])
            return
        try:
            if not holder:
                holder.append(StageWorker(settings, app))
            holder[0].work(queue)
        except FootnoteError as error:  # The stages say what became of them; the reconciler rings again.
            log.warning("work_interrupted", queue=queue, detail=error.detail)

    def begin(**_: object) -> None:
        die_with(os.getppid())
        _let_go_of_connections()
        yield_to_everybody()
        weigh_session()
        configure_logging(settings.log_level)

    def end(**_: object) -> None:
        if holder:
            holder.pop().close()

    signals.worker_process_init.connect(begin, weak=False)
    signals.beat_embedded_init.connect(lambda **_: die_with(os.getppid()), weak=False)
    signals.worker_process_shutdown.connect(end, weak=False)
    return app


def _let_go_of_connections() -> None:
    """Close what this process inherited of its parent's connections to the broker.

    As long as a copy is open somewhere, the parent's epoll goes on reporting a connection that the parent has closed
    and can no longer take off: its event loop then spins for ever.
    """
    with Path(os.devnull).open("rb") as void:
        for entry in Path("/proc/self/fd").iterdir():
            descriptor = int(entry.name)
            with contextlib.suppress(OSError):
                if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    continue
                with socket.socket(fileno=os.dup(descriptor)) as inherited:
                    if inherited.family in {socket.AF_INET, socket.AF_INET6}:
                        os.dup2(void.fileno(), descriptor)  # Whoever still knows its number finds nothing there.


def checked_queues(names: str) -> tuple[str, ...]:
    """Return the queues of a comma-separated list.

    :raises ValueError: one of them does not exist, or there is none.
    """
    queues = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in queues if name not in QUEUES]
    if unknown or not queues:
        raise ValueError(f"Queues are {', '.join(QUEUES)}; {', '.join(unknown) or 'none'} was named.")
    return queues
