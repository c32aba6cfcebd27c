"""Page images from the sandbox."""

from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path

from core.domain import Box, Reason
from core.errors import NotFound, Unavailable
from ingestion.parsing.failures import ParseFailed
from ingestion.sandbox.client import ForkServerClient
from ingestion.sandbox.limits import ParserLimits

_RENDERER = "ingestion.sandbox.rendering_child"
_MOST_BOXES = 500  # More than the lines of any page that can be read; also keeps the request within one packet.
_PATIENCE_SECONDS = 5.0  # Somebody waits for the picture, and holds one of the API's threads meanwhile.
_WALL_SECONDS = 10.0  # A page that takes longer to draw is none that a reader waits for.


class PageSandbox:
    """Draws pages of stored files, each in a confined child. Its fork server imports only PDFium and Pillow."""

    def __init__(self, limits: ParserLimits, *, processes: int = 2) -> None:
        brief = replace(limits, wall_seconds=min(limits.wall_seconds, _WALL_SECONDS))
        self._children = ForkServerClient(_RENDERER, brief, processes=processes, patience_seconds=_PATIENCE_SECONDS)

    def render(self, path: Path, page: int, boxes: Sequence[Box], *, dpi: int = 144) -> bytes:
        """Return the page (numbers start at 1) as PNG, the boxes that stand on it marked like with a highlighter.

        Raises NotFound when the file has no such page to draw: pages of PDF files alone have an image. Raises
        Unavailable when drawing failed, or when too many pages are being drawn already.
        """
        marked = [astuple(box)[1:] for box in boxes if box.page == page][:_MOST_BOXES]
        try:
            return self._children.run(path, {"page": page, "boxes": marked, "dpi": dpi}).payload
        except ParseFailed as failure:
            if failure.reason in (Reason.UNSUPPORTED, Reason.NOT_A_FILE, Reason.ENCRYPTED, Reason.CORRUPT):
                raise NotFound(f"There is no image of this page: {failure.detail}.") from failure
            raise Unavailable(f"The page could not be drawn: {failure.detail}.") from failure

    def active_layers(self) -> list[str]:
        """Return the names of the protections that drawing and parsing run under here, for `footnote doctor`."""
        return list(self._children.layers())

    def close(self) -> None:
        """End the fork server."""
        self._children.close()
