"""Search: the ranked passages that the caller may read."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from api.bodies import Body, JsonBody, json_response, question_text
from api.dependencies import Reader, ServicesOf
from core.domain import Hit
from retrieval.search import SearchResult

router = APIRouter()

MOST_HITS = 100


class SearchBody(Body):
    """`explain` adds the contextual header that the dense model saw above each passage."""

    query: str
    limit: int = Field(10, ge=1, le=MOST_HITS)
    explain: bool = False


@router.post("/v1/search")
def search(caller: Reader, services: ServicesOf, body: JsonBody[SearchBody]) -> Response:
    """Return the best passages for the query, best first."""
    query = question_text(body.query, field="query", most=services.settings.max_query_chars)
    result = services.search.search(query, principal=caller.principal, limit=body.limit)
    return json_response(search_json(result, explain=body.explain))


def search_json(result: SearchResult, *, explain: bool = False) -> dict[str, Any]:
    """Return the search answer as JSON values; spans are [start, end) in code points of the canonical text."""
    return {
        "hits": [hit_json(hit, explain=explain) for hit in result.hits],
        "timings_ms": {step: round(ms, 2) for step, ms in result.timings_ms.items()},
    }


def hit_json(hit: Hit, *, explain: bool = False) -> dict[str, Any]:
    """Return one hit as JSON values; `page` is the page of the passage's first character, null where there are none."""
    chunk = hit.chunk
    fields: dict[str, Any] = {
        "document": chunk.document,
        "version": chunk.version,
        "name": hit.name,
        "title": hit.title,
        "page": chunk.page_first,
        "pages": None if chunk.page_first is None else [chunk.page_first, chunk.page_last],
        "chunk": chunk.id,
        "span": [chunk.span.start, chunk.span.end],
        "headings": list(chunk.headings),
        "text": chunk.text,
        "score": hit.score,
        "ranks": {"dense": hit.ranks.dense, "bm25": hit.ranks.bm25, "rerank": hit.ranks.rerank},
    }
    if explain:
        fields["header"] = chunk.header
    return fields
