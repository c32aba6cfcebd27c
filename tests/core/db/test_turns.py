"""Fairness between tenants, and what it costs on a long queue."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select, text, update
from sqlalchemy.orm import Session

from core.db import stages
from core.db.session import Database
from core.db.stages import ClaimedStage
from core.db.tables import DocumentRow, SourceRow, StageRow, TurnRow, VersionRow
from core.db.tenants import add_tenant
from core.domain import StageName
from core.ids import IndexId, TenantId, uuid7
from tests.core.db.scenario import OTHER, TENANT, Story, digest

PARSE = StageName.PARSE


def queue_many(database: Database, tenant: TenantId, count: int, *, done: int = 0, first: int = 0) -> None:
    """Write documents whose parse stage waits (from second `first` of 1970 on), and `done` ones."""
    with database.transaction() as session:
        source = uuid7()
        session.execute(insert(SourceRow).values(tenant=tenant, id=source, name=f"{source}", created_at=0))
        keys = [(uuid7(), uuid7(), uuid7()) for _ in range(count + done)]
        common = {"tenant": tenant, "created_at": 0}
        session.execute(
            insert(DocumentRow),
            [
                {**common, "id": document, "source_id": source, "name": f"{number}", "uploader": "user:ann"}
                | {"folder": "", "inherit": True, "acl_revision": 0, "newest_version": version}
                for number, (document, version, _) in enumerate(keys)
            ],
        )
        session.execute(
            insert(VersionRow),
            [
                {**common, "id": version, "document_id": document, "ordinal": 1, "blob_hash": digest(""), "size": 0}
                | {"pages_lost": [], "notes": []}
                for document, version, _ in keys
            ],
        )
        session.execute(
            insert(StageRow),
            [
                {**common, "id": stage, "document_id": document, "version_id": version, "name": "parse"}
                | {"state": "queued" if number < count else "done", "ready_at": (first + number) * 1_000_000}
                for number, (document, version, stage) in enumerate(keys)
            ],
        )


def claim(database: Database, limit: int, *, suspects: bool | None = None, owner: str = "w") -> list[ClaimedStage]:
    with database.transaction() as session:
        return stages.claim(session, [PARSE], owner=owner, limit=limit, lease_seconds=60, suspects=suspects)


def tenants_of(claimed: list[ClaimedStage]) -> list[str]:
    return [stage.tenant for stage in claimed]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 16])
def test_ten_thousand_documents_delay_anothers_upload_by_one_batch_at_most(database: Database, limit: int) -> None:
    story = Story.begin(database)
    queue_many(database, TENANT, 10_000)
    for number in range(3):  # Other workers are busy with the archive already.
        assert tenants_of(claim(database, limit, owner=f"worker-{number}")) == [TENANT] * limit
    for name in ("never served before", "served a moment ago"):
        single = story.upload(name, tenant=OTHER)
        both = claim(database, limit) + claim(database, limit, owner="another")
        assert single.document in {stage.document for stage in both}
        assert len(both) == 2 * limit


def test_tenants_of_whom_more_wait_than_fit_into_a_batch_take_turns(database: Database) -> None:
    Story.begin(database)
    crowd = [TenantId(f"tenant-{number}") for number in range(6)]
    for number, tenant in enumerate(crowd):
        with database.transaction() as session:
            add_tenant(session, tenant)
        queue_many(database, tenant, 20, first=1_000 * (6 - number))
    served = [tenant for _ in range(3) for tenant in tenants_of(claim(database, 2))]
    assert sorted(served) == crowd, "somebody was served twice before everybody was served once"
    queue_many(database, OTHER, 1, first=9_000)  # The youngest of all, of whom nothing was ever done.
    assert OTHER in tenants_of(claim(database, 2))
    for _ in range(3):
        claim(database, 2)
    queue_many(database, OTHER, 1, first=9_000)
    assert OTHER in tenants_of(claim(database, 2)), "those with more to do were served since"


def test_within_a_tenant_the_oldest_document_comes_first_batch_after_batch(database: Database) -> None:
    story = Story.begin(database)
    documents = [story.upload(f"{number}").document for number in range(10)]
    order = [stage.document for _ in range(4) for stage in claim(database, 3)]
    assert order == documents


def test_a_batch_is_full_although_most_tenants_have_little(database: Database) -> None:
    Story.begin(database)
    queue_many(database, TENANT, 30)
    queue_many(database, OTHER, 1)
    assert sorted(tenants_of(claim(database, 16))) == [TENANT] * 15 + [OTHER]


def test_a_claim_of_nothing_ends(database: Database) -> None:
    Story.begin(database)
    queue_many(database, TENANT, 3)
    assert claim(database, 0) == []


def test_documents_of_the_same_moment_are_all_claimed(database: Database) -> None:
    Story.begin(database)
    queue_many(database, TENANT, 20)
    with database.transaction() as session:
        session.execute(update(StageRow).values(ready_at=7))
    claimed = claim(database, 12) + claim(database, 12)
    assert len({stage.id for stage in claimed}) == len(claimed) == 20


def test_what_is_not_ready_takes_nobodys_turn(database: Database) -> None:
    Story.begin(database)
    queue_many(database, TENANT, 5)
    queue_many(database, OTHER, 5)
    with database.transaction() as session:
        session.execute(update(StageRow).where(StageRow.tenant == TENANT).values(ready_at=1 << 60))
    assert tenants_of(claim(database, 9)) == [OTHER] * 5
    with database.reading() as session:
        assert not stages.has_claimable(session, [PARSE])
        assert stages.has_open(session, [PARSE])


def test_a_turn_that_is_missing_hides_nothing_and_is_written_anew(database: Database) -> None:
    story = Story.begin(database)
    for tenant in (TENANT, OTHER):
        story.upload("a", tenant=tenant)
        story.upload("b", tenant=tenant)
    assert len(claim(database, 2)) == 2
    with database.transaction() as session:
        session.execute(delete(TurnRow))
    with database.reading() as session:
        assert stages.has_claimable(session, [PARSE])
    assert tenants_of(claim(database, 9)) in ([TENANT, OTHER], [OTHER, TENANT])
    with database.reading() as session:
        assert {(row.tenant, row.name) for row in session.scalars(select(TurnRow))} == {
            (TENANT, "parse"),
            (OTHER, "parse"),
        }


def test_index_stages_of_any_index_are_found_where_none_is_named(database: Database) -> None:
    Story.begin(database)
    queue_many(database, TENANT, 3)
    with database.transaction() as session:
        ids = session.scalars(select(StageRow.id).order_by(StageRow.ready_at)).all()
        for stage, index in zip(ids, ("", "index-a", "index-b"), strict=True):
            session.execute(update(StageRow).where(StageRow.id == stage).values(name="index", index_id=index))

    def claimed(*indexes: str) -> list[str]:
        with database.transaction() as session:
            some = [IndexId(one) for one in indexes] or None
            found = stages.claim(
                session, [StageName.INDEX], owner="w", limit=9, lease_seconds=60, index_ids=some, suspects=False
            )
            stages.release(session, found)
            return [stage.index_id for stage in found]

    assert claimed() == ["", "index-a", "index-b"]
    assert claimed("index-b") == ["", "index-b"]


@pytest.mark.slow
def test_however_many_claim_at_once_each_gets_a_batch_and_nobody_waits(postgres_database: Database) -> None:
    database = postgres_database
    Story.begin(database)
    queue_many(database, TENANT, 60)
    queue_many(database, OTHER, 60)
    assert len(claim(database, 2)) == 2  # From here on both have a turn.
    claimed: list[ClaimedStage] = []
    with ExitStack() as open_:
        for number in range(20):
            session = open_.enter_context(database.transaction())
            session.execute(text("SET LOCAL lock_timeout = '500ms'"))
            some = stages.claim(session, [PARSE], owner=f"w{number}", limit=4, lease_seconds=60)
            assert len(some) == 4
            assert set(tenants_of(some)) == {TENANT, OTHER}
            claimed += some
    assert len({stage.id for stage in claimed}) == 80


@pytest.mark.slow
def test_many_workers_and_many_new_tenants_never_wait_in_a_circle(postgres_database: Database) -> None:
    database = postgres_database
    Story.begin(database)
    for number in range(12):
        with database.transaction() as session:
            add_tenant(session, f"tenant-{number}")
        queue_many(database, TenantId(f"tenant-{number}"), 10)
    claimed: list[ClaimedStage] = []
    ended: list[bool] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        while some := claim(database, 7):
            claimed.extend(some)
        ended.append(True)  # and not by an error, as whoever PostgreSQL picks out of a circle

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(ended) == len(workers)
    assert len({stage.id for stage in claimed}) == len(claimed) == 120


def rows_read(plan: str) -> list[int]:
    """Return how many rows each step of the plan gave. PostgreSQL tells their mean, from 18 on in hundredths."""
    found = re.findall(r"actual .*rows=(\d+(?:\.\d+)?) loops=(\d+)", plan)
    return [round(float(rows) * int(loops)) for rows, loops in found]


@contextmanager
def asked(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements about stages."""
    found: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:  # noqa: ANN401
        if "stages" in statement:
            found.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


EVERY: dict[str, Callable[[Session], object]] = {
    "claim": lambda session: stages.claim(session, [PARSE], owner="w", limit=16, lease_seconds=60),
    "claim of no suspects": lambda session: stages.claim(
        session, [PARSE], owner="w", limit=16, lease_seconds=60, suspects=False
    ),
    "claim of some indexes": lambda session: stages.claim(
        session, [StageName.INDEX], owner="w", limit=16, lease_seconds=60, index_ids=[IndexId("a"), IndexId("b")]
    ),
    "claim of any index": lambda session: stages.claim(
        session, [StageName.INDEX], owner="w", limit=16, lease_seconds=60
    ),
    "has_claimable": lambda session: stages.has_claimable(session, [PARSE]),
    "has suspects": lambda session: stages.has_claimable(session, [PARSE], suspects=True),
    "has_open": lambda session: stages.has_open(session, [StageName.EMBED]),
    "reclaim_owned": lambda session: stages.reclaim_owned(session, "nobody"),
}


@pytest.mark.slow
def test_postgresql_reads_the_queue_by_its_partial_indexes_alone(postgres_database: Database) -> None:
    database = postgres_database
    Story.begin(database)
    queue_many(database, TENANT, 10_000, done=10_000)
    queue_many(database, OTHER, 20, done=10_000)
    with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    used: dict[str, set[str]] = {}
    for name, deed in EVERY.items():
        with asked(database) as statements, database.transaction() as session:
            deed(session)
            session.rollback()
        assert statements
        for statement, parameters in statements:
            with database.engine.connect() as connection:  # rolled back with the connection
                rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE) {statement}", parameters)
                plan = "\n".join(row[0] for row in rows)
            assert not re.search(r"Seq Scan on stages", plan), plan
            read = rows_read(plan)
            assert max(read) <= 256, plan
            assert all(int(count) <= 64 for count in re.findall(r"Rows Removed by Filter: (\d+)", plan)), plan
            # As a parameter it would be unknown to a plan that is kept for all values, and the index of no use to it.
            assert not re.search(r"FROM stages[^()]*WHERE[^()]*state = %", statement), statement
            used.setdefault(name, set()).update(re.findall(r"(?:using|Index Scan on) (\w+)", plan))
    # The primary keys serve to lock, to change and to know more of what was found.
    beside = {"ix_stages_leased", "pk_stages", "pk_versions", "pk_documents", "pk_turns"}
    assert used["claim"] - beside == {"ix_stages_queued", "ix_stages_suspect"}
    assert used["claim of no suspects"] - beside == {"ix_stages_queued"}
    assert used["has suspects"] - beside == {"ix_stages_suspect"}
    assert used["reclaim_owned"] == {"ix_stages_leased"}
    assert set().union(*used.values()) - beside == {"ix_stages_queued", "ix_stages_suspect"}


@pytest.mark.parametrize("name", EVERY)
def test_sqlite_reads_the_queue_by_its_partial_indexes_alone(sqlite_database: Database, name: str) -> None:
    database = sqlite_database
    Story.begin(database)
    queue_many(database, TENANT, 50)
    with asked(database) as statements, database.transaction() as session:
        EVERY[name](session)
    assert statements
    for statement, parameters in statements:
        with database.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = [row[3] for row in rows]
        assert not [step for step in plan if re.match(r"SCAN stages(?!.*USING.*ix_stages_leased)", step)], plan
