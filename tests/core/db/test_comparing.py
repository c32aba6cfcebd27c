"""What is being put back into the index, told without a look at everything else."""

import re

import pytest
from sqlalchemy import text, update

from core.db.comparing import being_refilled
from core.db.refilling import refill
from core.db.session import Database
from core.db.tables import StageRow
from core.ids import DocumentId, VersionId
from tests.core.db.scenario import INDEX, MODEL, TENANT, Story
from tests.core.db.test_turns import asked, queue_many


def _put_back(database: Database, versions: dict[DocumentId, VersionId]) -> int:
    with database.transaction() as session:
        return len(refill(session, TENANT, versions, index_id=INDEX, model=MODEL))


def _count(database: Database) -> int:
    with database.reading() as session:
        return being_refilled(session)


def _plans(database: Database, explain: str) -> list[str]:
    """Return how the database looks for what is being refilled."""
    with asked(database) as statements:
        _count(database)
    (question,) = statements
    with database.engine.connect() as connection:
        return [str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {question[0]}", question[1])]


def test_what_is_put_back_is_counted_until_it_is_there(database: Database) -> None:
    story = Story.begin(database)
    some = {one.document: one.version for one in (story.upload("a"), story.upload("b", "two"))}
    assert _count(database) == 0  # On its way in for the first time.
    story.finish_everything()
    assert _put_back(database, some) == 2
    assert _count(database) == 2
    story.finish_everything()
    assert _count(database) == 0
    with database.reading() as session:
        assert session.query(StageRow).where(StageRow.refilled_at.is_not(None)).count() == 0


def _seeded(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload("a")
    story.finish_everything()
    queue_many(database, TENANT, 2_000, done=2_000)
    with database.transaction() as session:
        opened = update(StageRow).where(StageRow.name == "parse", StageRow.state == "queued")
        session.execute(opened.values(name="index", index_id=INDEX))
    _put_back(database, {accepted.document: accepted.version})
    assert _count(database) == 1


def test_sqlite_counts_it_by_an_index_of_nothing_else(sqlite_database: Database) -> None:
    _seeded(sqlite_database)
    plan = _plans(sqlite_database, "EXPLAIN QUERY PLAN")
    assert "ix_stages_refilled" in plan[0], plan
    assert not [step for step in plan if step.startswith("SCAN") and "releases" not in step], plan


@pytest.mark.slow
def test_postgresql_counts_it_by_an_index_of_nothing_else(postgres_database: Database) -> None:
    _seeded(postgres_database)
    with postgres_database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    plan = "\n".join(_plans(postgres_database, "EXPLAIN (ANALYZE)"))
    assert "ix_stages_refilled" in plan, plan
    assert not re.search(r"Seq Scan on (stages|documents)", plan), plan
