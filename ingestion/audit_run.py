"""One audit, from where it was left to its end: each side is looked at, and what they do not share is healed.

First the points that the index holds, then the documents of which it should hold every passage, then the files that
documents need. The catalogue may change meanwhile, so it is asked afresh right before anything is changed. Every
healing may be done twice.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog

from core.db import comparing
from core.db.access import effective_of
from core.db.comparing import Searchable, StoredFile
from core.db.index_audits import FOREIGN, MOST_MISSING, ClaimedAudit, Counts, Place, Progress
from core.db.index_tasks import queue_task
from core.db.refilling import refill
from core.db.session import Database
from core.ids import DocumentId, IndexId, TenantId, VersionId
from ingestion.foreign import ADVICE, Weight
from retrieval.ports import StoredPoint, VectorIndex

log = structlog.get_logger()

STEP_SECONDS = 0.05  # Of one step, or one request to a service: changes of access and new documents come in between.
POINTS_AT_ONCE = 250  # A page of the embedded engine: one short look under the GIL, one question to the catalogue.
DOCUMENTS_AT_ONCE = 32
VERSIONS_AT_ONCE = 200

HasFile = Callable[[TenantId, str], bool]


class AuditRun:
    """An audit in hand: where it is, and what it has counted since that was written down last.

    `has_file` tells whether the bytes of a hash are stored. `healed` says that something was healed since then.
    """

    def __init__(
        self,
        claimed: ClaimedAudit,
        *,
        database: Database,
        index: VectorIndex,
        index_id: IndexId,
        embedder_id: str,
        has_file: HasFile,
    ) -> None:
        self.claimed = claimed
        self.healed = False
        self._database = database
        self._index = index
        self._index_id = index_id
        self._embedder_id = embedder_id
        self._has_file = has_file
        self._place = claimed.place
        self._missing: list[Mapping[str, Any]] = list(claimed.missing)
        self._counts = Counts()
        self._rewritten: set[DocumentId] = set()
        self._weight = Weight() if claimed.place == Place() else None  # Of all points, where every one is looked at.
        self._steps = self._from_place()
        self._step_ends = 0.0

    @property
    def progress(self) -> Progress:
        """What is to be written down."""
        return Progress(counts=self._counts, place=self._place, missing=tuple(self._missing))

    def step(self) -> bool:
        """Do a little of it, and return whether there is more to do. Whatever does not answer is raised."""
        self._step_ends = time.monotonic() + STEP_SECONDS
        return next(self._steps, self) is not self

    def count_anew(self) -> None:
        """Begin at zero: what was counted is written down."""
        self._counts = Counts()
        self.healed = False

    def _add(self, **counts: int) -> None:
        self._counts += Counts(**counts)

    def _from_place(self) -> Iterator[None]:
        """Go on from the run's place, in steps; before each of them the place is after all that was looked at."""
        if self._place.phase == "points":
            yield from self._through_points()
        if self._place.phase == "unknown":
            yield from self._through_unknown()
            self._place = Place(phase="documents")
        with self._database.reading() as session:
            tenants = sorted(comparing.tenants_of(session))  # Whatever order the database has for letters.
        if self._place.phase == "documents":
            for tenant in tenants:
                if self._place.tenant is None or tenant >= self._place.tenant:
                    yield from self._check_documents(tenant)
            self._place = Place(phase="files")
        for tenant in tenants:
            if self._place.tenant is None or tenant >= self._place.tenant:
                yield from self._check_files(tenant)

    def _through_points(self) -> Iterator[None]:
        while True:
            # Judged as it was fetched: nothing that this thread does to the index may lie between the two.
            page = self._index.stored_page(self._place.after, limit=POINTS_AT_ONCE)
            whole = self._check_points(page.points)
            ended = whole and page.next is None
            if ended:
                self._place = Place(phase="unknown")
            elif whole:
                self._place = Place(phase="points", after=page.next)
            yield
            if ended:
                return

    def _through_unknown(self) -> Iterator[None]:
        """Remove the points of documents that were never here, unless they are too many to be left over.

        How many they are is known at the end of all points; who has not seen them all counts anew.
        """
        weight = self._weight or (yield from self._weighed())
        if weight.is_foreign:
            log.error("index_points_foreign", points=weight.unknown, of=weight.points, detail=ADVICE)
            self._missing.append({"kind": FOREIGN, "points": weight.unknown})
        elif weight.unknown:
            yield from self._remove_unknown()

    def _weighed(self) -> Generator[None, None, Weight]:
        weight, start = Weight(), None
        while True:
            page = self._index.stored_page(start, limit=POINTS_AT_ONCE)
            weight += Weight(points=len(page.points), unknown=len(self._unknown(page.points)))
            if page.next is None:
                return weight
            start = page.next
            yield

    def _remove_unknown(self) -> Iterator[None]:
        start: str | None = None
        while True:
            page = self._index.stored_page(start, limit=POINTS_AT_ONCE)
            unknown = self._unknown(page.points)
            removed = self._remove(unknown)
            self._add(points_removed=removed)
            if removed == len(unknown):
                if page.next is None:
                    return
                start = page.next
            yield

    def _unknown(self, page: Sequence[StoredPoint]) -> list[StoredPoint]:
        places = {(one.tenant, one.document, one.version, one.chunk): one for one in page}
        with self._database.reading() as session:
            standings = comparing.standings(session, self._index_id, places)
        return [places[place] for place, standing in standings.items() if standing == "unknown"]

    def _remove(self, strays: Sequence[StoredPoint]) -> int:
        """Remove as many of these points as there is time for, at least those of one document; return how many."""
        by_document: dict[tuple[TenantId, DocumentId], list[StoredPoint]] = {}
        for point in strays:
            by_document.setdefault((point.tenant, point.document), []).append(point)
        removed = documents = 0
        for (tenant, document), points in by_document.items():
            if documents and self._out_of_time:
                break
            self._index.delete_chunks(tenant, document, [point.chunk for point in points])
            removed, documents = removed + len(points), documents + 1
        if strays:
            self._index.flush()
            log.warning("index_points_removed", points=removed, documents=documents)
            self.healed = True
        return removed

    @property
    def _out_of_time(self) -> bool:
        return time.monotonic() >= self._step_ends

    def _check_points(self, page: Sequence[StoredPoint]) -> bool:
        """Remove the points that nobody needs; have the payload of those written again that carry other rights.

        False: it took so long to remove some that the page is to be looked at again for the others.
        """
        places = {(one.tenant, one.document, one.version, one.chunk): one for one in page}
        with self._database.reading() as session:
            standings = comparing.standings(session, self._index_id, places)
        strays = [places[place] for place, standing in standings.items() if standing == "stray"]
        removed = self._remove(strays)
        if removed < len(strays):
            self._add(points=removed, points_removed=removed)
            return False
        if self._weight is not None:
            self._weight += Weight(points=len(page), unknown=list(standings.values()).count("unknown"))
        right = [places[place] for place, standing in standings.items() if standing == "right"]
        rewritten = self._check_access(right)
        self._add(points=len(page), points_removed=removed, access_rewritten=rewritten)
        self.healed |= rewritten > 0
        return True

    def _check_access(self, points: Sequence[StoredPoint]) -> int:
        """Queue the access of documents whose points carry other rights than they have; return how many those are."""
        rewritten = 0
        for tenant in sorted({point.tenant for point in points}):
            ours = [point for point in points if point.tenant == tenant]
            documents = {point.document for point in ours}
            with self._database.reading() as session:
                held = effective_of(session, tenant, documents)
                queued = comparing.accesses_queued(session, tenant, documents)
            stale = {
                point.document
                for point in ours
                if (access := held.get(point.document)) is not None
                and point.document not in queued
                and point.document not in self._rewritten
                and (set(point.allow), set(point.deny)) != (set(access.allow), set(access.deny))
            }
            if stale:
                with self._database.transaction() as session:
                    for document in sorted(stale):
                        queue_task(session, tenant, "access", document)
                self._rewritten |= stale
                rewritten += len(stale)
        return rewritten

    def _check_documents(self, tenant: TenantId) -> Iterator[None]:
        """Have every document indexed again of which the index does not hold every passage."""
        place = self._place
        after = DocumentId(UUID(place.after)) if place.tenant == tenant and place.after is not None else None
        while True:
            with self._database.reading() as session:
                some = comparing.searchable_after(session, self._index_id, tenant, after, DOCUMENTS_AT_ONCE)
            if not some:
                return
            lacking: list[Searchable] = []
            looked = 0
            for one in some:
                if looked and self._out_of_time:
                    break
                if not one.changing and not self._is_whole(one):
                    lacking.append(one)
                looked += 1
            after = some[looked - 1].document
            if lacking:
                versions = {one.document: one.version for one in lacking}
                with self._database.transaction() as session:  # Asks once more, under the lock of each document.
                    refilled = refill(session, tenant, versions, index_id=self._index_id, model=self._embedder_id)
                self._add(documents_refilled=len(refilled))
                if refilled:
                    log.warning("documents_refilled", documents=len(refilled), tenant=tenant)
                    self.healed = True
            self._add(documents=looked)
            self._place = Place(phase="documents", tenant=tenant, after=str(after))
            yield

    def _is_whole(self, one: Searchable) -> bool:
        return one.stage == "done" and self._index.count(one.tenant, one.document, one.version) >= one.chunks

    def _check_files(self, tenant: TenantId) -> Iterator[None]:
        """Count the files that documents need and nobody has any more: only a backup can heal that."""
        place = self._place
        after = VersionId(UUID(place.after)) if place.tenant == tenant and place.after is not None else None
        while True:
            with self._database.reading() as session:
                files, following = comparing.files_after(session, tenant, after, VERSIONS_AT_ONCE)
            for version, its in groupby(files, key=lambda file: file.version):
                self._check_files_of_one(list(its))
                self._place = Place(phase="files", tenant=tenant, after=str(version))
                if self._out_of_time:
                    yield
            yield
            if following is None:
                return
            after = following

    def _check_files_of_one(self, files: Sequence[StoredFile]) -> None:
        lost = [file for file in files if not self._has_file(file.tenant, file.hash)]
        if lost:
            with self._database.reading() as session:  # The document may have been deleted since.
                lost = [file for file in lost if comparing.still_needed(session, file)]
        for file in lost:
            log.error("file_missing", document=str(file.document), kind=file.kind)
        self._missing += [_told(file) for file in lost[: MOST_MISSING - len(self._missing)]]
        self._add(files=len(files), files_missing=len(lost))


def _told(file: StoredFile) -> dict[str, str]:
    return {
        "tenant": file.tenant,
        "document": str(file.document),
        "version": str(file.version),
        "kind": file.kind,
    }
