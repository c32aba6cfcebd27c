"""Everything the routes work with, built by the composition root and handed over whole."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from api.ports import PageRenderer
from core.blobs import BlobStore
from core.db.session import Database
from core.settings import Settings
from generation.answering import AnswerQuestion
from retrieval.search import HybridSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether this process can serve; `detail` says why not, to those with a key."""

    ready: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The collaborators of the API.

    `wake` is called after every change that leaves work behind, and returns at once. `doctor` returns facts for an
    operator (versions, model, sandbox layers) as JSON values; it never holds a secret. `distributed`: other processes
    do the work, and one of them rings the others. `started` is a moment of the monotonic clock.
    """

    settings: Settings
    database: Database
    blobs: BlobStore
    search: HybridSearch
    answering: AnswerQuestion
    pages: PageRenderer
    wake: Callable[[], None]
    health: Callable[[], Health]
    doctor: Callable[[], Mapping[str, object]]
    distributed: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def up_seconds(self) -> float:
        """How long this process has been serving."""
        return time.monotonic() - self.started
