"""Audits of a test's own works, made step by step, and what should hold after one."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from core.db.access import effective_of
from core.db.index_audits import Counts, IndexAudit, get_audit, request_audit
from core.db.session import Database, sqlite_url
from core.db.tables import ChunkRow, DocumentRow
from core.ids import ChunkId, DocumentId, VersionId
from ingestion.auditing import Auditor
from ingestion.rebuilding import check_index_at_start
from retrieval.index.edge import EdgeIndex
from retrieval.index.memory import MemoryIndex
from retrieval.ports import VectorIndex
from tests.ingestion.works import INDEX, TENANT, MoodyEmbedder, Works


def auditor(works: Works, owner: str = "auditor-1") -> Auditor:
    return Auditor(
        database=works.database,
        index=works.index,
        index_id=INDEX,
        embedder_id=works.embedder.id,
        has_file=works.blobs.has,
        owner=owner,
        hour=24,  # never by itself
        due_seconds=0.0,
    )


def audited(works: Works, *, between: Callable[[], None] = lambda: None) -> IndexAudit:
    """Make an audit; `between` is called after each of its steps."""
    with works.database.transaction() as session:
        asked = request_audit(session)
    one = auditor(works)
    while True:  # One that a start or a look asked for comes first.
        while one.step():
            between()
        with works.database.reading() as session:
            found = get_audit(session, asked.id)
        assert found is not None
        if found.finished_at is not None:
            return found


def healed(counts: Counts) -> tuple[int, int, int, int]:
    return counts.points_removed, counts.documents_refilled, counts.access_rewritten, counts.files_missing


def assert_agreed(works: Works) -> None:
    """The index holds the passages of the current versions of the documents, with their access, and nothing else."""
    with works.database.reading() as session:
        wanted = {
            ChunkId(row.id): DocumentId(row.document_id)
            for row in session.query(ChunkRow)
            .join(DocumentRow, DocumentRow.current_version == ChunkRow.version_id)
            .filter(DocumentRow.deleted_at.is_(None))
        }
        access = effective_of(session, TENANT, set(wanted.values()))
    stored = {one.chunk: one for one in works.index.stored()}
    assert stored.keys() == wanted.keys()
    for chunk, document in wanted.items():
        assert set(stored[chunk].allow) == set(access[document].allow)
        assert set(stored[chunk].deny) == set(access[document].deny)


def strangers(index: VectorIndex, count: int) -> set[DocumentId]:
    """Write so many points of documents that the catalogue never knew, as another installation does."""
    assert isinstance(index, MemoryIndex)
    model = next(iter(index._stored.values())).point
    points = [
        replace(model, document=DocumentId(uuid4()), version=VersionId(uuid4()), chunk=ChunkId(uuid4()))
        for _ in range(count)
    ]
    index.upsert(points)
    return {point.document for point in points}


@dataclass
class EdgeHouse:
    """Works over the embedded engine in a folder that can be lost, copied and restored."""

    database: Database
    folder: Path
    works: Works = field(init=False)

    def __post_init__(self) -> None:
        self.works = Works(self.database, self.folder, index=self._opened())

    @property
    def place(self) -> Path:
        return self.folder / "indexes" / "edge"

    def _opened(self) -> VectorIndex:
        return EdgeIndex(self.place, index_id=INDEX, dim=MoodyEmbedder().dim)

    def copy(self, name: str) -> None:
        self.works.index.flush()
        shutil.copytree(self.place, self.folder / name)

    def restart(self, *, restored: str | None = None, lost: bool = False) -> None:
        """Stop, lose the index or put an older copy in its place, and start as the program does."""
        self.works.index.close()
        if lost or restored is not None:
            shutil.rmtree(self.place)
        if restored is not None:
            shutil.copytree(self.folder / restored, self.place)
        self.works.index = self._opened()
        self.works.restart()
        check_index_at_start(self.database, self.works.index, INDEX, self.works.embedder.id)


def opened_database(template: Path, folder: Path) -> Database:
    folder.mkdir(parents=True)
    shutil.copy(template, folder / "catalogue.db")
    return Database(sqlite_url(folder))
