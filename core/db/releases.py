"""Indexes and releases: which index serves, and which others are still written to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.inserting import insert_missing
from core.db.tables import DocumentRow, IndexRow, ReleaseRow, StageRow
from core.ids import IndexId, uuid7

WRITTEN = ("building", "live", "previous")  # Releases whose index gets every new document.


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An index and how it is queried. `created_at` and `promoted_at` are UTC microseconds."""

    id: UUID
    index_id: IndexId
    manifest: Mapping[str, Any]
    state: str
    created_at: int
    promoted_at: int | None


def ensure_index(session: Session, index_id: IndexId, manifest: Mapping[str, Any]) -> None:
    """Register the index under the hash of its manifest; it stays as first registered."""
    insert_missing(session, IndexRow, [{"id": index_id, "manifest": dict(manifest), "created_at": now(session)}])


def live_release(session: Session) -> Release | None:
    """Return the release that serves, if there is one."""
    return _one(session, "live")


def index_manifest(session: Session, index_id: IndexId) -> Mapping[str, Any]:
    """Return what the index was made with; empty for an index that is not registered."""
    found = session.scalars(select(IndexRow.manifest).where(IndexRow.id == index_id)).one_or_none()
    return found or {}


def ensure_live_release(
    session: Session, index_id: IndexId, manifest: Mapping[str, Any], *, release: Mapping[str, Any] | None = None
) -> Release:
    """Return the live release, making this one live where none is, or where no document would notice.

    `manifest` describes the index, `release` how it is queried and answered from (default: as the live one). Another
    way to query the same index is a release of its own, and the one before stays on record.

    If a live release of another index has documents, it stays: the caller sees `release.index_id != index_id`, and a
    candidate is proposed, because no index goes live unmeasured and nothing is re-indexed unasked.
    """
    ensure_index(session, index_id, manifest)
    live = live_release(session)
    if live is not None and live.index_id == index_id:
        if release is None or dict(release) == dict(live.manifest):
            return live
        return _succeed(session, live, release)
    if live is not None and session.execute(select(exists().where(DocumentRow.deleted_at.is_(None)))).scalar_one():
        _propose(session, index_id, release or manifest)
        return live
    if live is not None:
        session.execute(update(ReleaseRow).where(ReleaseRow.id == live.id).values(state="retired"))
    _add(session, index_id, release or manifest, "live")
    # Documents that came before there was any index wait for this one.
    session.execute(
        update(StageRow)
        .where(StageRow.name == "index", StageRow.index_id == "", StageRow.state.in_(("waiting", "queued")))
        .values(index_id=index_id)
        .execution_options(synchronize_session=False)
    )
    return _just_made(session)


def written_indexes(session: Session) -> list[IndexId]:
    """Return the indexes that every new document is written to; [""] while there is none yet."""
    rows = session.scalars(
        select(ReleaseRow.index_id)
        .where(ReleaseRow.state.in_(WRITTEN))
        .group_by(ReleaseRow.index_id)
        .order_by(func.min(ReleaseRow.created_at), ReleaseRow.index_id)
    ).all()
    return [IndexId(row) for row in rows] or [IndexId("")]


def list_releases(session: Session) -> list[Release]:
    """Return every release, the newest first."""
    rows = session.scalars(select(ReleaseRow).order_by(ReleaseRow.created_at.desc(), ReleaseRow.id.desc()))
    return [_release(row) for row in rows]


def _succeed(session: Session, live: Release, release: Mapping[str, Any]) -> Release:
    """Make another release of the same index live; its points are the same, so no document notices."""
    session.execute(
        update(ReleaseRow)
        .where(ReleaseRow.state == "previous", ReleaseRow.index_id == live.index_id)
        .values(state="retired")
    )
    session.execute(update(ReleaseRow).where(ReleaseRow.id == live.id).values(state="previous"))
    _add(session, live.index_id, release, "live")
    return _just_made(session)


def _just_made(session: Session) -> Release:
    made = live_release(session)
    if made is None:
        raise AssertionError("the release that was just made live is not there")
    return made


def _propose(session: Session, index_id: IndexId, manifest: Mapping[str, Any]) -> None:
    known = exists().where(ReleaseRow.index_id == index_id, ReleaseRow.state != "retired")
    if not session.execute(select(known)).scalar_one():
        _add(session, index_id, manifest, "candidate")


def _add(session: Session, index_id: IndexId, manifest: Mapping[str, Any], state: str) -> None:
    moment = now(session)
    session.add(
        ReleaseRow(
            id=uuid7(),
            index_id=index_id,
            manifest=dict(manifest),
            state=state,
            created_at=moment,
            promoted_at=moment if state == "live" else None,
        )
    )
    session.flush()


def _one(session: Session, state: str) -> Release | None:
    row = session.scalars(
        select(ReleaseRow).where(ReleaseRow.state == state).execution_options(populate_existing=True)
    ).one_or_none()
    return None if row is None else _release(row)


def _release(row: ReleaseRow) -> Release:
    return Release(
        id=row.id,
        index_id=IndexId(row.index_id),
        manifest=row.manifest,
        state=row.state,
        created_at=row.created_at,
        promoted_at=row.promoted_at,
    )
