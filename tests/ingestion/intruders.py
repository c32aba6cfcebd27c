"""Points that somebody else has put into an index of ours, past the adapter."""

from uuid import UUID

import qdrant_edge
from qdrant_client import models

from retrieval.index.edge import EdgeIndex
from retrieval.index.qdrant import QdrantIndex
from retrieval.ports import VectorIndex

# Before, between and after ours, in the order of ids.
IDS = [UUID(int=1), UUID(int=2), *(UUID(int=part << 124) for part in range(1, 16)), UUID(int=(1 << 128) - 1)]
PAYLOADS: tuple[dict[str, object], ...] = (
    {},
    {"text": "a note of another program"},
    {"tenant": 5, "document": str(IDS[0]), "version": str(IDS[0]), "chunk": str(IDS[0])},
    {"tenant": "acme", "document": "a.txt", "version": "1", "chunk": "7"},
    {"tenant": "acme", "document": 1, "version": 2, "chunk": 3},
    {"tenant": "acme", "document": str(IDS[0]), "version": str(IDS[0]), "chunk": str(IDS[0]), "allow": 7},
)


def intrude(index: VectorIndex, dim: int) -> int:
    """Put points into the index that are none of ours, and return how many."""
    vector = {"dense": [1.0] + [0.0] * (dim - 1)}
    payloads = [PAYLOADS[number % len(PAYLOADS)] for number in range(len(IDS))]
    if isinstance(index, QdrantIndex):
        points = [
            models.PointStruct(id=str(id_), vector=dict(vector), payload=dict(payload))
            for id_, payload in zip(IDS, payloads, strict=True)
        ]
        index._client.upsert(index._collection, points=points, wait=True)
    else:
        assert isinstance(index, EdgeIndex)
        stored = [
            qdrant_edge.Point(id_, dict(vector), dict(payload)) for id_, payload in zip(IDS, payloads, strict=True)
        ]
        index._shard.update(qdrant_edge.UpdateOperation.upsert_points(stored))
    return len(IDS)


def intruders(index: VectorIndex) -> int:
    """Return how many of them are there still."""
    if isinstance(index, QdrantIndex):
        return len(index._client.retrieve(index._collection, [str(id_) for id_ in IDS]))
    assert isinstance(index, EdgeIndex)
    return len(index._shard.retrieve(list(IDS), with_payload=False, with_vector=False))
