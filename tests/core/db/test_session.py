import multiprocessing
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from core.db.session import Database, sqlite_url
from core.db.tables import TenantRow, UserRow
from core.errors import StorageFull, Unavailable


def add_tenant(database: Database, name: str) -> None:
    with database.transaction() as session:
        session.execute(insert(TenantRow).values(id=name, created_at=0))


def tenants(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.execute(select(TenantRow.id).order_by(TenantRow.id)).scalars())


def test_what_a_transaction_did_is_kept(database: Database) -> None:
    add_tenant(database, "a")
    assert tenants(database) == ["a"]


def test_an_exception_undoes_all_of_a_transaction(database: Database) -> None:
    with pytest.raises(LookupError), database.transaction() as session:  # noqa: PT012 - the block is the subject
        session.execute(insert(TenantRow).values(id="a", created_at=0))
        raise LookupError
    assert tenants(database) == []


def test_reading_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError), database.reading() as session:
        session.execute(insert(TenantRow).values(id="a", created_at=0))
    add_tenant(database, "b")  # The connection is as good as new afterwards.
    assert tenants(database) == ["b"]


def test_a_reader_sees_one_moment_and_neither_waits_for_a_writer_nor_makes_it_wait(database: Database) -> None:
    add_tenant(database, "a")
    with database.reading() as session:
        assert session.execute(select(func.count()).select_from(TenantRow)).scalar_one() == 1
        add_tenant(database, "b")
        assert session.execute(select(func.count()).select_from(TenantRow)).scalar_one() == 1
    assert tenants(database) == ["a", "b"]


def test_foreign_keys_are_enforced(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.execute(insert(UserRow).values(tenant="nobody", name="u", suspended=False, created_at=0))


def test_many_threads_that_read_and_then_write_lose_nothing(database: Database) -> None:
    add_tenant(database, "counter")

    def count(_: int) -> None:
        with database.transaction() as session:
            query = select(TenantRow.created_at).where(TenantRow.id == "counter").with_for_update()
            value = session.execute(query).scalar_one()
            session.execute(text("UPDATE tenants SET created_at = :next"), {"next": value + 1})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(count, range(100)))
    with database.reading() as session:
        assert session.execute(select(TenantRow.created_at)).scalar_one() == 100


def count_in_a_process(url: str, times: int) -> None:
    database = Database(url)
    for _ in range(times):
        with database.transaction() as session:
            value = session.execute(select(TenantRow.created_at)).scalar_one()
            session.execute(text("UPDATE tenants SET created_at = :next"), {"next": value + 1})
    database.close()


@pytest.mark.slow
def test_two_processes_that_read_and_then_write_lose_nothing(sqlite_database: Database) -> None:
    add_tenant(sqlite_database, "counter")
    url = sqlite_database.engine.url.render_as_string()
    spawn = multiprocessing.get_context("spawn")
    started = [spawn.Process(target=count_in_a_process, args=(url, 50)) for _ in range(2)]
    for process in started:
        process.start()
    deadline = time.monotonic() + 120
    try:
        for process in started:
            process.join(max(0.0, deadline - time.monotonic()))
        assert [process.exitcode for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.join()
    with sqlite_database.reading() as session:
        assert session.execute(select(TenantRow.created_at)).scalar_one() == 100


def test_sqlite_is_durable_concurrent_strict_and_patient(sqlite_database: Database) -> None:
    add_tenant(sqlite_database, "a")
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    with sqlite_database.reading() as session:
        settings = [session.execute(text(f"PRAGMA {name}")).scalar() for name in names]
    assert settings == ["wal", 2, 1, 30_000]  # 2 is FULL


def test_a_writing_transaction_takes_the_write_lock_with_its_first_statement(sqlite_database: Database) -> None:
    path = sqlite_database.engine.url.database
    assert path is not None
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    with sqlite_database.transaction() as session:
        session.execute(select(TenantRow.id)).all()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_a_writer_waits_for_another_process_and_gives_up_in_the_end(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(sqlite_database.engine.url.database)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        later = threading.Timer(0.3, other.execute, ["COMMIT"])
        later.start()
        add_tenant(sqlite_database, "late")
        later.join()
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("core.db.session.BUSY_SECONDS", 0.2)
        with pytest.raises(Unavailable, match="busy with another write; nothing was changed"):
            add_tenant(sqlite_database, "never")
        other.execute("ROLLBACK")
    assert tenants(sqlite_database) == ["late"]


def test_a_full_disk_is_said_to_be_full_and_nothing_is_kept(sqlite_database: Database) -> None:
    with pytest.raises(StorageFull), sqlite_database.transaction() as session:  # noqa: PT012 - the block is the subject
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count={pages}"))
        session.execute(insert(TenantRow), [{"id": str(n) * 8, "created_at": 0} for n in range(10_000)])
    assert tenants(sqlite_database) == []


def test_any_path_can_hold_the_catalogue(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c=%20#d"
    folder.mkdir()
    database = Database(sqlite_url(folder))
    database.upgrade()
    database.close()
    assert (folder / "catalogue.db").exists()


def test_errors_do_not_carry_values(sqlite_database: Database) -> None:
    with pytest.raises(IntegrityError) as raised, sqlite_database.transaction() as session:
        session.execute(insert(UserRow).values(tenant="secret text", name="u", suspended=False, created_at=0))
    assert "secret text" not in str(raised.value)


def test_a_reader_in_one_thread_never_holds_up_another(sqlite_database: Database) -> None:
    inside, done = threading.Event(), threading.Event()

    def read() -> None:
        with sqlite_database.reading() as session:
            session.execute(select(TenantRow.id)).all()
            inside.set()
            done.wait(30)

    thread = threading.Thread(target=read)
    thread.start()
    assert inside.wait(30)
    add_tenant(sqlite_database, "a")
    done.set()
    thread.join()
    assert tenants(sqlite_database) == ["a"]
