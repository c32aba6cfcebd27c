"""The work behind an API: in the same process and its child (embedded), or by workers that are rung (distributed)."""

from typing import Protocol

from footnote.supervisor import WorkerSupervisor
from ingestion.indexing import IndexLoop


class Background(Protocol):
    """Work that goes on beside the requests. `wake` says that there is more, and returns at once."""

    @property
    def alive(self) -> bool:
        """Whether it goes on: without it nothing becomes searchable."""
        ...

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


class EmbeddedWork:
    """The worker child, watched, and the index loop: all work of the embedded mode."""

    def __init__(self, supervisor: WorkerSupervisor, loop: IndexLoop) -> None:
        self._supervisor = supervisor
        self._loop = loop

    @property
    def alive(self) -> bool:
        return self._supervisor.alive and self._loop.alive

    def start(self) -> None:
        self._supervisor.start()
        self._loop.start()

    def wake(self) -> None:
        self._supervisor.wake()
        self._loop.wake()

    def stop(self) -> None:
        self._loop.stop()
        self._supervisor.stop()
