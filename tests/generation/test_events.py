import json
from dataclasses import replace

import pytest

from core.domain import Box, Citation, Span
from core.errors import FootnoteError, IndexUnavailable, ModelUnavailable
from core.ids import AnswerId, ConversationId, uuid7
from generation import events
from generation.endings import Interrupted, Stopped, Withheld
from generation.ports import Usage
from tests.generation.samples import PARKING, evidence_of

EVIDENCE = evidence_of(PARKING, PARKING)
CHUNK = EVIDENCE[0].chunk
CITATION = Citation(
    n=1,
    document=CHUNK.document,
    version=CHUNK.version,
    chunk=CHUNK.id,
    name="file1.md",
    title=None,
    page=3,
    span=Span(start=0, end=7),
    quote="Parking",
    hash="00",
    boxes=(Box(page=3, x0=0.0, y0=0.1, x1=0.2, y1=0.3),),
)
IDS = {"answer": AnswerId(uuid7()), "conversation": ConversationId(uuid7())}


def retrieval() -> events.Data:
    return events.retrieval_data(
        EVIDENCE,
        answer=AnswerId(IDS["answer"]),
        conversation=ConversationId(IDS["conversation"]),
        timings_ms={"total": 1.5},
    )


def done() -> events.Data:
    return events.done_data(
        answer=AnswerId(IDS["answer"]),
        conversation=ConversationId(IDS["conversation"]),
        text="Parking [1]",
        citations=[CITATION],
        abstained=False,
        model="m",
        release=None,
        usage=Usage(prompt_tokens=1, completion_tokens=2),
        timings_ms={"total": 2.0},
    )


def test_every_events_data_is_json() -> None:
    for data in (retrieval(), done(), events.error_data(Stopped("x")), events.citation_data(CITATION)):
        assert json.loads(json.dumps(data)) == data


def test_the_documents_that_are_shown_can_be_found_in_the_data() -> None:
    other = replace(CITATION, document=EVIDENCE[1].chunk.document)
    assert events.cited_documents(events.citation_data(CITATION)) == {CITATION.document}
    assert events.cited_documents({"citations": [events.citation_data(c) for c in (CITATION, other)]}) == {
        CITATION.document,
        other.document,
    }
    assert events.hit_documents(retrieval()) == {item.chunk.document for item in EVIDENCE}


@pytest.mark.parametrize("kind", [Stopped, Interrupted, Withheld, ModelUnavailable, IndexUnavailable, FootnoteError])
def test_an_error_comes_out_of_the_log_as_it_went_in(kind: type[FootnoteError]) -> None:
    error = events.error_of(events.error_data(kind("What happened.")))
    assert type(error) is kind
    assert error.detail == "What happened."


def test_an_error_of_another_version_is_still_an_error() -> None:
    assert type(events.error_of({"code": "unheard_of"})) is FootnoteError
