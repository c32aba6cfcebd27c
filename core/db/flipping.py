"""The flip: the one transaction in which readers begin to see a new version."""

from sqlalchemy import and_, exists, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.index_tasks import queue_task
from core.db.purging import cancel_stages
from core.db.releases import live_release
from core.db.stages import ClaimedStage, end_stages, held
from core.db.tables import ChunkRow, DocumentRow, StageRow, VersionRow
from core.domain import StageName
from core.errors import LeaseLost
from core.ids import VersionId


def make_current(session: Session, claimed: ClaimedStage, *, output_hash: str | None = None) -> bool:
    """End an index stage; if its index serves, show its version to readers. To be called after the read-back.

    The version becomes the current one unless a newer one is already. Points of every version before the current one
    are then to be purged (tasks are queued), and work still open on those versions is cancelled. Returns whether this
    version is now the current one. Raises `LeaseLost`, also when the document was deleted meanwhile; nothing changed
    then, and the points just written are for `leave_index` to clear.
    """
    if claimed.name is not StageName.INDEX:
        raise ValueError(f"a {claimed.name} stage makes nothing searchable")
    # The document is locked before the stage, in the order in which deleting takes them.
    document = session.execute(
        select(DocumentRow.current_version, DocumentRow.deleted_at)
        .where(DocumentRow.tenant == claimed.tenant, DocumentRow.id == claimed.document)
        .with_for_update()
    ).one()
    if document.deleted_at is not None or not held(session, [claimed]):
        raise LeaseLost(f"The index stage of document {claimed.document} belongs to another worker now, or to none.")
    end_stages(session, [(claimed, output_hash)], now(session))
    live = live_release(session)
    if live is not None and claimed.index_id != live.index_id:
        return False
    ordinals = {
        VersionId(row.id): row.ordinal
        for row in session.execute(
            select(VersionRow.id, VersionRow.ordinal).where(
                VersionRow.tenant == claimed.tenant, VersionRow.document_id == claimed.document
            )
        )
    }
    before = None if document.current_version is None else VersionId(document.current_version)
    current = before if before is not None and ordinals[before] > ordinals[claimed.version] else claimed.version
    if current != before:
        session.execute(
            update(DocumentRow)
            .where(DocumentRow.tenant == claimed.tenant, DocumentRow.id == claimed.document)
            .values(current_version=current)
            .execution_options(synchronize_session=False)
        )
    replaced = [version for version, ordinal in ordinals.items() if ordinal < ordinals[current]]
    cancel_stages(session, claimed.tenant, replaced)
    for version in replaced:
        if _has_chunks(session, claimed, version):
            queue_task(session, claimed.tenant, "purge_version", claimed.document, version=version)
    return current == claimed.version


def leave_index(session: Session, claimed: ClaimedStage) -> bool:
    """Queue the removal of points that were written under a lease that is lost, if nobody else needs them.

    False: another worker is indexing the same version, or it is current; the points are (or will be) just these.
    """
    document = and_(DocumentRow.tenant == claimed.tenant, DocumentRow.id == claimed.document)
    deleted = session.execute(select(exists().where(document, DocumentRow.deleted_at.is_not(None)))).scalar_one()
    if deleted:
        queue_task(session, claimed.tenant, "purge_document", claimed.document)
        return True
    current = exists().where(document, DocumentRow.current_version == claimed.version)
    working = exists().where(
        StageRow.tenant == claimed.tenant,
        StageRow.version_id == claimed.version,
        StageRow.name == StageName.INDEX.value,
        StageRow.state.in_(("queued", "leased")),
    )
    if session.execute(select(or_(current, working))).scalar_one():
        return False
    queue_task(session, claimed.tenant, "purge_version", claimed.document, version=claimed.version)
    return True


def _has_chunks(session: Session, claimed: ClaimedStage, version: VersionId) -> bool:
    return session.execute(
        select(exists().where(ChunkRow.tenant == claimed.tenant, ChunkRow.version_id == version))
    ).scalar_one()
