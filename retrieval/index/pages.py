"""Looking through a whole index, page by page."""

from collections.abc import Callable, Iterator

from retrieval.ports import StoredPage, StoredPoint


def points_of(page: Callable[[str | None], StoredPage]) -> Iterator[StoredPoint]:
    """Yield the points of one page after the other; `page` returns the one that begins there, None: the first."""
    start: str | None = None
    while True:
        found = page(start)
        yield from found.points
        if (start := found.next) is None:
            return
