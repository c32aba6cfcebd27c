"""What one parse may use."""

from dataclasses import dataclass
from typing import Self

from core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserLimits:
    """Limits of one child. Memory is resident memory, what the child shares with the fork server included.

    `file_bytes` is of each file; `scratch_bytes` and `scratch_files` of all that it keeps at a time, looked at a few
    times a second: for a moment there may be more.
    """

    wall_seconds: float = 120.0
    cpu_seconds: int = 120
    memory_bytes: int = 900_000_000
    output_bytes: int = 200_000_000
    file_bytes: int = 100_000_000
    open_files: int = 64
    scratch_bytes: int = 200_000_000
    scratch_files: int = 1_000

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            wall_seconds=settings.parser_wall_seconds,
            cpu_seconds=settings.parser_cpu_seconds,
            memory_bytes=settings.parser_memory_bytes,
            output_bytes=settings.parser_output_bytes,
        )
