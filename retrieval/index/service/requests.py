"""qdrant-client's requests as requests of the engine. What our adapter does not say is refused, not ignored."""

from collections.abc import Iterator, Sequence
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models

from retrieval.index.service.layout import Layout, only, point_id
from retrieval.index.service.refusals import Malformed, NotSupported, Unacceptable

UPSERT_SLICE = 64  # points; they hold the GIL for 2 ms, and a question comes in between
DEFAULT_LIMIT = 10


def upserts(layout: Layout, request: models.PointsList) -> Iterator[edge.UpdateOperation]:
    """Check all points, then return the operations that store them, a slice each.

    :raises Refusal: a point does not fit; none is stored.
    """
    only(request, "points", of="an upsert")
    for point in request.points:
        layout.check(point)
    return _slices(layout, request.points)


def _slices(layout: Layout, points: Sequence[models.PointStruct]) -> Iterator[edge.UpdateOperation]:
    for start in range(0, len(points), UPSERT_SLICE):
        yield edge.UpdateOperation.upsert_points(
            [_point(layout, point) for point in points[start : start + UPSERT_SLICE]]
        )


def _point(layout: Layout, point: models.PointStruct) -> edge.Point:
    vectors = point.vector if isinstance(point.vector, dict) else {}
    named: dict[str, Any] = {name: layout.vector(name, vector) for name, vector in vectors.items()}
    return edge.Point(point_id(point.id), named, point.payload)


def set_payload(request: models.SetPayload) -> edge.UpdateOperation:
    """:raises Refusal: the points are not chosen by a filter."""
    only(request, "payload", "filter", of="set payload")
    if request.filter is None:
        raise Malformed("Format error in JSON body: a filter is missing.")
    return edge.UpdateOperation.set_payload_by_filter(filter_of(request.filter), request.payload)


def deletion(request: models.FilterSelector) -> edge.UpdateOperation:
    """:raises Refusal: the filter says more than our adapter's."""
    only(request, "filter", of="a deletion")
    return edge.UpdateOperation.delete_points_by_filter(filter_of(request.filter))


def field_index(request: models.CreateFieldIndex) -> edge.UpdateOperation:
    """:raises NotSupported: not an index over keywords."""
    schema = request.field_schema
    if schema == models.PayloadSchemaType.KEYWORD:
        return edge.UpdateOperation.create_field_index(request.field_name, edge.PayloadSchemaType.Keyword)
    if not isinstance(schema, models.KeywordIndexParams):
        raise NotSupported("a payload index over anything but keywords")
    only(schema, "type", "is_tenant", of="a payload index")
    params = edge.KeywordIndexParams(is_tenant=schema.is_tenant)
    return edge.UpdateOperation.create_field_index(request.field_name, params)


def count(request: models.CountRequest) -> edge.CountRequest:
    """:raises Refusal: the filter says more than our adapter's."""
    only(request, "filter", "exact", of="a count")
    return edge.CountRequest(exact=request.exact is not False, filter=_filter(request.filter))


def query(layout: Layout, request: models.QueryRequest) -> edge.QueryRequest:
    """:raises Refusal: no query by a named vector, or one that says more than our adapter's."""
    only(request, "query", "using", "filter", "params", "limit", "with_payload", "with_vector", of="a query")
    nearest = request.query
    if isinstance(nearest, models.NearestQuery):
        only(nearest, "nearest", of="a query")
        nearest = nearest.nearest
    if not isinstance(nearest, list | models.SparseVector):
        raise NotSupported("a query by anything but a vector")
    return edge.QueryRequest(
        limit=_limit(request.limit),
        query=edge.Query.Nearest(layout.vector(request.using or "", nearest), using=request.using),
        filter=_filter(request.filter),
        params=_params(request.params),
        with_payload=_with_payload(request.with_payload, default=False),
        with_vector=_without_vector(request.with_vector),
    )


def scroll(request: models.ScrollRequest) -> edge.ScrollRequest:
    """:raises Refusal: it says more than our adapter's."""
    only(request, "offset", "limit", "filter", "with_payload", "with_vector", of="a scroll")
    return edge.ScrollRequest(
        offset=None if request.offset is None else point_id(request.offset),
        limit=_limit(request.limit),
        filter=_filter(request.filter),
        with_payload=_with_payload(request.with_payload, default=True),
        with_vector=_without_vector(request.with_vector),
    )


def filter_of(given: models.Filter) -> edge.Filter:
    """Return the filter for the engine.

    :raises NotSupported: it has more than `must` and `must_not` of matches with a value or any of some.
    """
    only(given, "must", "must_not", of="a filter")
    return edge.Filter(must=_conditions(given.must), must_not=_conditions(given.must_not))


def _filter(given: models.Filter | None) -> edge.Filter | None:
    return None if given is None else filter_of(given)


def _conditions(given: list[models.Condition] | models.Condition | None) -> list[Any] | None:
    if given is None:
        return None
    return [_condition(one) for one in (given if isinstance(given, list) else [given])]


def _condition(given: models.Condition) -> edge.FieldCondition:
    if not isinstance(given, models.FieldCondition):
        raise NotSupported(f"the filter condition {type(given).__name__}")
    only(given, "key", "match", of="a filter condition")
    match given.match:
        case models.MatchValue(value=value):
            return edge.FieldCondition(given.key, match=edge.MatchValue(value))
        case models.MatchAny(any=values):
            return edge.FieldCondition(given.key, match=edge.MatchAny(values))
        case other:
            raise NotSupported(f"the filter condition {type(other).__name__}")


def _params(given: models.SearchParams | None) -> edge.SearchParams | None:
    if given is None:
        return None
    only(given, "exact", "idf", of="search parameters")
    statistics = None  # over the whole collection
    if isinstance(given.idf, models.IdfCorpusParams):
        statistics = edge.IdfParams(corpus=filter_of(given.idf.corpus))
    return edge.SearchParams(exact=bool(given.exact), idf=statistics)


def _limit(given: int | None) -> int:
    if given is not None and given < 1:
        raise Unacceptable(f"Validation error in JSON body: [limit: value {given} invalid, must be 1 or larger]")
    return DEFAULT_LIMIT if given is None else given


def _with_payload(given: models.WithPayloadInterface | None, *, default: bool) -> bool | list[str]:
    if given is None:
        return default
    if isinstance(given, bool | list):
        return given
    raise NotSupported("a payload selector")


def _without_vector(given: models.WithVector | None) -> bool:
    if given:
        raise NotSupported("answers with vectors")
    return False
