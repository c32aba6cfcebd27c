"""A stage whose input is gone has the stage before it done again: what is stored may be lost, and can be made anew."""

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from core.db.accepting import UNTRIED
from core.db.claiming import ClaimedStage
from core.db.clock import now
from core.db.leases import held
from core.db.tables import DocumentRow, StageRow
from core.db.turns import LEASED
from core.db.wakeups import announce
from core.domain import StageName
from core.errors import LeaseLost
from core.ids import StageId

BEFORE = {StageName.CHUNK: StageName.PARSE, StageName.INDEX: StageName.EMBED}
MOST_REDONE = 5  # Attempts of a stage after which its input, lost once more, is no longer made anew.


def redo_input(session: Session, claimed: ClaimedStage) -> None:
    """Queue the stage that makes the input of this one, which waits for it. Raises `LeaseLost`.

    The stage before is queued as if it had never been tried; this one keeps its attempts, so that whoever calls this
    can see, by `MOST_REDONE`, when it leads to nothing. No version changes sides: readers keep what they see.
    """
    # The document is locked before its stages, in the order in which deleting, flipping and refilling take them.
    session.execute(
        select(DocumentRow.id)
        .where(DocumentRow.tenant == claimed.tenant, DocumentRow.id == claimed.document)
        .with_for_update()
    )
    if not held(session, [claimed]):
        raise LeaseLost(f"Stage {claimed.name} of document {claimed.document} belongs to another worker, or to none.")
    moment = now(session)
    unleased = {"lease_owner": None, "lease_until": None, "progress": None}
    session.execute(
        update(StageRow)
        .where(StageRow.tenant == claimed.tenant, StageRow.id == claimed.id)
        .values(state="waiting", **unleased)
        .execution_options(synchronize_session=False)
    )
    before = session.scalars(
        update(StageRow)
        .where(
            and_(
                StageRow.tenant == claimed.tenant,
                StageRow.version_id == claimed.version,
                StageRow.name == BEFORE[claimed.name].value,
                StageRow.state != LEASED,
            )
        )
        .values({"state": "queued", "attempt": 0, "child_deaths": 0, "ready_at": moment, **UNTRIED, **unleased})
        .returning(StageRow.id)
        .execution_options(synchronize_session=False)
    ).all()
    announce(session, [(claimed.tenant, StageId(one), BEFORE[claimed.name]) for one in before], moment)
