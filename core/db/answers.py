"""Answers as a log: written once, in order, and read as often as wanted; each belongs to its conversation's owner."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from uuid import UUID

from sqlalchemy import String, delete, func, insert, select, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.conversations import get_conversation
from core.db.tables import AnswerEventRow, AnswerRow, ConversationRow, DocumentRow, UsageRow, VersionRow
from core.errors import Conflict, NotFound
from core.ids import AnswerId, ConversationId, DocumentId, TenantId, VersionId, uuid7

AnswerState = Literal["running", "done", "error", "stopped"]
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A question and what became of it; `text` is None until it is finished. Times in microseconds since 1970.

    `cited`: every document that it was made from, cited by number or only shown to the model; known once it is
    finished. Where one of them has been purged, `text` is None and there are no events.
    """

    id: AnswerId
    tenant: TenantId
    conversation: ConversationId
    owner: str
    question: str
    state: AnswerState
    model: str
    release: UUID | None
    prompt_version: str | None
    text: str | None
    abstained: bool
    cited: tuple[DocumentId, ...]
    created_at: int
    finished_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEvent:
    """One event of an answer's stream; `seq` counts from 1 without gaps. `data` is JSON."""

    seq: int
    type: str
    data: Mapping[str, Any]


def start_answer(  # noqa: PLR0913 - the columns of a row, by keyword
    session: Session,
    tenant: TenantId,
    *,
    owner: str,
    conversation: ConversationId,
    question: str,
    model: str,
    release: UUID | None = None,
    prompt_version: str | None = None,
    answer: AnswerId | None = None,
) -> AnswerId:
    """Add a running answer to the owner's conversation; `answer` is a new id, where one is known already.

    :raises NotFound: there is no such conversation, or it is somebody else's.
    """
    get_conversation(session, tenant, owner=owner, conversation=conversation)
    answer = answer or AnswerId(uuid7())
    moment = now(session)
    session.execute(
        insert(AnswerRow).values(
            tenant=tenant,
            id=answer,
            conversation_id=conversation,
            owner=owner,
            question=question,
            state="running",
            model=model,
            release_id=release,
            prompt_version=prompt_version,
            abstained=False,
            cited=[],
            created_at=moment,
        )
    )
    session.execute(
        update(ConversationRow)
        .where(ConversationRow.tenant == tenant, ConversationRow.id == conversation)
        .values(updated_at=moment)
        .execution_options(synchronize_session=False)
    )
    return answer


def get_answer(session: Session, tenant: TenantId, *, owner: str, answer: AnswerId) -> Answer:
    """Return the answer.

    :raises NotFound: there is none, or it is somebody else's.
    """
    row = session.get(AnswerRow, (tenant, answer))
    if row is None or row.owner != owner:
        raise NotFound("There is no such answer.")
    return _answer(row)


def answers_of(
    session: Session, tenant: TenantId, *, owner: str, conversation: ConversationId, limit: int | None = None
) -> list[Answer]:
    """Return the conversation's answers, oldest first; with `limit` the newest of them.

    :raises NotFound: there is no such conversation, or it is somebody else's.
    """
    get_conversation(session, tenant, owner=owner, conversation=conversation)
    rows = session.scalars(
        select(AnswerRow)
        .where(AnswerRow.tenant == tenant, AnswerRow.conversation_id == conversation)
        .order_by(AnswerRow.created_at.desc(), AnswerRow.id.desc())
        .limit(limit)
    )
    return [_answer(row) for row in reversed(rows.all())]


def append_events(
    session: Session, tenant: TenantId, answer: AnswerId, events: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[AnswerEvent]:
    """Append events of (type, data) to a running answer and return them with their numbers.

    :raises Conflict: the answer is finished, or there is none; nothing was appended.
    """
    state = session.scalar(
        select(AnswerRow.state).where(AnswerRow.tenant == tenant, AnswerRow.id == answer).with_for_update()
    )
    if state != "running":
        raise Conflict("The answer is finished; nothing can be added to it.")
    last = session.scalar(
        select(func.max(AnswerEventRow.seq)).where(AnswerEventRow.tenant == tenant, AnswerEventRow.answer_id == answer)
    )
    numbered = [
        AnswerEvent(seq=seq, type=kind, data=data) for seq, (kind, data) in enumerate(events, start=(last or 0) + 1)
    ]
    if numbered:
        moment = now(session)
        session.execute(
            insert(AnswerEventRow),
            [
                {
                    "tenant": tenant,
                    "answer_id": answer,
                    "seq": event.seq,
                    "type": event.type,
                    "data": dict(event.data),
                    "created_at": moment,
                }
                for event in numbered
            ],
        )
    return numbered


def events_after(session: Session, tenant: TenantId, answer: AnswerId, seq: int) -> list[AnswerEvent]:
    """Return the events with a greater number, in order. The caller has checked whose answer it is."""
    rows = session.execute(
        select(AnswerEventRow.seq, AnswerEventRow.type, AnswerEventRow.data)
        .where(AnswerEventRow.tenant == tenant, AnswerEventRow.answer_id == answer, AnswerEventRow.seq > seq)
        .order_by(AnswerEventRow.seq)
    )
    return [AnswerEvent(seq=row.seq, type=row.type, data=row.data) for row in rows]


def finish_answer(
    session: Session,
    tenant: TenantId,
    answer: AnswerId,
    *,
    state: AnswerState,
    text: str | None,
    abstained: bool = False,
    cited: Collection[DocumentId] = (),
) -> bool:
    """End a running answer; False if it was finished already, which then stands.

    The documents of its `retrieval` events are kept with the cited ones: what was said came from them, marked or not.
    If one of them was deleted meanwhile, the answer keeps no text and no events.
    """
    made_from = dict.fromkeys([*cited, *_retrieved(session, tenant, answer)])
    updated = session.execute(
        update(AnswerRow)
        .where(AnswerRow.tenant == tenant, AnswerRow.id == answer, AnswerRow.state == "running")
        .values(
            state=state,
            text=text,
            abstained=abstained,
            cited=[str(document) for document in made_from],
            finished_at=now(session),
        )
        .execution_options(synchronize_session=False)
    )
    finished = bool(cast("Any", updated).rowcount)
    if finished and _any_deleted(session, tenant, made_from):
        _forget(session, tenant, [answer])
    return finished


def forget_document(session: Session, tenant: TenantId, document: DocumentId) -> int:
    """Remove the text and the events of every finished answer made from the document; return how many there were.

    The questions stay, and `cited`, by which such an answer is told from others. A running one loses its own when it
    is finished.
    """
    found = session.scalars(
        select(AnswerRow.id).where(
            AnswerRow.tenant == tenant,
            AnswerRow.state != "running",
            sql_cast(AnswerRow.cited, String).contains(str(document)),
        )
    ).all()
    _forget(session, tenant, [AnswerId(answer) for answer in found])
    return len(found)


def _forget(session: Session, tenant: TenantId, forgotten: Sequence[AnswerId]) -> None:
    for start in range(0, len(forgotten), _BATCH):
        some = forgotten[start : start + _BATCH]
        session.execute(
            delete(AnswerEventRow)
            .where(AnswerEventRow.tenant == tenant, AnswerEventRow.answer_id.in_(some))
            .execution_options(synchronize_session=False)
        )
        session.execute(
            update(AnswerRow)
            .where(AnswerRow.tenant == tenant, AnswerRow.id.in_(some))
            .values(text=None)
            .execution_options(synchronize_session=False)
        )


def _retrieved(session: Session, tenant: TenantId, answer: AnswerId) -> list[DocumentId]:
    found = events_of_type(session, tenant, [answer], "retrieval").get(answer, [])
    return [DocumentId(UUID(hit["document"])) for event in found for hit in event.data.get("hits", ())]


def _any_deleted(session: Session, tenant: TenantId, documents: Collection[DocumentId]) -> bool:
    if not documents:
        return False
    gone = select(DocumentRow.id).where(
        DocumentRow.tenant == tenant, DocumentRow.id.in_(list(documents)), DocumentRow.deleted_at.is_not(None)
    )
    return session.scalars(gone.limit(1)).first() is not None


def end_interrupted(session: Session, event: tuple[str, Mapping[str, Any]], *, older_than: float = 0.0) -> int:
    """End every answer of every tenant that has run for longer than so many seconds with `event`; return how many.

    With 0 for the start of a process that is the only one to generate answers: what runs now was cut off by a crash.
    """
    before = now(session) - round(older_than * SECOND)
    rows = session.execute(
        select(AnswerRow.tenant, AnswerRow.id).where(AnswerRow.state == "running", AnswerRow.created_at <= before)
    ).all()
    for row in rows:
        append_events(session, TenantId(row.tenant), AnswerId(row.id), [event])
        finish_answer(session, TenantId(row.tenant), AnswerId(row.id), state="error", text=None)
    return len(rows)


def record_usage(
    session: Session, tenant: TenantId, *, owner: str, model: str, prompt_tokens: int, completion_tokens: int
) -> None:
    """Note the tokens that an answer cost."""
    session.execute(
        insert(UsageRow).values(
            tenant=tenant,
            id=uuid7(),
            owner=owner,
            model=model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            created_at=now(session),
        )
    )


def events_of_type(
    session: Session, tenant: TenantId, answers: Collection[AnswerId], kind: str
) -> dict[AnswerId, list[AnswerEvent]]:
    """Return the events of one type of several answers, in order; answers without one are left out."""
    found: dict[AnswerId, list[AnswerEvent]] = {}
    rows = session.execute(
        select(AnswerEventRow.answer_id, AnswerEventRow.seq, AnswerEventRow.type, AnswerEventRow.data)
        .where(
            AnswerEventRow.tenant == tenant,
            AnswerEventRow.answer_id.in_(list(answers)),
            AnswerEventRow.type == kind,
        )
        .order_by(AnswerEventRow.answer_id, AnswerEventRow.seq)
    )
    for row in rows:
        found.setdefault(AnswerId(row.answer_id), []).append(AnswerEvent(seq=row.seq, type=row.type, data=row.data))
    return found


def parsed_hash(session: Session, tenant: TenantId, version: VersionId) -> str | None:
    """Return the blob of the version's parse result, in which cited words are located; None if there is none (left)."""
    return session.scalar(select(VersionRow.parsed_hash).where(VersionRow.tenant == tenant, VersionRow.id == version))


def _answer(row: AnswerRow) -> Answer:
    return Answer(
        id=AnswerId(row.id),
        tenant=TenantId(row.tenant),
        conversation=ConversationId(row.conversation_id),
        owner=row.owner,
        question=row.question,
        state=cast("AnswerState", row.state),
        model=row.model,
        release=row.release_id,
        prompt_version=row.prompt_version,
        text=row.text,
        abstained=row.abstained,
        cited=tuple(DocumentId(UUID(document)) for document in row.cited),
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
