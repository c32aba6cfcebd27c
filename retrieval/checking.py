"""The catalogue decides, the index only saves work: candidates are checked, and arms refilled with what may be shown.

What the arms return after this is what an index without a single stale point would have returned. So neither ranks nor
scores nor the number of hits tell of documents that the asker may not read, and a payload that is 99 % stale still
gives full results, only later.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from core.domain import Chunk, Principal
from core.ids import ChunkId, DocumentId, VersionId
from retrieval.ports import Candidate

GROWTH = 4  # An arm that came back short asks for so many times more, until it has enough or there is no more.

Fetch = Callable[[int, Collection[DocumentId]], list[Candidate]]
"""Ask an arm for its best candidates: how many, and which documents to leave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueChunk:
    """A chunk of a document's current version, with what a hit says about its document."""

    chunk: Chunk
    name: str
    title: str | None


class Catalogue(Protocol):
    """What the truth says about candidates. Every call reads it afresh."""

    def current_versions(
        self, documents: Collection[DocumentId], *, principal: Principal
    ) -> Mapping[DocumentId, VersionId]:
        """Return the current version of those documents that the principal may read; the others are left out."""
        ...

    def chunks(self, chunks: Collection[ChunkId], *, principal: Principal) -> Mapping[ChunkId, CatalogueChunk]:
        """Return those chunks that belong to the current version of a document; the others are left out.

        The caller has asked `current_versions` about their documents before.
        """
        ...


class CheckedCandidates:
    """What the catalogue has said during one search. Asks about each document once."""

    def __init__(self, catalogue: Catalogue, *, principal: Principal) -> None:
        self._catalogue = catalogue
        self._principal = principal
        self._versions: dict[DocumentId, VersionId | None] = {}
        self._chunks: dict[ChunkId, CatalogueChunk | None] = {}
        self.seconds = 0.0
        """Time that the catalogue took so far."""

    @property
    def unreadable(self) -> set[DocumentId]:
        """Documents that arms returned and the catalogue denied: their payload is stale."""
        return {document for document, version in self._versions.items() if version is None}

    def check(self, candidates: Iterable[Candidate]) -> None:
        """Ask the catalogue about the documents of these candidates, if it has not been asked yet."""
        new = {candidate.document for candidate in candidates} - self._versions.keys()
        if new:
            started = time.perf_counter()
            current = self._catalogue.current_versions(new, principal=self._principal)
            self.seconds += time.perf_counter() - started
            self._versions.update({document: current.get(document) for document in new})

    def load(self, chunks: Iterable[ChunkId]) -> bool:
        """Load the chunks' rows; return whether all exist. One that does not is not shown from here on."""
        new = {chunk for chunk in chunks if chunk not in self._chunks}
        if not new:
            return True
        started = time.perf_counter()
        found = self._catalogue.chunks(new, principal=self._principal)
        self.seconds += time.perf_counter() - started
        self._chunks.update({chunk: found.get(chunk) for chunk in new})
        return len(found) == len(new)

    def chunk(self, chunk: ChunkId) -> CatalogueChunk:
        """Return a chunk that `load` found."""
        found = self._chunks[chunk]
        if found is None:
            raise KeyError(chunk)
        return found

    def shows(self, candidate: Candidate) -> bool:
        """Return whether the candidate is of the current version of a document that the principal may read."""
        return not self._is_lost(candidate) and self._versions.get(candidate.document) == candidate.version

    def overtaken(self, candidates: Iterable[Candidate]) -> set[tuple[DocumentId, VersionId]]:
        """Return the documents that may have changed between the arms' answers and the catalogue's, as it knew them.

        Of these, arms returned points of another version alone, or points whose rows are gone. The points of a version
        are all in the index before it becomes current: who asks the arms again finds them.
        """
        given = list(candidates)
        shown = {candidate.document for candidate in given if self.shows(candidate)}
        return {
            (candidate.document, version)
            for candidate in given
            if (version := self._versions.get(candidate.document)) is not None
            and (candidate.document not in shown or self._is_lost(candidate))
        }

    def _is_lost(self, candidate: Candidate) -> bool:
        return self._chunks.get(candidate.chunk, True) is None


class Arm:
    """One arm of a search: the best `depth` candidates that may be shown, fetched again and deeper if some may not."""

    def __init__(self, fetch: Fetch, *, depth: int) -> None:
        self._fetch = fetch
        self._depth = depth
        self._asked = depth
        self.found = fetch(depth, ())

    def readable(self, checked: CheckedCandidates) -> list[Candidate]:
        """Return the best `depth` candidates that may be shown, or all that there are."""
        while True:
            checked.check(self.found)
            shown = [candidate for candidate in self.found if checked.shows(candidate)]
            if len(shown) >= self._depth or len(self.found) < self._asked:
                return shown[: self._depth]
            self._asked *= GROWTH
            self.found = self._fetch(self._asked, checked.unreadable)
