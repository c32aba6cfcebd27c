"""The queue of record at scale: claims, looks and clean-ups, at 10^3, 10^5 and 10^6 stage rows on PostgreSQL.

One fifth of the rows is open: of two documents in five the embed stage is queued and the index stage waits for it,
everything else is done. By default fifty tenants wait; half of the queue is the first one's. A round claims sixteen
embed stages and ends them; what it took is put back, unmeasured, so that every round meets the same queue.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import event, text
from sqlalchemy.orm import Session

from benchmarks.postgres import create_database, postgres_server
from core.db.queues import queues
from core.db.session import Database
from core.db.stages import ClaimedStage, Finished, backlog, claim, finish_many, has_claimable, has_open, reclaim_owned
from core.domain import StageName

SIZES = (1_000, 100_000, 1_000_000)
BATCH = 16
ROUNDS = 300
TENANTS = 50
HASH = "0" * 64
WARM_UP = 20

Found = TypeVar("Found")

FILL = """
INSERT INTO tenants SELECT 'tenant-' || lpad(n::text, 5, '0'), 0 FROM generate_series(0, :tenants - 1) n;

INSERT INTO sources (tenant, id, name, created_at) SELECT id, gen_random_uuid(), 'files', 0 FROM tenants;

-- Two in five are open. Of those, every other one is the first tenant's; the rest is everybody's.
CREATE TEMPORARY TABLE work AS
SELECT n, n % 5 < 2 AS open, gen_random_uuid() AS document, gen_random_uuid() AS version,
    'tenant-' || lpad((CASE WHEN n % 5 = 0 THEN 0 ELSE n / 5 % :tenants END)::text, 5, '0') AS tenant
FROM generate_series(0, :documents - 1) n;

INSERT INTO documents
    (tenant, id, source_id, name, folder, uploader, inherit, acl_revision, newest_version, created_at)
SELECT w.tenant, w.document, s.id, 'document-' || w.n, '', 'user:ann', true, 0, w.version, w.n
FROM work w JOIN sources s ON s.tenant = w.tenant;

INSERT INTO versions (tenant, id, document_id, ordinal, blob_hash, size, pages_lost, notes, created_at)
SELECT tenant, version, document, 1, :hash, 1, '[]', '[]', n FROM work;

INSERT INTO stages
    (tenant, id, document_id, version_id, name, index_id, state, attempt, fence, ready_at, input_hash, created_at)
SELECT w.tenant, gen_random_uuid(), w.document, w.version, s.name, '',
    CASE WHEN NOT w.open OR s.place < 3 THEN 'done' WHEN s.place = 3 THEN 'queued' ELSE 'waiting' END,
    CASE WHEN NOT w.open OR s.place < 3 THEN 1 ELSE 0 END, 0, w.n, :hash, w.n
FROM work w CROSS JOIN (VALUES ('parse', 1), ('chunk', 2), ('embed', 3), ('index', 4)) AS s(name, place);
"""
PUT_BACK = (
    "UPDATE stages SET state = 'queued', attempt = 0, finished_at = NULL WHERE tenant = :tenant AND id = :stage",
    "UPDATE stages SET state = 'waiting' WHERE tenant = :tenant AND version_id = :version AND name = 'index'",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES), help="stage rows, one measurement each")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"batches of {BATCH} that are claimed and ended")
    parser.add_argument("--tenants", type=int, default=TENANTS, help="how many of them wait")
    given = parser.parse_args(arguments)
    with postgres_server() as server:
        found = measure(server, given.rows, given.rounds, given.tenants)
    json.dump({"benchmark": "claiming", "batch": BATCH, "tenants": given.tenants, "sizes": found}, sys.stdout, indent=1)
    sys.stdout.write("\n")


def measure(server: str, sizes: Sequence[int], rounds: int, tenants: int) -> list[dict[str, Any]]:
    """Return the figures of queues of so many stage rows, with PostgreSQL's plans of what a claim asks."""
    databases = {rows: Database(create_database(server, f"rows_{rows}")) for rows in sizes}
    seconds: dict[int, dict[str, list[float]]] = {rows: defaultdict(list) for rows in sizes}
    try:
        for rows, database in databases.items():
            database.upgrade()
            _fill(database, rows, tenants)
        for number in range(WARM_UP + rounds):  # In turn, so that whatever else the machine does disturbs all alike.
            for rows, database in databases.items():
                found = _round(database)
                for name, taken in found.items() if number >= WARM_UP else ():
                    seconds[rows][name].append(taken)
        return [
            {
                "rows": rows,
                "claims_per_second": round(BATCH / statistics.median(found["claim"])),
                "claims_with_their_ends_per_second": round(BATCH / statistics.median(map(sum, _pairs(found)))),
                "ms": {name: _milliseconds(taken) for name, taken in found.items()},
                "plans": explain(databases[rows]),
            }
            for rows, found in seconds.items()
        ]
    finally:
        for database in databases.values():
            database.close()


def _pairs(found: Mapping[str, Sequence[float]]) -> Iterator[tuple[float, float]]:
    return zip(found["claim"], found["finish"], strict=True)


def _round(database: Database) -> dict[str, float]:
    """Claim a batch and end it, look at the queue as workers and reconcilers do; return how many seconds each took."""
    taken: dict[str, float] = {}

    def timed(name: str, deed: Callable[[Session], Found]) -> Found:
        begun = time.perf_counter()
        with database.transaction() as session:
            found = deed(session)
        taken[name] = time.perf_counter() - begun
        return found

    embed = [StageName.EMBED]
    claimed = timed(
        "claim", lambda session: claim(session, embed, owner="w", limit=BATCH, lease_seconds=60, suspects=False)
    )
    ends = [Finished(stage=one, output_hash=HASH) for one in claimed]
    if len(timed("finish", lambda session: finish_many(session, ends))) != BATCH:
        raise RuntimeError(f"A round ended fewer than {BATCH} stages; the figures would be wrong. Nothing was kept.")
    timed("has_claimable", lambda session: has_claimable(session, embed, suspects=False))
    timed("has_suspect", lambda session: has_claimable(session, embed, suspects=True))
    timed("has_open", lambda session: has_open(session, [StageName.PARSE]))
    timed("reclaim_owned", lambda session: reclaim_owned(session, "nobody"))
    timed("backlog", backlog)
    timed("queues", queues)
    _put_back(database, claimed)
    return taken


def explain(database: Database) -> list[dict[str, Any]]:
    """Return what a claim asks the stages, each with PostgreSQL's plan; nothing stays claimed."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:  # noqa: ANN401
        if "stages" in statement:
            asked.append((statement, parameters))

    with database.engine.connect() as connection, Session(connection) as session:
        event.listen(database.engine, "before_cursor_execute", note)
        try:
            claim(session, [StageName.EMBED], owner="w", limit=BATCH, lease_seconds=60, suspects=False)
        finally:
            event.remove(database.engine, "before_cursor_execute", note)
        session.rollback()
    plans = []
    for statement, parameters in asked:
        with database.engine.connect() as connection:  # rolled back with the connection
            rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}", parameters)
            plans.append({"statement": statement, "plan": [row[0] for row in rows]})
    return plans


def _fill(database: Database, rows: int, tenants: int) -> None:
    with database.transaction() as session:
        values = {"tenants": tenants, "documents": rows // 4, "hash": HASH}
        for statement in FILL.rstrip(";\n").split(";\n"):
            session.execute(text(statement), {key: value for key, value in values.items() if f":{key}" in statement})
    with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
        connection.execute(text("CHECKPOINT"))


def _put_back(database: Database, stages: Sequence[ClaimedStage]) -> None:
    with database.transaction() as session:
        rows = [{"tenant": one.tenant, "stage": one.id, "version": one.version} for one in stages]
        for statement in PUT_BACK:
            session.execute(text(statement), rows)
        session.execute(text("DELETE FROM wakeups"))


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    cut = statistics.quantiles(seconds, n=100)
    return {"p50": round(1_000 * cut[49], 2), "p95": round(1_000 * cut[94], 2)}


if __name__ == "__main__":
    main()
