"""What was said before in a conversation, as far as the asker may still see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from core.db import answers, conversations
from core.db.access import readable
from core.domain import Principal
from core.ids import AnswerId, ConversationId, DocumentId
from generation.ports import Turn

KEPT_TURNS = 6  # The last turns that a model is told of.


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTurn:
    """A question and what became of it. Withheld: made from what the asker may not read now; `answer` is None then."""

    id: AnswerId
    question: str
    answer: str | None
    state: answers.AnswerState
    abstained: bool
    withheld: bool
    created_at: int
    citations: tuple[Mapping[str, Any], ...] = ()


def past_turns(
    session: Session,
    principal: Principal,
    conversation: ConversationId,
    *,
    limit: int | None,
    citations: bool = False,
) -> tuple[PastTurn, ...]:
    """Return the last `limit` turns of the principal's conversation, oldest first, re-checked now.

    :raises NotFound: there is no such conversation, or it is somebody else's.
    """
    owner = conversations.owner_of(principal)
    past = answers.answers_of(session, principal.tenant, owner=owner, conversation=conversation, limit=limit)
    cited = {document for answer in past for document in answer.cited}
    allowed: frozenset[DocumentId] = readable(session, principal, cited) if cited else frozenset()
    shown = {answer.id for answer in past if allowed.issuperset(answer.cited)}
    done = answers.events_of_type(session, principal.tenant, shown, "done") if citations and shown else {}
    return tuple(
        PastTurn(
            id=answer.id,
            question=answer.question,
            answer=answer.text if answer.id in shown else None,
            state=answer.state,
            abstained=answer.abstained,
            withheld=answer.id not in shown,
            created_at=answer.created_at,
            citations=tuple(citation for event in done.get(answer.id, ()) for citation in event.data["citations"]),
        )
        for answer in past
    )


def spoken(turns: Sequence[PastTurn]) -> list[Turn]:
    """Return what a model may be told: finished turns with an answer; withheld ones and failures are left out."""
    return [
        Turn(question=turn.question, answer=turn.answer)
        for turn in turns
        if turn.state == "done" and turn.answer is not None
    ]
