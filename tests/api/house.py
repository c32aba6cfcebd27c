"""A small organisation with real parts: SQLite, blobs on disk, hashing embedder, exact index, scripted model."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI

from api.app import create_app
from api.services import Health, Services
from core.blobs import DirectoryBlobs
from core.db import directory, keys, releases, stages
from core.db.chunks import put_embeddings, replace_chunks
from core.db.session import Database
from core.db.stages import ClaimedStage, VersionFacts
from core.domain import (
    Box,
    Chunk,
    Element,
    ElementKind,
    Line,
    Page,
    ParsedDocument,
    Principal,
    Reason,
    Role,
    Span,
    StageName,
)
from core.ids import DEFAULT_TENANT, AnswerId, ConversationId, DocumentId, IndexId, TenantId, chunk_id
from core.intake import Intake, UploadRequest
from core.parsed import to_bytes
from core.settings import Settings
from generation.answering import AnswerQuestion
from generation.places import ParsedPlaces
from generation.ports import Delta, Usage
from generation.providers.scripted import ScriptedModel
from ingestion.auditing import Auditor
from ingestion.indexing import IndexLoop
from retrieval.catalogue import DatabaseCatalogue
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.index.memory import MemoryIndex
from retrieval.search import HybridSearch
from retrieval.sparse import Bm25Encoder

OTHER_TENANT = TenantId("elsewhere")
PNG = b"\x89PNG\r\n\x1a\n"
HOLIDAY = (
    "Every employee has thirty days of holiday.\nUnused days lapse in March.\fSick leave is unlimited.\nAsk Ursula."
)


@dataclass
class SketchedPages:
    """`PageRenderer` that notes what it was asked to draw; the sandboxed one has tests of its own."""

    asked: list[tuple[int, tuple[Box, ...]]] = field(default_factory=list)

    def render(self, path: Path, page: int, boxes: Sequence[Box]) -> bytes:
        assert path.is_file()
        self.asked.append((page, tuple(boxes)))
        return PNG + f"page {page}, {len(boxes)} boxes".encode()


class House:
    """The organisation `default`, its neighbour, and everything that the API works with."""

    def __init__(self, database: Database, folder: Path, **settings: object) -> None:
        self.database = database
        # Whoever means to speak of a full disk says so: how full this machine's is must not matter to others.
        given = {"data": folder, "embedder": "hashing:64", "min_free_bytes": 0, **settings}
        self.settings = Settings.model_validate(given)
        self.blobs = DirectoryBlobs(folder / "blobs")
        self.embedder = HashingEmbedder(64)
        self.sparse = Bm25Encoder()
        self.index = MemoryIndex()
        self.model = ScriptedModel([Delta(text="Thirty days of holiday [1]."), Usage(prompt_tokens=9)])
        self.pages = SketchedPages()
        self.woken = 0
        self.health = Health(ready=True)
        self.intake = Intake(database=database, blobs=self.blobs, max_bytes=self.settings.max_upload_bytes)
        search = HybridSearch(
            embedder=self.embedder, sparse=self.sparse, index=self.index, catalogue=DatabaseCatalogue(database)
        )
        self.answering = AnswerQuestion(
            search=search,
            models={"scripted": self.model},
            default_model="scripted",
            database=database,
            locator=ParsedPlaces(database=database, blobs=self.blobs),
        )
        self.loop = IndexLoop(
            database=database,
            collect=self.intake.collect,
            index=self.index,
            sparse=self.sparse,
            embedder_id=self.embedder.id,
            owner="house",
        )
        self.auditor = Auditor(
            database=database,
            index=self.index,
            index_id=IndexId("house"),
            embedder_id=self.embedder.id,
            has_file=self.blobs.has,
            owner="house",
            hour=24,
            due_seconds=0.0,
        )
        self.services = Services(
            settings=self.settings,
            database=database,
            blobs=self.blobs,
            search=search,
            answering=self.answering,
            pages=self.pages,
            wake=self._wake,
            health=lambda: self.health,
            doctor=lambda: {"version": "0", "sandbox_layers": ["none"]},
        )
        self.secrets: dict[str, str] = {}
        self._standing: DocumentId | None = None
        with database.transaction() as session:
            releases.ensure_live_release(session, IndexId("house"), {})
            for tenant in (DEFAULT_TENANT, OTHER_TENANT):
                directory.add_tenant(session, tenant)
                directory.add_group(session, tenant, "staff")
        self.person("owner", role="admin", scopes=("impersonate",))
        self.person("ada", role="admin", staff=True)
        self.person("bea", role="admin")
        self.person("ed", role="editor", staff=True)
        self.person("ursula", role="editor")
        self.person("rita", role="reader", staff=True)
        self.person("nora", role="reader")
        self.person("olga", role="admin", tenant=OTHER_TENANT, staff=True, scopes=("impersonate",))

    def app(self) -> FastAPI:
        return create_app(self.services)

    def _wake(self) -> None:
        self.woken += 1

    def person(
        self,
        name: str,
        *,
        role: Role = "reader",
        tenant: TenantId = DEFAULT_TENANT,
        staff: bool = False,
        scopes: Sequence[str] = (),
    ) -> str:
        """Add a user with a key; return the key."""
        with self.database.transaction() as session:
            directory.add_user(session, tenant, name)
            if staff:
                directory.add_member(session, tenant, "staff", f"user:{name}")
            _, secret = keys.create_key(session, tenant, user=name, role=role, scopes=scopes)
        self.secrets[name] = secret
        return secret

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[name]}"}

    def principal(self, name: str) -> Principal:
        with self.database.reading() as session:
            key = keys.authenticate(session, self.secrets[name])
            assert key is not None
            return directory.principal(session, key.tenant, key.user, role=key.role)

    def link(self, name: str, ttl: timedelta = timedelta(minutes=5)) -> str:
        """Return a sign-in token for the person's browser."""
        with self.database.transaction() as session:
            key = keys.authenticate(session, self.secrets[name])
            assert key is not None
            return keys.create_link(session, key, ttl)

    def document(
        self,
        text: str = HOLIDAY,
        *,
        name: str = "handbook.pdf",
        source: str | None = None,
        uploader: str = "ursula",
        allow: Sequence[str] = ("group:staff",),
        deny: Sequence[str] = (),
    ) -> DocumentId:
        """Upload a document and take it all the way in."""
        request = UploadRequest(name=name, source=source, allow=allow, deny=deny)
        status = self.intake.upload(self.principal(uploader), request, text.encode())
        self.work()
        return status.document

    def failed(
        self,
        reason: Reason = Reason.CORRUPT,
        *,
        name: str = "broken.pdf",
        source: str | None = None,
        uploader: str = "ursula",
        allow: Sequence[str] = ("group:staff",),
        page: int | None = None,
        excerpt: str | None = None,
    ) -> DocumentId:
        """Upload a document and let the parsing of it fail; others that are queued stay so."""
        request = UploadRequest(name=name, source=source, allow=allow)
        document = self.intake.upload(self.principal(uploader), request, HOLIDAY.encode()).document
        with self.database.transaction() as session:
            claimed = stages.claim(session, [StageName.PARSE], owner="house", limit=100, lease_seconds=60)
            stages.release(session, [stage for stage in claimed if stage.document != document])
            (ours,) = (stage for stage in claimed if stage.document == document)
            stages.fail(session, ours, reason, "as it seems", page=page, excerpt=excerpt)
        return document

    def standing(self) -> DocumentId:
        """Return a document that the tests share, and so must not change."""
        self._standing = self._standing or self.document(name="standing.pdf", source="standing")
        return self._standing

    def work(self) -> None:
        """Do everything that is queued."""
        for name in (StageName.PARSE, StageName.CHUNK, StageName.EMBED):
            with self.database.transaction() as session:
                claimed = stages.claim(session, [name], owner="house", limit=100, lease_seconds=60)
            for stage in claimed:
                self._run(stage)
        self.loop.run_once()

    def _run(self, stage: ClaimedStage) -> None:
        parsed = parsed_text(self.blobs.read(stage.tenant, stage.blob_hash).decode())
        blob = self.blobs.put(stage.tenant, to_bytes(parsed))
        facts = VersionFacts(
            media_type="application/pdf",
            title="Handbook",
            page_count=len(parsed.pages),
            parsed_hash=blob.hash,
            parsed_size=blob.size,
        )
        with self.database.transaction() as session:
            stages.finish(session, stage, output_hash=blob.hash, facts=facts)
            if stage.name is StageName.CHUNK:
                chunks = page_chunks(stage, parsed)
                replace_chunks(session, stage.tenant, stage.version, chunks, [text_hash(chunk) for chunk in chunks])
                vectors = self.embedder.embed_documents([chunk.embedded_text for chunk in chunks])
                by_hash = {text_hash(chunk): vector for chunk, vector in zip(chunks, vectors, strict=True)}
                put_embeddings(session, stage.tenant, self.embedder.id, by_hash)


def text_hash(chunk: Chunk) -> str:
    return hashlib.sha256(chunk.embedded_text.encode()).hexdigest()


def parsed_text(text: str) -> ParsedDocument:
    """Parse plain text: form feeds divide pages, line feeds lines; each line is a box of a tenth of the page."""
    pages, lines, start = [], [], 0
    canonical = text.replace("\f", "\n")
    for number, page in enumerate(text.split("\f"), start=1):
        pages.append(Page(number=number, span=Span(start=start, end=min(start + len(page) + 1, len(canonical)))))
        at = start
        for row, line in enumerate(page.split("\n")):
            box = Box(page=number, x0=0.1, y0=row / 10, x1=0.9, y1=(row + 1) / 10)
            lines.append(Line(span=Span(start=at, end=at + len(line)), box=box))
            at += len(line) + 1
        start += len(page) + 1
    elements = tuple(Element(kind=ElementKind.PARAGRAPH, span=page.span) for page in pages)
    return ParsedDocument(
        text=canonical,
        title="Handbook",
        language="en",
        elements=elements,
        pages=tuple(pages),
        lines=tuple(lines),
    )


def page_chunks(stage: ClaimedStage, parsed: ParsedDocument) -> list[Chunk]:
    """Return one chunk per page."""
    return [
        Chunk(
            id=chunk_id(stage.tenant, stage.document, stage.version, "house", ordinal),
            tenant=stage.tenant,
            document=stage.document,
            version=stage.version,
            ordinal=ordinal,
            span=page.span,
            text=parsed.text[page.span.start : page.span.end],
            header="Handbook",
            page_first=page.number,
            page_last=page.number,
        )
        for ordinal, page in enumerate(parsed.pages)
    ]


def parsed_answer(body: dict[str, object]) -> tuple[AnswerId, ConversationId]:
    """Return the ids in a finished answer."""
    return AnswerId(str(body["id"])), ConversationId(str(body["conversation"]))  # type: ignore[arg-type]  # as text
