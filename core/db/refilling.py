"""Versions that an index has lost points of are indexed again; readers keep seeing what is left of them meanwhile."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import and_, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.tables import ChunkRow, DocumentRow, EmbeddingRow, StageRow
from core.db.turns import OPEN
from core.db.wakeups import announce
from core.domain import StageName
from core.ids import DocumentId, IndexId, StageId, TenantId, VersionId, uuid7

TOLD = "Its passages are being put back into the search index; until then it may not be found."


def refill(
    session: Session,
    tenant: TenantId,
    versions: Mapping[DocumentId, VersionId],
    *,
    index_id: IndexId,
    model: str,
) -> list[VersionId]:
    """Queue the index stages of these documents' versions once more; return the versions for which that was done.

    Left out: a version that is not its document's current one (any more), and one that is being indexed already. Where
    a passage has lost its vector under the embedding model, or that stage failed, the embed stage comes first. No
    version changes sides: readers keep the current one throughout. At most some hundred documents per call.
    """
    documents = session.execute(
        select(DocumentRow.id, DocumentRow.current_version)
        .where(DocumentRow.tenant == tenant, DocumentRow.id.in_(versions), DocumentRow.deleted_at.is_(None))
        .order_by(DocumentRow.id)
        .with_for_update()  # Before the stages, in the order in which deleting and flipping take them.
    ).all()
    current = {row.current_version: row.id for row in documents if versions[DocumentId(row.id)] == row.current_version}
    stages = session.execute(
        select(StageRow.id, StageRow.version_id, StageRow.name, StageRow.state)
        .where(
            StageRow.tenant == tenant,
            StageRow.version_id.in_(current),
            or_(
                StageRow.name == StageName.EMBED.value,
                and_(StageRow.name == StageName.INDEX.value, StageRow.index_id == index_id),
            ),
        )
        .order_by(StageRow.id)
        .with_for_update()
    ).all()
    known = {(row.version_id, row.name): row for row in stages}
    bare = _without_vectors(session, tenant, list(current), model)
    moment = now(session)
    changed: list[dict[str, Any]] = []
    added: list[dict[str, Any]] = []
    woken: list[tuple[TenantId, StageId, StageName]] = []
    refilled: list[VersionId] = []
    for version, document in current.items():
        index = known.get((version, StageName.INDEX.value))
        embed = known.get((version, StageName.EMBED.value))
        stuck = embed is not None and embed.state == "failed"
        if not stuck and any(stage is not None and stage.state in OPEN for stage in (index, embed)):
            continue
        first = embed if stuck or version in bare else None
        values = _queued(moment, "queued" if first is None else "waiting") | {"refilled_at": moment}
        index_stage = StageId(uuid7() if index is None else index.id)
        if index is None:
            added.append(
                {"tenant": tenant, "id": index_stage, "document_id": document, "version_id": version, **values}
                | {"name": StageName.INDEX.value, "index_id": index_id, "fence": 0}
            )
        else:
            changed.append({"tenant": tenant, "id": index_stage, **values})
        if first is not None:
            changed.append({"tenant": tenant, "id": first.id, **_queued(moment, "queued")})
            woken.append((tenant, StageId(first.id), StageName.EMBED))
        else:
            woken.append((tenant, index_stage, StageName.INDEX))
        refilled.append(VersionId(version))
    if changed:
        session.execute(update(StageRow), changed)
    if added:
        session.execute(insert(StageRow), added)
    announce(session, woken, moment)
    return refilled


def _queued(moment: int, state: str) -> dict[str, Any]:
    # As new, also in age: the queue's oldest entry is not one that was done last year.
    return {
        "state": state,
        "attempt": 0,
        "child_deaths": 0,
        "ready_at": moment,
        "created_at": moment,
        "started_at": None,
        "finished_at": None,
        "progress": None,
        "reason": None,
        "detail": TOLD,
        "page": None,
        "excerpt": None,
        "lease_owner": None,
        "lease_until": None,
        "refilled_at": None,
    }


def _without_vectors(session: Session, tenant: TenantId, versions: Sequence[UUID], model: str) -> set[UUID]:
    vector = exists().where(
        EmbeddingRow.tenant == tenant, EmbeddingRow.model == model, EmbeddingRow.text_hash == ChunkRow.embedded_hash
    )
    return set(
        session.scalars(
            select(ChunkRow.version_id)
            .where(ChunkRow.tenant == tenant, ChunkRow.version_id.in_(versions), ~vector)
            .distinct()
        )
    )
