"""What a parsed document gives its version: the facts about it, its passages, and the hashes stages know them by."""

import hashlib
from collections.abc import Iterable, Iterator

from core.blobs import StoredBlob
from core.db.stages import ClaimedStage, VersionFacts
from core.domain import Chunk, ParsedDocument
from core.ids import chunk_id
from ingestion.chunking import ChunkDraft


def hash_of(*parts: str) -> str:
    """Return the hash under which inputs or outputs of a stage are known, in hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def facts_of(document: ParsedDocument, stored: StoredBlob) -> VersionFacts:
    """Return what the version's row tells of the document, whose parsed form is stored as `stored`."""
    return VersionFacts(
        media_type=document.media_type,
        title=document.title,
        language=document.language,
        page_count=len(document.pages) or None,
        pages_lost=document.pages_lost,
        notes=document.notes,
        parsed_hash=stored.hash,
        parsed_size=stored.size,
    )


def passages_of(
    stage: ClaimedStage, document: ParsedDocument, drafts: Iterable[ChunkDraft], *, chunker: str
) -> Iterator[Chunk]:
    """Yield the drafts as chunks of the stage's version; `chunker` is part of each one's id."""
    for ordinal, draft in enumerate(drafts):
        yield Chunk(
            id=chunk_id(stage.tenant, stage.document, stage.version, chunker, ordinal),
            tenant=stage.tenant,
            document=stage.document,
            version=stage.version,
            ordinal=ordinal,
            span=draft.span,
            text=document.text[draft.span.start : draft.span.end],
            header=draft.header,
            headings=draft.headings,
            page_first=draft.page_first,
            page_last=draft.page_last,
            tokens=draft.tokens,
        )
