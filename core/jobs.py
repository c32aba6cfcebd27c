"""Messages to workers: each says that a stage wants to be run, and nothing else. The stages are the truth.

A message may be lost, doubled, late or forged without effect: whoever gets one claims from the database what is due
now. A lost one costs the time until the reconciler rings again. There is no result backend: results are rows.
"""

import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery  # type: ignore[import-untyped]  # it ships no types

from core.db.session import Database
from core.db.wakeups import Wakeup, drain
from core.errors import FootnoteError, InvalidInput, Unavailable
from core.settings import Settings

log = structlog.get_logger()

QUEUES = ("parse", "embed", "index", "maintenance")
TASK = "footnote.work"
RELAYED_AT_ONCE = 200
POLL_SECONDS = 1.0
LONGEST_BACK_OFF_SECONDS = 10.0
BROKER_SECONDS = 2.0  # A broker that does not take a message in this time has not taken it.


def celery_app(settings: Settings) -> Celery:
    """Return the connection to the broker, Redis or RabbitMQ.

    :raises InvalidInput: the settings name no broker, or no database that several processes can share.
    """
    if settings.broker_url is None:
        raise InvalidInput("FOOTNOTE_BROKER_URL is not set: workers of their own need a broker (redis:// or amqp://).")
    if not (settings.database_url or "").startswith(("postgresql", "postgres:")):
        raise InvalidInput("FOOTNOTE_DATABASE_URL must name a PostgreSQL database where a broker is set.")
    broker = settings.broker_url.get_secret_value()
    options: dict[str, Any] = {}
    if broker.startswith(("redis", "rediss")):
        options = {
            # A message unacknowledged for so long goes to somebody else: never a recovery, only a nuisance,
            # and harmless: the second one finds nothing to claim. It should exceed the longest task twice over.
            "visibility_timeout": settings.visibility_seconds,
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_SECONDS,
            "retry_on_timeout": False,
        }
    app = Celery("footnote", broker=broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,  # A worker outlives any outage of its broker.
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=BROKER_SECONDS,
        broker_transport_options=options,
        task_acks_late=True,
        task_create_missing_queues=True,
        task_default_queue="maintenance",
        task_ignore_result=True,
        task_reject_on_worker_lost=False,  # The lease decides, not the broker: a poison would go round for ever.
        task_serializer="json",
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
    )
    return app


class Relay:
    """Sends the messages that rows announce; a row goes once the broker has its message.

    The broker may be away, wiped or slow: the rows wait, and nobody who uploads notices.
    """

    def __init__(self, database: Database, send: Callable[[Wakeup], None]) -> None:
        self._database = database
        self._send = send
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Send what has been announced now rather than at the next poll."""
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def run_once(self) -> int:
        """Send some of what is announced; return how many messages that were.

        :raises Unavailable: the broker or the database does not answer; nothing is forgotten.
        """
        with self._database.transaction() as session:
            wakeups = drain(session, limit=RELAYED_AT_ONCE)
            for wakeup in wakeups:  # Sent, and then no commit: the message comes twice, which does no harm.
                self._send(wakeup)
        return len(wakeups)

    def _run(self) -> None:
        wait = POLL_SECONDS
        while not self._stopping.is_set():
            try:
                count = self.run_once()
                wait = POLL_SECONDS
            except Exception as error:  # Without this thread nobody would be rung any more.
                log.warning("relay_failed", exc_info=None if isinstance(error, FootnoteError) else error)
                count = 0
                wait = min(2 * wait, LONGEST_BACK_OFF_SECONDS)
                self._stopping.wait(wait)
            if not count:
                self._wake.wait(wait)
                self._wake.clear()


def sender(app: Celery) -> Callable[[Wakeup], None]:
    """Return what sends one message and raises `Unavailable` where the broker does not take it."""

    def send(wakeup: Wakeup) -> None:
        ring(app, wakeup.queue, str(wakeup.stage))

    return send


def waiting_messages(app: Celery, queue: str) -> int:
    """Return how many messages the broker holds for the queue, 0 where there is no such queue yet.

    :raises Unavailable: the broker does not answer.
    """
    try:
        with app.connection_for_write() as connection, connection.channel() as channel:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except Exception as error:
        if "NOT_FOUND" in str(error) or "no queue" in str(error):
            return 0
        raise Unavailable(f"The broker did not tell the length of a queue ({type(error).__name__}).") from error


def ring(app: Celery, queue: str, stage: str = "", *, expires: float | None = None) -> None:
    """Tell the workers of the queue that there is work; after `expires` seconds the message is worth nothing any more.

    :raises Unavailable: the broker did not take the message.
    """
    try:
        app.send_task(TASK, args=[queue, stage], queue=queue, retry=False, ignore_result=True, expires=expires)
    except Exception as error:  # Whatever kombu's transports throw, and they throw everything.
        raise Unavailable(f"The broker did not take a message ({type(error).__name__}); it is sent again.") from error
