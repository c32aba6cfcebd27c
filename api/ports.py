"""What the API asks of parts that another package owns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from core.domain import Box


class PageRenderer(Protocol):
    """Draws a page of a stored file; the file is hostile, so whoever implements this works in a sandbox."""

    def render(self, path: Path, page: int, boxes: Sequence[Box]) -> bytes:
        """Return the page (numbers start at 1) as PNG with the boxes marked.

        Raises `NotFound` when the file has no such page to draw, `Unavailable` when the renderer failed.
        """
        ...
