"""Identifiers: UUIDv7 for rows, UUIDv5 for everything that must come out the same twice."""

import os
import time
from typing import NewType
from uuid import UUID, uuid5

TenantId = NewType("TenantId", str)
DocumentId = NewType("DocumentId", UUID)
VersionId = NewType("VersionId", UUID)
StageId = NewType("StageId", UUID)
ChunkId = NewType("ChunkId", UUID)
PointId = NewType("PointId", UUID)
AnswerId = NewType("AnswerId", UUID)
ConversationId = NewType("ConversationId", UUID)
IndexId = NewType("IndexId", str)

NAMESPACE = UUID("6ba7c0de-0f00-5000-8000-f007707e0001")  # Ours alone: ids of other programs cannot collide.
DEFAULT_TENANT = TenantId("default")


def uuid7() -> UUID:
    """Return a time-ordered UUID (RFC 9562, version 7), so that primary keys grow at the right edge of their index.

    Ids of one process are in the order they were made in, down to a quarter of a microsecond.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & ((1 << 48) - 1)) << 80 | int.from_bytes(os.urandom(8))
    value |= 0x7 << 76 | (nanoseconds * 4_096 // 1_000_000) << 64  # RFC 9562, 6.2, method 3
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def chunk_id(tenant: TenantId, document: DocumentId, version: VersionId, chunker_version: str, ordinal: int) -> ChunkId:
    """Return the chunk's id: the same inputs give the same id however often, and wherever, the step runs."""
    return ChunkId(uuid5(NAMESPACE, f"chunk/{tenant}/{document}/{version}/{chunker_version}/{ordinal}"))


def point_id(index: IndexId, chunk: ChunkId) -> PointId:
    """Return the id under which the chunk is stored in the index."""
    return PointId(uuid5(NAMESPACE, f"point/{index}/{chunk}"))
