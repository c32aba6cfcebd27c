"""Which failed stages count: the one answer of dead letters, counts, metrics and a document's state."""

from sqlalchemy import ColumnElement, ScalarSelect, and_, exists, literal_column, or_, select
from sqlalchemy.orm import aliased

from core.db.tables import DocumentRow, ReleaseRow, StageRow
from core.db.turns import OPEN
from core.domain import StageName

# Spelled out, so that the databases see that the index of failed stages holds all that is asked for.
FAILED: ColumnElement[str] = literal_column("'failed'")

_INDEX = StageName.INDEX.value

# The documents of stages, where the stage is of the newest version.
OF_NEWEST = and_(
    DocumentRow.tenant == StageRow.tenant,
    DocumentRow.id == StageRow.document_id,
    DocumentRow.newest_version == StageRow.version_id,
)


def live_index() -> ScalarSelect[str]:
    """Return the index that serves."""
    return select(ReleaseRow.index_id).where(ReleaseRow.state == "live").limit(1).scalar_subquery()


def newest_is_refilled() -> ColumnElement[bool]:
    """Return whether the newest version of a document is on its way (back) into the index that serves."""
    stage = aliased(StageRow)
    return (
        exists()
        .where(
            stage.tenant == DocumentRow.tenant,
            stage.version_id == DocumentRow.newest_version,
            stage.name == _INDEX,
            stage.index_id == live_index(),
            stage.state.in_((*OPEN, "failed")),
        )
        .correlate(DocumentRow)  # also from two selects further in
    )


def is_searchable() -> ColumnElement[bool]:
    """Return whether readers find the newest version of a document that is not deleted."""
    return and_(DocumentRow.current_version == DocumentRow.newest_version, ~newest_is_refilled())


def counts_as_failed(stage: type[StageRow] = StageRow) -> ColumnElement[bool]:
    """Return whether a stage of a document's newest version is a failure that somebody should deal with.

    Not what failed of a deleted document, or in an index that does not serve, or of a version that readers find all
    the same. What failed while a version that they saw was put back into the index does count.
    """
    return and_(
        stage.state == FAILED,
        DocumentRow.deleted_at.is_(None),
        or_(stage.name != _INDEX, stage.index_id.in_(["", live_index()])),
        or_(DocumentRow.current_version.is_(None), ~is_searchable()),
    )
