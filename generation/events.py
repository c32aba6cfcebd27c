"""The data of an answer's events, as DESIGN §6 spells it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from core.domain import Citation
from core.errors import FootnoteError
from core.ids import AnswerId, ConversationId, DocumentId
from generation.citations import Unsupported
from generation.ports import Evidence, Usage

Data = dict[str, Any]

FINAL = frozenset({"done", "error"})


def retrieval_data(
    evidence: Sequence[Evidence], *, answer: AnswerId, conversation: ConversationId, timings_ms: Mapping[Any, float]
) -> Data:
    """Return what was found: `n` here is the evidence's number, not a citation's."""
    return {
        "answer": str(answer),
        "conversation": str(conversation),
        "hits": [
            {
                "n": item.n,
                "document": str(item.chunk.document),
                "chunk": str(item.chunk.id),
                "name": item.name,
                "title": item.title,
                "page": item.chunk.page_first,
                "score": item.score,
            }
            for item in evidence
        ],
        "timings_ms": {str(stage): value for stage, value in timings_ms.items()},
    }


def citation_data(citation: Citation) -> Data:
    """Return the citation as JSON."""
    return {
        "n": citation.n,
        "document": str(citation.document),
        "version": str(citation.version),
        "chunk": str(citation.chunk),
        "name": citation.name,
        "title": citation.title,
        "page": citation.page,
        "span": [citation.span.start, citation.span.end],
        "boxes": [{"page": box.page, "x0": box.x0, "y0": box.y0, "x1": box.x1, "y1": box.y1} for box in citation.boxes],
        "quote": citation.quote,
        "hash": citation.hash,
        "verified": citation.verified,
    }


def warning_data(warning: Unsupported) -> Data:
    """Return the warning; `start` and `end` are offsets into the answer's text."""
    return {
        "type": "unsupported_sentence",
        "sentence": warning.sentence,
        "start": warning.span.start,
        "end": warning.span.end,
    }


def usage_data(usage: Usage) -> Data:
    """Return the tokens."""
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}


def done_data(  # noqa: PLR0913 - an answer has as many parts
    *,
    answer: AnswerId,
    conversation: ConversationId,
    text: str,
    citations: Sequence[Citation],
    abstained: bool,
    model: str,
    release: UUID | None,
    usage: Usage,
    timings_ms: Mapping[str, float],
) -> Data:
    """Return the whole answer: what `ask` prints, with the ids to come back to it by."""
    return {
        "answer": text,
        "citations": [citation_data(citation) for citation in citations],
        "abstained": abstained,
        "model": model,
        "release": None if release is None else str(release),
        "usage": usage_data(usage),
        "timings_ms": dict(timings_ms),
        "id": str(answer),
        "conversation": str(conversation),
    }


def error_data(error: FootnoteError) -> Data:
    """Return what an `error` event tells: the same words as a problem document."""
    return {
        "code": error.code,
        "title": error.title,
        "status": int(error.status),
        "detail": error.detail,
        "retryable": error.retryable,
    }


def error_of(data: Mapping[str, Any]) -> FootnoteError:
    """Return the error that the event's data tells of."""
    kinds = [FootnoteError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    for kind in kinds:
        if kind.code == data.get("code"):
            return kind(str(data.get("detail", kind.title)))
    return FootnoteError(str(data.get("detail", FootnoteError.title)))


def cited_documents(data: Mapping[str, Any]) -> frozenset[DocumentId]:
    """Return the documents that the data of a `citation` or `done` event shows words of."""
    cited = data.get("citations", [data])
    return frozenset(DocumentId(UUID(citation["document"])) for citation in cited if "document" in citation)


def hit_documents(data: Mapping[str, Any]) -> frozenset[DocumentId]:
    """Return the documents of a `retrieval` event."""
    return frozenset(DocumentId(UUID(hit["document"])) for hit in data["hits"])
