"""What a point carries beside its vectors: the same words in every engine."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import structlog

from core.ids import ChunkId, DocumentId, TenantId, VersionId
from retrieval.ports import IndexPoint, StoredPoint

log = structlog.get_logger()

PLACE = ("tenant", "document", "version", "chunk")
CARRIED = (*PLACE, "allow", "deny")
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


def _place_of(payload: Mapping[str, Any]) -> tuple[TenantId, DocumentId, VersionId, ChunkId]:
    if not isinstance(payload["tenant"], str):
        raise TypeError("a tenant is a text")
    return (
        TenantId(payload["tenant"]),
        DocumentId(UUID(payload["document"])),
        VersionId(UUID(payload["version"])),
        ChunkId(UUID(payload["chunk"])),
    )


def stored_points(payloads: Iterable[Mapping[str, Any] | None]) -> tuple[StoredPoint, ...]:
    """Return what the points of these payloads carry. Those that we did not write are left out; the log counts them."""
    found: list[StoredPoint] = []
    others = 0
    for payload in payloads:
        try:
            found.append(_stored_point(payload or {}))
        except (KeyError, TypeError, ValueError, AttributeError):  # What anybody writes is in no shape.
            others += 1
    if others:
        log.warning("index_points_not_ours", points=others)
    return tuple(found)


def _stored_point(payload: Mapping[str, Any]) -> StoredPoint:
    tenant, document, version, chunk = _place_of(payload)
    return StoredPoint(
        tenant=tenant,
        document=document,
        version=version,
        chunk=chunk,
        allow=tuple(payload.get("allow") or ()),
        deny=tuple(payload.get("deny") or ()),
    )
