"""What a point carries beside its vectors: the same words in every engine."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from core.ids import ChunkId, DocumentId, TenantId, VersionId
from retrieval.ports import IndexPoint

PLACE = ("tenant", "document", "version", "chunk")
INDEXED = ("tenant", "document", "version", "allow", "deny")


def payload_of(point: IndexPoint) -> dict[str, Any]:
    """Return the payload of the point: where it belongs, and who may read it."""
    return {
        "tenant": point.tenant,
        "document": str(point.document),
        "version": str(point.version),
        "chunk": str(point.chunk),
        "allow": list(point.allow),
        "deny": list(point.deny),
    }


def place_of(payload: Mapping[str, Any]) -> tuple[TenantId, DocumentId, VersionId, ChunkId]:
    """Return where the point of this payload belongs."""
    return (
        TenantId(payload["tenant"]),
        DocumentId(UUID(payload["document"])),
        VersionId(UUID(payload["version"])),
        ChunkId(UUID(payload["chunk"])),
    )
