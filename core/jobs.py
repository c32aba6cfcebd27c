"""Messages to workers: each says that a stage wants to be run, and nothing else. The stages are the truth.

A message may be lost, doubled, late or forged without effect: whoever gets one claims from the database what is due
now. A lost one costs the time until the reconciler rings again. There is no result backend: results are rows.
"""

import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery  # type: ignore[import-untyped]  # it ships no types

from core.db.index_tasks import has_due_task
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
ENOUGH_MESSAGES = 16  # More of them waiting wake nobody sooner: who wakes goes on until nothing is due.
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
            "unacked_restore_throttle": 1,  # Looked for every 10 s; kombu by itself looks every tenth time alone.
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_SECONDS,
            "retry_on_timeout": False,
        }
    elif broker.startswith("amqp"):
        # Out of memory, RabbitMQ reads no more from who publishes. Reading has no limit: a worker waits for hours.
        options = {"write_timeout": BROKER_SECONDS}
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

    The broker may be away, wiped or slow: the rows wait, and nobody who uploads notices. What the index has to change,
    access and removals, has no row of that kind: when woken, the relay looks for such tasks, and `ring`s for them.
    """

    def __init__(
        self, database: Database, send: Callable[[Wakeup], None], *, ring: Callable[[], None] = lambda: None
    ) -> None:
        self._database = database
        self._send = send
        self._ring = ring
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

    def ring_for_tasks(self) -> None:
        """Ring once if the index has something to change now.

        :raises Unavailable: the broker or the database does not answer; the reconciler rings later.
        """
        with self._database.reading() as session:
            due = has_due_task(session)
        if due:
            self._ring()

    def _run(self) -> None:
        wait, woken = POLL_SECONDS, False
        while not self._stopping.is_set():
            try:
                count = self.run_once()
                if woken:
                    self.ring_for_tasks()
                    woken = False
                wait = POLL_SECONDS
            except Exception as error:  # Without this thread nobody would be rung any more.
                log.warning("relay_failed", exc_info=None if isinstance(error, FootnoteError) else error)
                wait = min(2 * wait, LONGEST_BACK_OFF_SECONDS)
                self._stopping.wait(wait)
                continue
            if not count:
                woken = self._wake.wait(wait)
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
        with app.connection_for_write() as connection:
            if str(connection.transport_cls).startswith("amqp"):
                connection.transport_options["read_timeout"] = BROKER_SECONDS
            channel = connection.channel()  # Closed with the connection: to close it takes an answer.
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except Exception as error:
        if "NOT_FOUND" in str(error) or "no queue" in str(error):
            return 0
        raise Unavailable(f"The broker did not tell the length of a queue ({type(error).__name__}).") from error


def ring(app: Celery, queue: str, stage: str = "") -> None:
    """Tell the workers of the queue that there is work.

    Such a message does not expire: clocks of machines differ, and a worker whose clock is ahead would throw it away.

    :raises Unavailable: the broker did not take the message.
    """
    try:
        app.send_task(TASK, args=[queue, stage], queue=queue, retry=False, ignore_result=True)
    except Exception as error:  # Whatever kombu's transports throw, and they throw everything.
        raise Unavailable(f"The broker did not take a message ({type(error).__name__}); it is sent again.") from error


def ring_unless_many(app: Celery, queue: str) -> None:
    """`ring`, unless messages enough wait for the queue already: they would pile up while nobody takes them.

    :raises Unavailable: the broker does not answer.
    """
    if waiting_messages(app, queue) < ENOUGH_MESSAGES:
        ring(app, queue)
