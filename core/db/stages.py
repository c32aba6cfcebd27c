"""What becomes of a claimed stage: done and the next one queued, tried again later, or failed for good.

Every function here takes effect only under the claimer's own fence. The ones for a single stage raise `LeaseLost`
otherwise; those for many leave the lost ones alone and return the ones that took effect.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from core.db.backlog import Backlog, backlog, has_open
from core.db.blobs import add_references, drop_references
from core.db.claiming import ClaimedStage, claim, has_claimable
from core.db.clock import SECOND, now
from core.db.index_tasks import queue_task
from core.db.leases import held, reclaim_all, reclaim_owned, release, renew, set_aside
from core.db.stage_results import record_stage_result, replace_stage_result, stage_result
from core.db.tables import StageRow, VersionRow
from core.db.turns import SUSPECT_AFTER
from core.db.wakeups import announce
from core.domain import Reason, StageName
from core.errors import FootnoteError, LeaseLost
from core.ids import StageId, TenantId, VersionId

__all__ = [
    "SUSPECT_AFTER",
    "Backlog",
    "ClaimedStage",
    "Failed",
    "Finished",
    "VersionFacts",
    "asked_delay",
    "backlog",
    "claim",
    "fail",
    "fail_many",
    "finish",
    "finish_many",
    "has_claimable",
    "has_open",
    "held",
    "reclaim_all",
    "reclaim_owned",
    "record_stage_result",
    "release",
    "renew",
    "replace_stage_result",
    "retry_delay",
    "retry_later",
    "set_aside",
    "stage_result",
]

NEXT = {StageName.PARSE: StageName.CHUNK, StageName.CHUNK: StageName.EMBED, StageName.EMBED: StageName.INDEX}
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 300.0
LONGEST_WAIT_SECONDS = 60.0  # For a part that does not answer: it may be back at any moment.
UNLEASED: Mapping[str, Any] = {"lease_owner": None, "lease_until": None}
MAX_DETAIL = 2_000  # Characters of what was seen of a document that are kept with its failed stage.
MAX_EXCERPT = 4_000  # Characters of a log that are kept with a failed stage, the last ones.


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """What a stage found out about a version; None leaves what is known. `parsed_size` goes with `parsed_hash`."""

    media_type: str | None = None
    title: str | None = None
    language: str | None = None
    page_count: int | None = None
    pages_lost: tuple[int, ...] | None = None
    notes: tuple[str, ...] | None = None
    parsed_hash: str | None = None
    parsed_size: int = 0
    chunk_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A stage that is done: the hash of its output, which is the next stage's input."""

    stage: ClaimedStage
    output_hash: str
    facts: VersionFacts = field(default_factory=VersionFacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A stage that failed for good. `detail`: what was seen of this very document; `page`: the one at fault, from 1.

    `excerpt` is a piece of the log that holds nothing of the document's content: all who may see the document see it.
    """

    stage: ClaimedStage
    reason: Reason
    detail: str | None = None
    page: int | None = None
    excerpt: str | None = None
    facts: VersionFacts = field(default_factory=VersionFacts)


Ended = TypeVar("Ended", Finished, Failed)


def finish(session: Session, claimed: ClaimedStage, *, output_hash: str, facts: VersionFacts | None = None) -> None:
    """Mark the stage as done and queue the next one of its version, with a wake-up. Raises `LeaseLost`.

    What the stage wrote elsewhere (chunks, embeddings) belongs into the same transaction, after this call.
    The index stage ends with `core.db.flipping.make_current` instead.
    """
    if not finish_many(session, [Finished(stage=claimed, output_hash=output_hash, facts=facts or VersionFacts())]):
        raise _lost(claimed)


def finish_many(session: Session, finished: Sequence[Finished]) -> list[Finished]:
    """`finish` for many stages in one transaction; returns those that took effect."""
    if any(one.stage.name is StageName.INDEX for one in finished):
        raise ValueError("an index stage ends with make_current, which also flips the version")
    kept = _still_held(session, finished)
    if not kept:
        return []
    moment = now(session)
    end_stages(session, [(one.stage, one.output_hash) for one in kept], moment)
    for one in kept:
        _record_facts(session, one.stage, one.facts)
    _queue_next(session, kept, moment)
    return kept


def fail(
    session: Session,
    claimed: ClaimedStage,
    reason: Reason,
    detail: str | None = None,
    *,
    page: int | None = None,
    excerpt: str | None = None,
) -> None:
    """Mark the stage, and so its version, as failed until somebody retries it. Raises `LeaseLost`.

    An earlier version that is searchable stays so.
    """
    failed = Failed(stage=claimed, reason=reason, detail=detail, page=page, excerpt=excerpt)
    if not fail_many(session, [failed]):
        raise _lost(claimed)


def fail_many(session: Session, failed: Sequence[Failed]) -> list[Failed]:
    """`fail` for many stages in one transaction; returns those that took effect."""
    kept = _still_held(session, failed)
    moment = now(session)
    _update(
        session,
        [
            {
                "tenant": one.stage.tenant,
                "id": one.stage.id,
                "state": "failed",
                "reason": one.reason.value,
                "detail": one.detail and one.detail[:MAX_DETAIL],
                "page": one.page,
                "excerpt": one.excerpt and one.excerpt[-MAX_EXCERPT:],
                "finished_at": moment,
                **UNLEASED,
            }
            for one in kept
        ],
    )
    for one in kept:
        _record_facts(session, one.stage, one.facts)
        if one.stage.name is StageName.INDEX:  # Some of its points may be there.
            queue_task(session, one.stage.tenant, "purge_version", one.stage.document, version=one.stage.version)
    return kept


def retry_delay(attempt: int) -> float:
    """Return how many seconds to wait after so many attempts: doubling from 1 s to 5 min, half of it by chance."""
    delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(max(attempt, 1) - 1, 30))
    return delay * (0.5 + secrets.randbelow(1_000) / 2_000)


def asked_delay(error: BaseException) -> float | None:
    """Return how many seconds to wait because the error says that whoever refused asks for it; None: it does not.

    Never less than was asked, up to 5 min, and up to a quarter more by chance, so that not all come back at once.
    """
    asked = error.retry_after if isinstance(error, FootnoteError) else None
    if asked is None:
        return None
    return min(LONGEST_DELAY_SECONDS, max(FIRST_DELAY_SECONDS, asked)) * (1 + secrets.randbelow(1_000) / 4_000)


def retry_later(
    session: Session,
    claimed: ClaimedStage,
    delay: float | None = None,
    reason: Reason | None = None,
    detail: str | None = None,
    *,
    counted: bool = True,
    child_died: bool = False,
) -> None:
    """Queue the stage again in `delay` seconds (default: growing with its attempts). Raises `LeaseLost`.

    With `counted` False this was no attempt: some part that every document needs did not answer. The delay then grows
    with the time since the stage was first claimed, up to a minute. `child_died`: its parser's own child was killed.
    """
    if not held(session, [claimed]):
        raise _lost(claimed)
    moment = now(session)
    if delay is None:
        delay = retry_delay(claimed.attempt) if counted else _waiting_delay(session, claimed, moment)
    _update(
        session,
        [
            {
                "tenant": claimed.tenant,
                "id": claimed.id,
                "state": "queued",
                "attempt": claimed.attempt if counted else max(0, claimed.attempt - 1),
                "child_deaths": claimed.child_deaths + child_died,
                "ready_at": moment + round(delay * SECOND),
                "reason": reason and reason.value,
                "detail": detail and detail[:MAX_DETAIL],
                **UNLEASED,
            }
        ],
    )


def _waiting_delay(session: Session, claimed: ClaimedStage, moment: int) -> float:
    started = session.scalars(
        select(StageRow.started_at).where(StageRow.tenant == claimed.tenant, StageRow.id == claimed.id)
    ).one()
    waited = 0.0 if started is None else max(0, moment - started) / SECOND
    return min(LONGEST_WAIT_SECONDS, max(FIRST_DELAY_SECONDS, waited)) * (0.5 + secrets.randbelow(1_000) / 2_000)


def end_stages(session: Session, outputs: Sequence[tuple[ClaimedStage, str | None]], moment: int) -> None:
    """Mark stages as done with these outputs, for callers that have made sure, with `held`, that they may."""
    done = {"state": "done", "finished_at": moment, "progress": 1.0, "reason": None, "detail": None, **UNLEASED}
    done["refilled_at"] = None
    _update(
        session,
        [{"tenant": stage.tenant, "id": stage.id, "output_hash": output, **done} for stage, output in outputs],
    )


def _lost(claimed: ClaimedStage) -> LeaseLost:
    return LeaseLost(f"Stage {claimed.name} of document {claimed.document} belongs to another worker now, or to none.")


def _still_held(session: Session, ends: Sequence[Ended]) -> list[Ended]:
    kept = set(held(session, [one.stage for one in ends]))
    return [one for one in ends if one.stage in kept]


def _update(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        session.execute(update(StageRow), rows)  # one statement, by primary key, for all rows


def _record_facts(session: Session, stage: ClaimedStage, facts: VersionFacts) -> None:
    version = and_(VersionRow.tenant == stage.tenant, VersionRow.id == stage.version)
    values: dict[str, Any] = {
        "media_type": facts.media_type,
        "title": facts.title,
        "language": facts.language,
        "page_count": facts.page_count,
        "pages_lost": None if facts.pages_lost is None else list(facts.pages_lost),
        "notes": None if facts.notes is None else list(facts.notes),
        "parsed_hash": facts.parsed_hash,
        "chunk_count": facts.chunk_count,
    }
    values = {name: value for name, value in values.items() if value is not None}
    if facts.parsed_hash is not None:
        before = session.scalars(select(VersionRow.parsed_hash).where(version)).one()
        if before == facts.parsed_hash:
            del values["parsed_hash"]
        else:
            add_references(session, stage.tenant, {facts.parsed_hash: facts.parsed_size})
            if before is not None:
                drop_references(session, stage.tenant, [before])
    if values:
        session.execute(update(VersionRow).where(version).values(**values).execution_options(synchronize_session=False))


def _queue_next(session: Session, finished: Sequence[Finished], moment: int) -> None:
    outputs = {(one.stage.tenant, one.stage.version, NEXT[one.stage.name].value): one.output_hash for one in finished}
    versions: dict[TenantId, set[VersionId]] = {}
    for one in finished:
        versions.setdefault(one.stage.tenant, set()).add(one.stage.version)
    waiting = session.execute(
        select(StageRow.tenant, StageRow.id, StageRow.version_id, StageRow.name, StageRow.created_at)
        .where(
            or_(*(and_(StageRow.tenant == tenant, StageRow.version_id.in_(some)) for tenant, some in versions.items())),
            StageRow.state == "waiting",
        )
        .order_by(StageRow.tenant, StageRow.id)
        .with_for_update()
    ).all()
    rows = [row for row in waiting if (row.tenant, row.version_id, row.name) in outputs]
    _update(
        session,
        [
            {
                "tenant": row.tenant,
                "id": row.id,
                "state": "queued",
                "ready_at": row.created_at,  # As old as its document, so that the oldest document is done first.
                "input_hash": outputs[row.tenant, row.version_id, row.name],
            }
            for row in rows
        ],
    )
    announce(session, [(TenantId(row.tenant), StageId(row.id), StageName(row.name)) for row in rows], moment)
