"""The caller's own conversations. What they cite is checked again before it is shown again."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.bodies import json_response, no_content, uuid_or_absent
from api.dependencies import Reader, ServicesOf
from api.times import iso
from core.db import conversations, lookups
from core.db.conversations import Conversation
from core.ids import ConversationId
from generation.history import PastTurn

router = APIRouter()


async def _conversation_id(conversation: str) -> ConversationId:
    return ConversationId(uuid_or_absent(conversation))


ConversationOf = Annotated[ConversationId, Depends(_conversation_id)]


@router.get("/v1/conversations")
async def list_conversations(caller: Reader, services: ServicesOf) -> Response:
    """Return the caller's conversations, the one last spoken in first."""
    found = await services.answering.conversations(caller.principal)
    return json_response({"conversations": [conversation_json(conversation) for conversation in found]})


@router.get("/v1/conversations/{conversation}")
async def read_conversation(caller: Reader, services: ServicesOf, conversation: ConversationOf) -> Response:
    """Return the conversation with its turns; an answer that cites what the caller may no longer read is withheld."""
    history = await services.answering.conversation(caller.principal, conversation)
    turns = [turn_json(turn) for turn in history.turns]
    return json_response({**conversation_json(history.conversation), "turns": turns})


@router.delete("/v1/conversations/{conversation}")
def delete_conversation(caller: Reader, services: ServicesOf, conversation: ConversationOf) -> Response:
    """Remove the conversation and its answers."""
    owner = conversations.owner_of(caller.principal)
    with services.database.transaction() as session:
        lookups.delete_conversation(session, caller.key.tenant, owner=owner, conversation=conversation)
    return no_content()


def conversation_json(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation as JSON values."""
    return {
        "id": conversation.id,
        "title": conversation.title,
        "created_at": iso(conversation.created_at),
        "updated_at": iso(conversation.updated_at),
    }


def turn_json(turn: PastTurn) -> dict[str, Any]:
    """Return a question and its answer as JSON values; `answer` is null while it runs and where it is withheld."""
    return {
        "id": turn.id,
        "question": turn.question,
        "answer": turn.answer,
        "state": turn.state,
        "abstained": turn.abstained,
        "withheld": turn.withheld,
        "citations": list(turn.citations),
        "created_at": iso(turn.created_at),
    }
