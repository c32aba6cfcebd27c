"""The named vectors of a collection, and whether points and queries fit them."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import qdrant_edge as edge
from pydantic import BaseModel
from qdrant_client.http import models

from retrieval.index.service.refusals import Malformed, NotSupported, Unacceptable

_MOST_INDEX = 2**32 - 1  # of a sparse vector
_MOST_ID = 2**64 - 1

_DISTANCES = {
    models.Distance.COSINE: edge.Distance.Cosine,
    models.Distance.EUCLID: edge.Distance.Euclid,
    models.Distance.DOT: edge.Distance.Dot,
    models.Distance.MANHATTAN: edge.Distance.Manhattan,
}

EdgeVector = list[float] | edge.SparseVector


def only(request: BaseModel, *supported: str, of: str) -> None:
    """Refuse a request that says more than these fields.

    :raises NotSupported: another field has a value that is not its default.
    """
    for name, field in type(request).model_fields.items():
        if name not in supported and getattr(request, name) not in (None, field.default):
            raise NotSupported(f"`{name}` of {of}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Dense vectors by name with width and distance; sparse vectors by name, and whether IDF weighs them."""

    dense: Mapping[str, tuple[int, models.Distance]]
    sparse: Mapping[str, bool]

    @classmethod
    def of(cls, request: models.CreateCollection) -> "Layout":
        """Return the layout that is asked for.

        :raises NotSupported: the request asks for more than named vectors, kept as they are.
        """
        only(request, "vectors", "sparse_vectors", of="a collection")
        vectors = request.vectors or {}
        if not isinstance(vectors, dict):
            raise NotSupported("a vector without name")
        dense = {}
        for name, params in vectors.items():
            only(params, "size", "distance", of="a vector")
            if params.size < 1:
                raise Unacceptable(f"Validation error in JSON body: [vectors.{name}.size: value must be at least 1]")
            dense[name] = (params.size, params.distance)
        sparse = {}
        for name, sparse_params in (request.sparse_vectors or {}).items():
            only(sparse_params, "modifier", of="a sparse vector")
            sparse[name] = sparse_params.modifier == models.Modifier.IDF
        if not dense and not sparse:
            raise Malformed("Wrong input: a collection needs at least one vector.")
        return cls(dense=dense, sparse=sparse)

    def config(self) -> edge.EdgeConfig:
        """Return the same for the engine. It keeps no log: what is acknowledged was flushed."""
        return edge.EdgeConfig(
            vectors={
                name: edge.EdgeVectorParams(size=size, distance=_DISTANCES[distance])
                for name, (size, distance) in self.dense.items()
            },
            sparse_vectors={
                name: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if idf else None)
                for name, idf in self.sparse.items()
            },
            wal_enabled=False,
        )

    def check(self, point: models.PointStruct) -> None:
        """Refuse a point that the engine would refuse, or, worse, take.

        :raises Refusal: its id or one of its vectors does not fit.
        """
        point_id(point.id)
        if not isinstance(point.vector, dict):
            raise NotSupported("a vector without name")
        for name, vector in point.vector.items():
            self.vector(name, vector)

    def vector(self, name: str, vector: object) -> EdgeVector:
        """Return the vector for the engine.

        :raises Refusal: there is none of that name, or it is not of that kind and width.
        """
        if name in self.dense:
            return self._dense(name, vector)
        if name in self.sparse:
            return _sparse(name, vector)
        raise Malformed(f"Wrong input: Not existing vector name error: {name}")

    def _dense(self, name: str, vector: object) -> list[float]:
        if not isinstance(vector, list) or (vector and isinstance(vector[0], list)):
            raise NotSupported(f"anything but one list of numbers as the vector `{name}`")
        size, _ = self.dense[name]
        if len(vector) != size:
            raise Malformed(f"Wrong input: Vector dimension error: expected dim: {size}, got {len(vector)}")
        return vector


def _sparse(name: str, vector: object) -> edge.SparseVector:
    if not isinstance(vector, models.SparseVector):
        raise NotSupported(f"anything but indices and values as the sparse vector `{name}`")
    indices, values = vector.indices, vector.values
    if len(indices) != len(values) or len(set(indices)) != len(indices):
        raise Unacceptable(f"Validation error in JSON body: [{name}: indices must be unique, as many as values]")
    if indices and not (min(indices) >= 0 and max(indices) <= _MOST_INDEX):
        raise Unacceptable(f"Validation error in JSON body: [{name}: an index is not in 0..={_MOST_INDEX}]")
    return edge.SparseVector(indices, values)


def point_id(given: models.ExtendedPointId) -> int | UUID:
    """Return the id for the engine.

    :raises Malformed: it is neither an unsigned integer nor a UUID.
    """
    try:
        if not isinstance(given, int):
            return given if isinstance(given, UUID) else UUID(given)
    except ValueError:
        raise Malformed("Format error in JSON body: a point id is neither an unsigned integer nor a UUID.") from None
    if not 0 <= given <= _MOST_ID:
        raise Malformed("Format error in JSON body: a point id is neither an unsigned integer nor a UUID.")
    return given
