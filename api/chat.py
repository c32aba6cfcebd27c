"""Questions and their answers, streamed or whole. The answer is a log: reading it does not make it."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from api.bodies import Body, JsonBody, json_response, no_content, question_text, uuid_or_absent
from api.dependencies import Caller, Reader, ServicesOf
from api.services import Services
from api.sse import event_response, last_event_id, wants_events
from core.db import answers, conversations
from core.ids import AnswerId, ConversationId

router = APIRouter()

ANSWER_HEADER = "X-Footnote-Answer"


class ChatBody(Body):
    """`conversation`: go on with this one; `model`: another one than the default."""

    question: str
    conversation: str | None = None
    model: str | None = None


async def _answer_id(answer: str) -> AnswerId:
    return AnswerId(uuid_or_absent(answer))


AnswerOf = Annotated[AnswerId, Depends(_answer_id)]


@router.post("/v1/chat")
async def chat(request: Request, caller: Reader, services: ServicesOf, body: JsonBody[ChatBody]) -> Response:
    """Answer the question from what the caller may read: as events if Accept asks for them, else as JSON at the end."""
    question = question_text(body.question, field="question", most=services.settings.max_query_chars)
    conversation = None if body.conversation is None else ConversationId(uuid_or_absent(body.conversation))
    answer = await services.answering.ask(caller.principal, question, conversation=conversation, model=body.model)
    headers = {ANSWER_HEADER: str(answer)}
    if wants_events(request.headers.get("accept", "")):
        return event_response(services.answering.events(caller.principal, answer, today=caller.today), headers=headers)
    return json_response(await _result(request, services, caller, answer), headers=headers)


async def _result(request: Request, services: Services, caller: Caller, answer: AnswerId) -> Mapping[str, object]:
    """Wait for the end of the answer, or of the client: who is gone counts as a reader no more."""
    result = asyncio.ensure_future(services.answering.result(caller.principal, answer, today=caller.today))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({result, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise ClientDisconnect
        return await result
    finally:
        for task in (result, gone):
            task.cancel()
        await asyncio.gather(result, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.get("/v1/answers/{answer}/events")
async def follow(
    caller: Reader,
    services: ServicesOf,
    answer: AnswerOf,
    last: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """Return the answer's events after `Last-Event-ID`, those to come included, until it is done."""
    await run_in_threadpool(_require_own, services, caller, answer)
    events = services.answering.events(caller.principal, answer, after=last_event_id(last), today=caller.today)
    return event_response(events, headers={ANSWER_HEADER: str(answer)})


@router.post("/v1/answers/{answer}/stop")
async def stop(caller: Reader, services: ServicesOf, answer: AnswerOf) -> Response:
    """End the answer now; one that has ended stays as it is."""
    await services.answering.stop(caller.principal, answer)
    return no_content()


def _require_own(services: Services, caller: Caller, answer: AnswerId) -> None:
    with services.database.reading() as session:
        answers.get_answer(session, caller.key.tenant, owner=conversations.owner_of(caller.principal), answer=answer)
