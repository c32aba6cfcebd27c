"""When points that nobody here knows are another installation's, rather than what was left over of ours."""

from dataclasses import dataclass

FEWEST = 100  # So many may always be left over: of tests, of what was killed between two writes.
ADVICE = (
    "more than half of the points in the index are of documents that were never in this catalogue; none of them was "
    "removed. Either another installation uses this collection: give each a FOOTNOTE_QDRANT_PREFIX of its own. Or the "
    "catalogue is older than the index: remove the collection, and the index is filled again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """How many points an audit has seen, and how many of those are of documents that were never in the catalogue."""

    points: int = 0
    unknown: int = 0

    def __add__(self, other: "Weight") -> "Weight":
        return Weight(points=self.points + other.points, unknown=self.unknown + other.unknown)

    @property
    def is_foreign(self) -> bool:
        """Whether the unknown ones are too many to be removed unasked."""
        return self.unknown >= FEWEST and 2 * self.unknown > self.points
