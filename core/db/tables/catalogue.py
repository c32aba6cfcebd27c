"""Documents, their versions, texts and chunks: the truth that every index is rebuilt from."""

from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base, JsonValue, Micros, UuidKey


class SourceRow(Base):
    """Where documents come from: an absolute folder, or one upload."""

    __tablename__ = "sources"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    name: Mapped[str] = mapped_column(String(4096))
    created_at: Mapped[int] = mapped_column(Micros)
    __table_args__ = (UniqueConstraint("tenant", "name"),)


class DocumentRow(Base):
    """A document = (tenant, source, name). Readers see `current_version`; `newest_version` may be on its way in."""

    __tablename__ = "documents"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    source_id: Mapped[UUID] = mapped_column(UuidKey)
    name: Mapped[str] = mapped_column(String(4096))
    folder: Mapped[str] = mapped_column(String(4096))
    parent_id: Mapped[UUID | None] = mapped_column(UuidKey)
    uploader: Mapped[str] = mapped_column(String(300))
    inherit: Mapped[bool] = mapped_column(default=True)
    acl_revision: Mapped[int] = mapped_column(default=0)
    current_version: Mapped[UUID | None] = mapped_column(UuidKey)
    newest_version: Mapped[UUID | None] = mapped_column(UuidKey)
    created_at: Mapped[int] = mapped_column(Micros)
    deleted_at: Mapped[int | None] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "source_id"], ["sources.tenant", "sources.id"]),
        ForeignKeyConstraint(["tenant", "parent_id"], ["documents.tenant", "documents.id"]),
        Index(
            "uq_documents_name",
            "tenant",
            "source_id",
            "name",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("ix_documents_folder", "tenant", "folder"),
        Index("ix_documents_parent", "tenant", "parent_id"),
    )


class VersionRow(Base):
    """One content of a document. The stages fill in what they find; `parsed_hash` names the parse result's blob."""

    __tablename__ = "versions"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    document_id: Mapped[UUID] = mapped_column(UuidKey)
    ordinal: Mapped[int]
    blob_hash: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(Micros)
    media_type: Mapped[str | None] = mapped_column(String(255))
    title: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(String(16))
    page_count: Mapped[int | None]
    pages_lost: Mapped[list[int]] = mapped_column(JsonValue, default=list)
    notes: Mapped[list[str]] = mapped_column(JsonValue, default=list)
    parsed_hash: Mapped[str | None] = mapped_column(String(64))
    chunk_count: Mapped[int | None]
    created_at: Mapped[int] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "document_id"], ["documents.tenant", "documents.id"], ondelete="CASCADE"),
        UniqueConstraint("tenant", "document_id", "ordinal"),
    )


class UploadKeyRow(Base):
    """An `Idempotency-Key`: whose it is, what it was used for, and which document that made."""

    __tablename__ = "upload_keys"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    uploader: Mapped[str] = mapped_column(String(300), primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    document_id: Mapped[UUID | None] = mapped_column(UuidKey)
    created_at: Mapped[int] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "document_id"], ["documents.tenant", "documents.id"], ondelete="CASCADE"),
        Index("ix_upload_keys_document", "tenant", "document_id"),
        Index("ix_upload_keys_created", "created_at"),
    )


class BlobRow(Base):
    """A stored object of one tenant with the number of rows that need it; at 0 it goes after an hour."""

    __tablename__ = "blobs"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(Micros)
    references: Mapped[int] = mapped_column("reference_count", default=0)
    unreferenced_at: Mapped[int | None] = mapped_column(Micros)


class StageResultRow(Base):
    """First writer wins: what a stage made of inputs with this hash. Two attempts can never mix."""

    __tablename__ = "stage_results"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    input_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    output_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(Micros)


class ChunkRow(Base):
    """A passage. `text` is the slice `[start_offset, end_offset)` of the canonical text, kept here to be read fast.

    `tokens` is what the embedder reads of it, header included; None where that was not noted yet.
    """

    __tablename__ = "chunks"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    document_id: Mapped[UUID] = mapped_column(UuidKey)
    version_id: Mapped[UUID] = mapped_column(UuidKey)
    ordinal: Mapped[int]
    start_offset: Mapped[int]
    end_offset: Mapped[int]
    page_first: Mapped[int | None]
    page_last: Mapped[int | None]
    headings: Mapped[list[str]] = mapped_column(JsonValue, default=list)
    header: Mapped[str] = mapped_column(Text, default="")
    text: Mapped[str] = mapped_column(Text)
    embedded_hash: Mapped[str] = mapped_column(String(64))
    tokens: Mapped[int | None]
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "version_id"], ["versions.tenant", "versions.id"], ondelete="CASCADE"),
        Index("ix_chunks_version", "tenant", "version_id", "ordinal"),
        Index("ix_chunks_embedded", "tenant", "embedded_hash"),
    )


class EmbeddingRow(Base):
    """The vector of a text under a model, once per tenant: `vector` is float32, little endian."""

    __tablename__ = "embeddings"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    model: Mapped[str] = mapped_column(String(128), primary_key=True)
    text_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
