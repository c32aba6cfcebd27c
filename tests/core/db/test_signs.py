"""When something that leaves no row behind was last done."""

from sqlalchemy import update

from core.db import signs
from core.db.clock import SECOND
from core.db.session import Database
from core.db.tables import TurnRow
from core.db.tenants import add_tenant, remove_tenant
from core.ids import DEFAULT_TENANT
from tests.core.db.scenario import OTHER, TENANT, Story


def test_what_was_done_is_as_old_as_the_last_time(database: Database) -> None:
    with database.transaction() as session:
        add_tenant(session, DEFAULT_TENANT)
        assert signs.age_seconds(session, signs.RECONCILED) is None
        for _ in range(2):
            signs.note(session, signs.RECONCILED)
            session.execute(update(TurnRow).values(served_at=TurnRow.served_at - 90 * SECOND))
    with database.transaction() as session:
        age = signs.age_seconds(session, signs.RECONCILED)
        assert age is not None
        assert 90 <= age < 120
        signs.note(session, signs.RECONCILED)
        age = signs.age_seconds(session, signs.RECONCILED)
        assert age is not None
        assert age < 60


def test_the_last_of_any_tenant_and_any_name_counts(database: Database) -> None:
    Story.begin(database)
    with database.transaction() as session:
        signs.note(session, "one", TENANT)
        session.execute(update(TurnRow).values(served_at=1))
        signs.note(session, "two", OTHER)
        session.execute(update(TurnRow).where(TurnRow.name == "two").values(served_at=2))
        assert (signs.last(session, ["one", "two", "three"]), signs.last(session, ["three"])) == (2, None)


def test_of_a_tenant_that_does_not_exist_nothing_is_noted(database: Database) -> None:
    Story.begin(database)
    with database.transaction() as session:
        signs.note(session, signs.RECONCILED)  # There is no default tenant.
        assert signs.age_seconds(session, signs.RECONCILED) is None
        signs.note(session, signs.TASKS, OTHER)
        remove_tenant(session, OTHER)
        assert signs.last(session, [signs.TASKS]) is None
