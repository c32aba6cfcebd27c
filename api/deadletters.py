"""Dead letters: what failed and why, and replaying it. What somebody may not know of answers like what does not exist.

Seen by whoever may know of the document; replayed by whoever may change it, one by one or by a filter.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from api.bodies import Body, JsonBody, json_response
from api.dependencies import Editor, Reader, ServicesOf
from api.documents import MOST_LISTED, DocumentOf
from api.errors import FieldError, InvalidFields
from api.times import iso, micros
from core.db import deadletters
from core.db.deadletters import DeadLetter, DeadLetterFilter, Replayed
from core.domain import Reason, StageName

router = APIRouter()

NOT_BY_ACCIDENT = 'name a reason, stage, source or time, or send {"all": true} alone'


class ReplayBody(Body):
    """Which dead letters to replay: all of them, said in so many words, or those that match every field given."""

    all: bool | None = None
    reason: Reason | None = None
    stage: StageName | None = None
    source: str | None = None
    since: AwareDatetime | None = None
    cursor: str | None = None

    def wanted(self) -> DeadLetterFilter:
        """Return the filter; raises `InvalidFields` where it is neither all nor a filter, lest it be an accident."""
        wanted = filter_of(self.reason, self.stage, self.source, self.since)
        if (self.all is True) != (wanted == deadletters.ALL) or self.all is False:
            raise InvalidFields([FieldError(field="all", message=NOT_BY_ACCIDENT)])
        return wanted


@router.get("/v1/deadletters")
def list_dead_letters(
    caller: Reader,
    services: ServicesOf,
    reason: Annotated[Reason | None, Query()] = None,
    stage: Annotated[StageName | None, Query()] = None,
    source: Annotated[str | None, Query()] = None,
    since: Annotated[AwareDatetime | None, Query()] = None,
    cursor: Annotated[str | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
) -> Response:
    """Return a page of the failed documents that the caller may know of, the newest documents first."""
    wanted = filter_of(reason, stage, source, since)
    with services.database.reading() as session:
        page = deadletters.list_readable(session, caller.principal, wanted, cursor=cursor, limit=limit)
    return json_response({"deadletters": [letter_json(letter) for letter in page.deadletters], "next": page.next})


@router.post("/v1/deadletters/replay")
def replay_dead_letters(caller: Editor, services: ServicesOf, body: JsonBody[ReplayBody]) -> Response:
    """Replay what matches and the caller may change; `left` counts what they may only see. `next`: there is more."""
    done = deadletters.replay_matching(services.database, caller.principal_in, body.wanted(), cursor=body.cursor)
    services.wake()
    return json_response(replayed_json(done), status=HTTPStatus.ACCEPTED)


@router.get("/v1/deadletters/{document}")
def read_dead_letter(caller: Reader, services: ServicesOf, document: DocumentOf) -> Response:
    """Return what failed of the document."""
    with services.database.reading() as session:
        return json_response(letter_json(deadletters.show(session, caller.principal, document)))


@router.post("/v1/deadletters/{document}/replay")
def replay_dead_letter(caller: Editor, services: ServicesOf, document: DocumentOf) -> Response:
    """Replay the document; where nothing of it has failed (any more), nothing changes."""
    with services.database.transaction() as session:
        done = deadletters.replay(session, caller.principal_in(session), document)
    services.wake()
    return json_response(replayed_json(done), status=HTTPStatus.ACCEPTED)


def filter_of(
    reason: Reason | None, stage: StageName | None, source: str | None, since: datetime | None
) -> DeadLetterFilter:
    """Return the filter of a request."""
    moment = None if since is None else micros(since)
    return DeadLetterFilter(reason=reason, stage=stage, source=source, since=moment)


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter as JSON values."""
    return {
        "document": letter.document,
        "name": letter.name,
        "source": letter.source,
        "stage": letter.stage,
        "reason": letter.reason,
        "detail": letter.detail,
        "page": letter.page,
        "excerpt": letter.excerpt,
        "attempts": letter.attempts,
        "failed_at": iso(letter.failed_at),
        "version": letter.version,
        "searchable_version": letter.searchable_version,
    }


def replayed_json(done: Replayed) -> dict[str, Any]:
    """Return how far replaying came, as JSON values."""
    return {"replayed": done.replayed, "left": done.left, "next": done.next}
