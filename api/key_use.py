"""Noting that keys are used: apart from the requests, which neither wait for it nor fail by it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID

from core.db import keys
from core.db.keys import ApiKey
from core.db.session import Database
from core.errors import FootnoteError


class KeyUse:
    """Writes `last_used_at` in a thread of its own. What cannot be written is dropped; the next use tries again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="key-use")
        self._lock = threading.Lock()
        self._waiting: set[UUID] = set()
        self._closed = False

    def note(self, key: ApiKey) -> None:
        """Have it noted that the key was used just now; returns at once."""
        with self._lock:
            if self._closed or key.id in self._waiting:
                return
            self._waiting.add(key.id)
            self._thread.submit(self._record, key)

    def close(self) -> None:
        """Finish the note that is being written and drop the others."""
        with self._lock:
            self._closed = True
        self._thread.shutdown(cancel_futures=True)

    def _record(self, key: ApiKey) -> None:
        try:
            with suppress(FootnoteError), self._database.transaction() as session:
                keys.record_use(session, key)
        finally:
            with self._lock:
                self._waiting.discard(key.id)
