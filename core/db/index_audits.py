"""Which audits of catalogue and index are to be made, who makes them, and what they found; `audit` is another log.

An audit is a row before it is work: two schedulers that ask for the same night make one row, and a lease lets one
process at a time work on it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args
from uuid import UUID

from sqlalchemy import and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.inserting import insert_missing
from core.db.tables import AuditTotalRow, IndexAuditRow
from core.ids import TenantId, uuid7

Cause = Literal["nightly", "asked", "start"]
Phase = Literal["points", "unknown", "documents", "files"]

MOST_MISSING = 1_000  # Missing files that are kept by name; they are counted however many they are.
FOREIGN = "foreign"  # The kind of what is noted beside missing files: points that an audit did not dare to remove.
KEPT = 400  # Finished audits: a year of nights.
LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What an audit looked at (`points`, `documents`, `files`), what it healed, and how many files are missing."""

    points: int = 0
    documents: int = 0
    files: int = 0
    points_removed: int = 0
    documents_refilled: int = 0
    access_rewritten: int = 0
    files_missing: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(Counts)})


HEALED = ("points_removed", "documents_refilled", "access_rewritten")
COUNTED: tuple[str, ...] = tuple(Counts.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexAudit:
    """An audit, over all tenants. Times are UTC microseconds; `missing` names up to `MOST_MISSING` lost files.

    `foreign`: points that were left alone, because another installation seems to keep its own in the same index.
    """

    id: UUID
    cause: Cause
    day: str | None
    requested_at: int
    started_at: int | None
    finished_at: int | None
    counts: Counts
    missing: tuple[Mapping[str, Any], ...] = field(default=())
    foreign: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far an audit has come: what of the phase was looked at last, and of which tenant; None: nothing yet."""

    phase: Phase = "points"
    tenant: TenantId | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What was counted since this was written down last, how far the audit is, and all missing files so far."""

    counts: Counts = field(default_factory=Counts)
    place: Place = field(default_factory=Place)
    missing: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedAudit:
    """An audit in one's own hand: where an earlier holder has left it, and the missing files that it found."""

    id: UUID
    fence: int
    place: Place = field(default_factory=Place)
    missing: tuple[Mapping[str, Any], ...] = ()


def request_audit(session: Session, cause: Cause = "asked") -> IndexAudit:
    """Ask for an audit, and return it. One that was asked for and has not begun yet serves for both."""
    if cause == "nightly":
        raise ValueError("nightly audits have a date: schedule_nightly asks for them")
    waiting = select(IndexAuditRow).where(
        IndexAuditRow.cause == cause, IndexAuditRow.finished_at.is_(None), IndexAuditRow.attempt == 0
    )
    found = session.scalars(waiting.limit(1).with_for_update()).one_or_none()
    if found is None:
        found = _row(cause, now(session))
        session.add(found)
        session.flush()
    return _audit(found)


def nightly_is_due(session: Session, hour: int) -> bool:
    """Return whether it is past this hour (UTC, by the database's clock) of a date that has no nightly audit yet."""
    day = _night(now(session), hour)
    if day is None:
        return False
    return not session.execute(select(exists().where(IndexAuditRow.day == day))).scalar_one()


def schedule_nightly(session: Session, hour: int) -> None:
    """Ask for the nightly audit of this date, if it is time for it. However many ask, there is one per date."""
    moment = now(session)
    day = _night(moment, hour)
    if day is None:
        return
    row = _row("nightly", moment)
    values = {column.key: getattr(row, column.key) for column in IndexAuditRow.__table__.columns}
    insert_missing(session, IndexAuditRow, [values | {"day": day}])


def has_open_audit(session: Session) -> bool:
    """Return whether an audit is waiting, or being made: whoever holds it, or the next one, has something to do."""
    due = and_(IndexAuditRow.finished_at.is_(None), IndexAuditRow.ready_at <= now(session))
    return session.execute(select(exists().where(due))).scalar_one()


def has_audit_to_begin(session: Session) -> bool:
    """Return whether an audit is waiting that will look at everything, since it was not begun yet."""
    unbegun = and_(IndexAuditRow.finished_at.is_(None), IndexAuditRow.phase.is_(None))
    return session.execute(select(exists().where(unbegun))).scalar_one()


def claim_audit(session: Session, *, owner: str, lease_seconds: float) -> ClaimedAudit | None:
    """Take the audit that has waited longest, or whose holder is gone; None if there is nothing to take."""
    moment = now(session)
    row = session.scalars(
        select(IndexAuditRow)
        .where(
            IndexAuditRow.finished_at.is_(None),
            IndexAuditRow.ready_at <= moment,
            or_(IndexAuditRow.lease_until.is_(None), IndexAuditRow.lease_until <= moment),
        )
        .order_by(IndexAuditRow.requested_at, IndexAuditRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    row.fence += 1
    row.attempt += 1
    row.lease_owner = owner
    row.lease_until = moment + round(lease_seconds * SECOND)
    row.started_at = moment if row.started_at is None else row.started_at
    session.flush()
    return ClaimedAudit(id=row.id, fence=row.fence, place=_place(row), missing=tuple(row.missing))


def renew_audit(session: Session, claimed: ClaimedAudit, progress: Progress, *, lease_seconds: float) -> bool:
    """Keep what was counted so far and hold the lease for so long; False if it belongs to another by now."""
    return _change(session, claimed, progress, lease_until=now(session) + round(lease_seconds * SECOND))


def postpone_audit(session: Session, claimed: ClaimedAudit, progress: Progress, delay: float) -> bool:
    """Give the audit back, to be gone on with in `delay` seconds; False if it was not ours any more."""
    return _change(session, claimed, progress, **_FREE, ready_at=now(session) + round(delay * SECOND))


def finish_audit(session: Session, claimed: ClaimedAudit, progress: Progress) -> bool:
    """Record the audit as done, with its missing files by name; False if it was not ours any more."""
    done = _change(session, claimed, progress, **_FREE, finished_at=now(session))
    if done:
        _prune(session)
    return done


def _prune(session: Session) -> None:
    """Forget all but the last audits, and add what those had healed to the totals."""
    kept = (
        select(IndexAuditRow.id)
        .where(IndexAuditRow.finished_at.is_not(None))
        .order_by(IndexAuditRow.requested_at.desc(), IndexAuditRow.id.desc())
        .limit(KEPT)
    )
    old = and_(IndexAuditRow.finished_at.is_not(None), IndexAuditRow.id.not_in(kept))
    # What this very statement removed: whoever prunes beside it adds other rows, never the same ones.
    removed = session.execute(
        delete(IndexAuditRow)
        .where(old)
        .returning(*(getattr(IndexAuditRow, kind) for kind in HEALED))
        .execution_options(synchronize_session=False)
    ).all()
    if not removed:
        return
    insert_missing(session, AuditTotalRow, [{"kind": kind, "healed": 0} for kind in HEALED])
    for kind, counts in zip(HEALED, zip(*removed, strict=True), strict=True):
        session.execute(
            update(AuditTotalRow)
            .where(AuditTotalRow.kind == kind)
            .values(healed=AuditTotalRow.healed + sum(counts))
            .execution_options(synchronize_session=False)
        )


def note_refilled(session: Session, audit: UUID, documents: int) -> None:
    """Count documents that were put back before the audit that is asked for has begun."""
    session.execute(
        update(IndexAuditRow)
        .where(IndexAuditRow.id == audit)
        .values(documents_refilled=IndexAuditRow.documents_refilled + documents)
        .execution_options(synchronize_session=False)
    )


def reclaim_audits(session: Session) -> None:
    """Let every audit that is held be taken anew: for who knows, by the data directory's lock, that nobody lives."""
    session.execute(
        update(IndexAuditRow)
        .where(IndexAuditRow.finished_at.is_(None))
        .values(**_FREE, ready_at=now(session))
        .execution_options(synchronize_session=False)
    )


def get_audit(session: Session, audit: UUID) -> IndexAudit | None:
    """Return the audit, None if there is none of this id (any more)."""
    row = session.get(IndexAuditRow, audit, populate_existing=True)
    return None if row is None else _audit(row)


def list_audits(session: Session, limit: int = LISTED) -> list[IndexAudit]:
    """Return the last audits, the newest first."""
    rows = session.scalars(
        select(IndexAuditRow)
        .order_by(IndexAuditRow.requested_at.desc(), IndexAuditRow.id.desc())
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    return [_audit(row) for row in rows]


def healed_totals(session: Session) -> dict[str, int]:
    """Return how much all audits ever made have healed, by kind."""
    sums = session.execute(select(*(func.coalesce(func.sum(getattr(IndexAuditRow, name)), 0) for name in HEALED))).one()
    forgotten = {row.kind: row.healed for row in session.execute(select(AuditTotalRow.kind, AuditTotalRow.healed))}
    return {kind: int(count) + forgotten.get(kind, 0) for kind, count in zip(HEALED, sums, strict=True)}


def last_finished(session: Session) -> tuple[IndexAudit, float] | None:
    """Return the audit that ended last, and how many seconds ago that was."""
    row = session.scalars(
        select(IndexAuditRow)
        .where(IndexAuditRow.finished_at.is_not(None))
        .order_by(IndexAuditRow.finished_at.desc())
        .limit(1)
    ).one_or_none()
    if row is None or row.finished_at is None:
        return None
    return _audit(row), max(0, now(session) - row.finished_at) / SECOND


_FREE: Mapping[str, Any] = {"lease_owner": None, "lease_until": None}


def _change(session: Session, claimed: ClaimedAudit, progress: Progress, **values: object) -> bool:
    # Added, not set: a rebuilding counts what it puts back in the same row.
    counted = {name: getattr(IndexAuditRow, name) + count for name, count in asdict(progress.counts).items()}
    place = progress.place
    values |= {"phase": place.phase, "place_tenant": place.tenant, "place_after": place.after}
    values |= {"missing": [dict(one) for one in progress.missing], **counted}
    ours = and_(
        IndexAuditRow.id == claimed.id, IndexAuditRow.fence == claimed.fence, IndexAuditRow.finished_at.is_(None)
    )
    changed = session.execute(
        update(IndexAuditRow)
        .where(ours)
        .values(**values)
        .returning(IndexAuditRow.id)
        .execution_options(synchronize_session=False)
    )
    return bool(changed.all())


def _night(moment: int, hour: int) -> str | None:
    at = datetime.fromtimestamp(moment / SECOND, tz=UTC)
    return at.date().isoformat() if at.hour >= hour else None


def _row(cause: Cause, moment: int) -> IndexAuditRow:
    nothing = dict.fromkeys(COUNTED, 0)
    return IndexAuditRow(
        id=uuid7(), cause=cause, requested_at=moment, ready_at=moment, attempt=0, fence=0, missing=[], **nothing
    )


def _place(row: IndexAuditRow) -> Place:
    if row.phase not in get_args(Phase):  # It was not begun.
        return Place()
    tenant = None if row.place_tenant is None else TenantId(row.place_tenant)
    return Place(phase=cast("Phase", row.phase), tenant=tenant, after=row.place_after)


def _audit(row: IndexAuditRow) -> IndexAudit:
    if row.cause not in get_args(Cause):
        raise AssertionError(f"an audit of cause {row.cause!r}")
    return IndexAudit(
        id=row.id,
        cause=cast("Cause", row.cause),
        day=row.day,
        requested_at=row.requested_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        counts=Counts(**{name: getattr(row, name) for name in COUNTED}),
        missing=tuple(one for one in row.missing if one.get("kind") != FOREIGN),
        foreign=sum(one["points"] for one in row.missing if one.get("kind") == FOREIGN),
    )
