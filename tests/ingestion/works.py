"""A way in with real parts: SQLite, blobs on disk, hashing embedder, exact index; only the parser is a plain one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update

from core.blobs import DirectoryBlobs, StoredBlob
from core.db import directory, documents, releases, stages
from core.db.documents import DocumentStatus
from core.db.session import Database
from core.db.tables import ChunkRow, DocumentRow, IndexAuditRow, IndexTaskRow, StageRow
from core.domain import EVERYONE, Element, ElementKind, Hit, Page, ParsedDocument, Principal, Reason, Span, StageName
from core.ids import DEFAULT_TENANT, ChunkId, DocumentId, IndexId, TenantId, VersionId
from core.intake import Intake, UploadRequest
from ingestion.indexing import IndexLoop
from ingestion.leases import HeldLeases
from ingestion.parsing import ParseFailed
from ingestion.parsing.failures import ChildKilled
from ingestion.pipeline import IngestionPipeline
from ingestion.sandbox import ParsedResult
from retrieval.catalogue import DatabaseCatalogue
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.index.memory import MemoryIndex
from retrieval.ports import VectorIndex
from retrieval.search import HybridSearch
from retrieval.sparse import Bm25Encoder

TENANT = DEFAULT_TENANT
INDEX = IndexId("works")
CHUNK_TOKENS = 32
LONG_AGO = 1  # A lease that ended then lapsed in 1970.

Chunks = dict[UUID, tuple[UUID, int, int, int, str]]


class Killed(BaseException):
    """The process dies here: nothing in it gets to clean up, so no `except Exception` may see it."""


class PlainParser:
    """`Parser` for plain text: blank lines divide paragraphs; after a `!` comes a reason to fail for.

    `!corrupt@3 detail` fails at page 3; `lossy` at the beginning is read, but for page 2. Mended, it fails no more.
    """

    def __init__(self) -> None:
        self.parsed: list[str] = []
        self.kills = 0  # so many of the next parses are ended from outside
        self.mended = False

    def parse(self, path: Path, name: str, progressed: Callable[[float], None] | None = None) -> ParsedResult:
        self.parsed.append(name)
        text = path.read_text()
        if progressed is not None:
            progressed(0.5)
        if self.kills:
            self.kills -= 1
            raise ChildKilled(Reason.PARSER_OOM, "killed from outside")
        if text.startswith("!") and not self.mended:
            what, _, detail = text[1:].partition(" ")
            reason, _, page = what.partition("@")
            raise ParseFailed(Reason(reason), detail, int(page) if page else None, "  a.parser, line 1, in parse")
        document = replace(plain_document(text), pages_lost=(2,) if text.startswith("lossy") else ())
        return ParsedResult(media_type="text/plain", document=document, peak_rss=0)


def plain_document(text: str) -> ParsedDocument:
    elements, start = [], 0
    for paragraph in text.split("\n\n"):
        span = Span(start=start, end=start + len(paragraph))
        if paragraph.strip():
            elements.append(Element(kind=ElementKind.PARAGRAPH, span=span))
        start = span.end + 2
    return ParsedDocument(
        text=text,
        title="Plain",
        language="en",
        elements=tuple(elements),
        pages=(Page(number=1, span=Span(start=0, end=len(text))),),
        media_type="text/plain",
    )


class MoodyEmbedder(HashingEmbedder):
    """The hashing embedder until told otherwise: `spoil` sees the texts of every call, and its result."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__(dim)
        self.calls: list[list[str]] = []
        self.spoil: Callable[[Sequence[str], NDArray[np.float32]], NDArray[np.float32]] | None = None

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        vectors = super().embed_documents(texts)
        return vectors if self.spoil is None else self.spoil(texts, vectors)


class WatchedBlobs(DirectoryBlobs):
    """Blobs on disk; `before_put` is called first, and may raise as a dying process would."""

    before_put: Callable[[], None] | None = None

    def put(self, tenant: TenantId, content: bytes | BinaryIO, *, max_bytes: int | None = None) -> StoredBlob:
        if self.before_put is not None:
            self.before_put()
        return super().put(tenant, content, max_bytes=max_bytes)


@dataclass
class Works:
    """Everything between an upload and a search, run step by step by the test itself."""

    database: Database
    folder: Path
    index: VectorIndex = field(default_factory=MemoryIndex)
    parser: PlainParser = field(default_factory=PlainParser)
    embedder: MoodyEmbedder = field(default_factory=MoodyEmbedder)

    def __post_init__(self) -> None:
        self.blobs = WatchedBlobs(self.folder / "blobs")
        self.intake = Intake(database=self.database, blobs=self.blobs, max_bytes=1_000_000)
        self.sparse = Bm25Encoder()
        self.held = HeldLeases(self.database)
        self.pipeline = self.new_pipeline()
        self.loop = self.new_loop()
        with self.database.transaction() as session:
            directory.add_tenant(session, TENANT)
            for name in ("ann", "bob"):
                directory.add_user(session, TENANT, name)
            releases.ensure_live_release(session, INDEX, {})

    def new_pipeline(self, owner: str = "worker-1") -> IngestionPipeline:
        """Return a pipeline as a worker started now would have it."""
        return IngestionPipeline(
            database=self.database,
            blobs=self.blobs,
            parser=self.parser,
            embedder=lambda: self.embedder,
            held=self.held,
            owner=owner,
            parsers=2,
            chunk_tokens=CHUNK_TOKENS,
            chunk_overlap_tokens=0,
        )

    def new_loop(self) -> IndexLoop:
        return IndexLoop(
            database=self.database,
            collect=self.intake.collect,
            index=self.index,
            sparse=self.sparse,
            embedder_id=self.embedder.id,
            owner="index-1",
        )

    def close(self) -> None:
        self.pipeline.close()
        self.index.close()

    def principal(self, name: str) -> Principal:
        return Principal(tenant=TENANT, closure=frozenset({f"user:{name}", EVERYONE}), user=name, role="editor")

    def upload(self, text: str, name: str = "a.txt", *, allow: Sequence[str] = ()) -> DocumentId:
        """Upload as ann."""
        request = UploadRequest(name=name, source="files", allow=allow)
        return self.intake.upload(self.principal("ann"), request, text.encode()).document

    def delete(self, document: DocumentId) -> None:
        with self.database.transaction() as session:
            documents.delete(session, TENANT, document, "user:ann")

    def work(self) -> None:
        """Do everything that is ready."""
        while self.step():
            pass

    def step(self) -> int:
        """Let each part work once; return how much there was to do."""
        pipeline = self.pipeline
        return pipeline.run_parse() + pipeline.run_chunk() + pipeline.run_embed() + self.loop.run_once()

    def work_until(self, name: StageName) -> None:
        """Do the stages before this one."""
        runs = {
            StageName.PARSE: self.pipeline.run_parse,
            StageName.CHUNK: self.pipeline.run_chunk,
            StageName.EMBED: self.pipeline.run_embed,
        }
        for stage, run in runs.items():
            if stage is name:
                return
            run()

    def restart(self) -> None:
        """Do what a start after a crash does: every lease is free again."""
        self.pipeline.close()
        self.pipeline = self.new_pipeline()
        self.loop = self.new_loop()
        with self.database.transaction() as session:
            stages.reclaim_all(session)
            session.execute(update(IndexTaskRow).where(IndexTaskRow.done_at.is_(None)).values(ready_at=LONG_AGO))

    def lapse(self) -> None:
        """Let every lease lapse, as when its worker is dead or stands still."""
        with self.database.transaction() as session:
            session.execute(update(StageRow).where(StageRow.state == "leased").values(lease_until=LONG_AGO))

    def lapse_audits(self) -> None:
        """Let whoever makes an audit be dead, and what was put off be due."""
        with self.database.transaction() as session:
            session.execute(update(IndexAuditRow).values(lease_until=LONG_AGO, ready_at=LONG_AGO))

    def hurry(self) -> None:
        """Let what waits for a later attempt be ready now."""
        with self.database.transaction() as session:
            session.execute(update(StageRow).where(StageRow.state == "queued").values(ready_at=LONG_AGO))

    def wear(self, name: StageName, attempts: int) -> None:
        """Let the stages of this name have been tried so often."""
        with self.database.transaction() as session:
            session.execute(update(StageRow).where(StageRow.name == name.value).values(attempt=attempts))

    def status(self, document: DocumentId) -> DocumentStatus:
        with self.database.reading() as session:
            return documents.status(session, TENANT, [document])[0]

    def stage(self, document: DocumentId, name: StageName) -> StageRow:
        """Return the row of that stage of the newest version."""
        with self.database.reading() as session:
            return session.scalars(
                select(StageRow)
                .join(DocumentRow, DocumentRow.newest_version == StageRow.version_id)
                .where(DocumentRow.id == document, StageRow.name == name.value)
            ).one()

    def chunks(self) -> Chunks:
        with self.database.reading() as session:
            rows = session.scalars(select(ChunkRow)).all()
            return {row.id: (row.version_id, row.ordinal, row.start_offset, row.end_offset, row.text) for row in rows}

    def points(self) -> Counter[ChunkId]:
        """Return every point of the index by its chunk, with how often it is there."""
        return Counter(stored.chunk for stored in self.index.stored())

    def indexed_versions(self) -> set[VersionId]:
        return {stored.version for stored in self.index.stored()}

    def search(self, query: str, *, user: str = "ann") -> list[Hit]:
        search = HybridSearch(
            embedder=self.embedder, sparse=self.sparse, index=self.index, catalogue=DatabaseCatalogue(self.database)
        )
        return list(search.search(query, principal=self.principal(user), limit=100).hits)

    def open_tasks(self) -> int:
        with self.database.reading() as session:
            return len(session.scalars(select(IndexTaskRow.id).where(IndexTaskRow.done_at.is_(None))).all())


def story(topic: str, paragraphs: int = 4) -> str:
    """Return a text of several passages about a topic."""
    return "\n\n".join(
        f"Part {number} tells of {topic} at some length, so that it becomes a passage of its own. "
        f"The {topic} of part {number} is like no other {topic}, and whoever reads of it knows more than before."
        for number in range(paragraphs)
    )
