import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from core.db import stages
from core.db.directory import add_user, list_tenants, list_users
from core.db.index_tasks import claim_tasks, open_tasks, queue_task
from core.db.keys import authenticate, create_key, create_link, exchange_link, list_keys, revoke_key, session_key
from core.db.releases import live_release
from core.db.session import Database, sqlite_url
from core.db.tables import DocumentRow
from core.domain import EVERYONE, Principal, StageName
from core.errors import Conflict, DataDirectoryInUse, InvalidInput
from core.ids import DEFAULT_TENANT, DocumentId
from core.intake import Intake, UploadRequest
from core.settings import Settings
from footnote.datadir import DataDirectory
from footnote.runtime import OWNER, Runtime, open_runtime
from footnote.supervisor import WorkerSupervisor
from tests.ingestion.works import story

OWNER_READS = Principal(tenant=DEFAULT_TENANT, closure=frozenset({f"user:{OWNER}", EVERYONE}), user=OWNER, role="admin")


@pytest.fixture(autouse=True)
def _quiet_and_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FOOTNOTE_EMBEDDER", "hashing:32")
    monkeypatch.setenv("FOOTNOTE_RERANKER", "none")
    monkeypatch.chdir(tmp_path)
    with capture_logs():
        yield


@pytest.fixture
def data(tmp_path: Path, sqlite_template: Path) -> Path:
    """A data directory whose database needs no migration, which would take its time."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalogue.db").write_bytes(sqlite_template.read_bytes())
    return tmp_path / "data"


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker child: what is uploaded stays queued."""
    monkeypatch.setattr(WorkerSupervisor, "_has_work", lambda _: False)


def _key_opens(runtime: Runtime) -> bool:
    secret = runtime.directory.owner_key()
    with runtime.database.reading() as session:
        return secret is not None and authenticate(session, secret) is not None


def _upload(runtime: Runtime) -> None:
    services = runtime.services
    intake = Intake(database=services.database, blobs=services.blobs, max_bytes=1_000_000)
    intake.upload(OWNER_READS, UploadRequest(name="a.txt", source="files"), story("tea").encode())
    services.wake()


def test_a_new_directory_has_its_tenant_owner_key_and_release(data: Path) -> None:
    with open_runtime(Settings(data=data)) as runtime:
        assert _key_opens(runtime)
        with runtime.database.reading() as session:
            assert list_tenants(session) == [DEFAULT_TENANT]
            assert [user.name for user in list_users(session, DEFAULT_TENANT)] == [OWNER]
            (key,) = list_keys(session, DEFAULT_TENANT)
            assert live_release(session) is not None
        assert (key.role, set(key.scopes)) == ("admin", {"impersonate"})
        facts = runtime.services.doctor()
        assert facts["embedder"] == "hashing:32@1"
        assert facts["database"] == "sqlite"
        assert (data / "index" / str(facts["index"])).is_dir()


def test_opening_again_changes_nothing(data: Path) -> None:
    with open_runtime(Settings(data=data)) as runtime:
        key = runtime.directory.owner_key()
        with runtime.database.reading() as session:
            release = live_release(session)
    with open_runtime(Settings(data=data)) as runtime:
        assert runtime.directory.owner_key() == key
        with runtime.database.reading() as session:
            assert live_release(session) == release
            assert len(list_keys(session, DEFAULT_TENANT)) == 1


@pytest.mark.parametrize("harm", ["lost", "foreign", "revoked"])
def test_a_key_file_that_is_lost_or_opens_nothing_is_replaced(data: Path, harm: str) -> None:
    with open_runtime(Settings(data=data)) as runtime:
        before = runtime.directory.owner_key()
        if harm == "lost":
            (data / "owner.key").unlink()
        elif harm == "foreign":  # As a start leaves it that was killed between the file and the commit.
            runtime.directory.write_owner_key("fn_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
        else:
            with runtime.database.transaction() as session:
                (key,) = list_keys(session, DEFAULT_TENANT)
                revoke_key(session, DEFAULT_TENANT, key.id)
    with open_runtime(Settings(data=data)) as runtime:
        assert _key_opens(runtime)
        assert runtime.directory.owner_key() != before


def test_a_secret_that_leaked_opens_nothing_once_its_file_is_deleted(data: Path) -> None:
    with open_runtime(Settings(data=data)) as runtime, runtime.database.transaction() as session:
        leaked = str(runtime.directory.owner_key())
        (key,) = list_keys(session, DEFAULT_TENANT)
        opened = exchange_link(session, create_link(session, key))
        create_key(session, DEFAULT_TENANT, user=OWNER, role="admin", label="laptop")
        add_user(session, DEFAULT_TENANT, "ann")
        create_key(session, DEFAULT_TENANT, user="ann", role="reader", label="owner")
    (data / "owner.key").unlink()
    with open_runtime(Settings(data=data)) as runtime:
        assert _key_opens(runtime)
        with runtime.database.reading() as session:
            assert authenticate(session, leaked) is None
            assert opened is not None
            assert session_key(session, opened[0]) is None
            usable = {(key.user, key.label) for key in list_keys(session, DEFAULT_TENANT) if key.revoked_at is None}
    assert usable == {(OWNER, "owner"), (OWNER, "laptop"), ("ann", "owner")}


@pytest.mark.slow
def test_a_directory_is_held_by_one_and_free_after_any_end(data: Path) -> None:
    with open_runtime(Settings(data=data)), pytest.raises(DataDirectoryInUse), open_runtime(Settings(data=data)):
        pass
    with pytest.raises(ZeroDivisionError), open_runtime(Settings(data=data)):
        raise ZeroDivisionError
    with open_runtime(Settings(data=data)):
        pass
    names = {"worker-supervisor", "index-loop"}
    assert not names & {thread.name for thread in threading.enumerate()}


def test_a_start_that_fails_leaves_the_directory_free(data: Path) -> None:
    with pytest.raises(InvalidInput), open_runtime(Settings(data=data, embedder="nonsense")):
        pass
    with open_runtime(Settings(data=data)):
        pass


@pytest.mark.usefixtures("idle")
def test_documents_are_never_served_with_another_model(data: Path) -> None:
    with open_runtime(Settings(data=data)) as runtime:
        _upload(runtime)
    with pytest.raises(Conflict, match="other settings"), open_runtime(Settings(data=data, embedder="hashing:64")):
        pass
    with open_runtime(Settings(data=data)):
        pass


@pytest.mark.slow
def test_an_empty_directory_takes_any_model(data: Path) -> None:
    for embedder in ("hashing:32", "hashing:64"):
        with open_runtime(Settings(data=data, embedder=embedder)) as runtime:
            assert runtime.services.doctor()["embedder"] == f"{embedder}@1"


@pytest.mark.usefixtures("idle")
def test_what_a_killed_process_had_leased_is_queued_again_and_that_is_no_attempt(data: Path) -> None:
    with open_runtime(Settings(data=data)) as runtime:
        _upload(runtime)
        with runtime.database.transaction() as session:
            (claimed,) = stages.claim(session, [StageName.PARSE], owner="gone", limit=1, lease_seconds=600)
        assert claimed.attempt == 1
    with open_runtime(Settings(data=data)) as runtime, runtime.database.transaction() as session:
        (claimed,) = stages.claim(session, [StageName.PARSE], owner="new", limit=1, lease_seconds=600)
        assert claimed.attempt == 1


@pytest.mark.usefixtures("idle")
def test_a_right_that_a_killed_process_was_writing_into_the_index_is_written_at_once(data: Path) -> None:
    with open_runtime(Settings(data=data)) as runtime:
        _upload(runtime)
    database = Database(sqlite_url(data))
    with database.transaction() as session:
        (document,) = session.scalars(select(DocumentRow.id))
        queue_task(session, DEFAULT_TENANT, "access", DocumentId(document))
        (task,) = claim_tasks(session, limit=1, lease_seconds=600)
        assert open_tasks(session, DEFAULT_TENANT, [task.document]) == 1
    database.close()
    with open_runtime(Settings(data=data)) as runtime:

        def written() -> bool:
            with runtime.database.reading() as session:
                return open_tasks(session, DEFAULT_TENANT, [task.document]) == 0

        _wait_for(written)


@pytest.mark.slow
def test_what_is_uploaded_becomes_searchable_here_and_after_the_next_start(data: Path) -> None:
    with open_runtime(Settings(data=data)) as runtime:
        _upload(runtime)
        _wait_for(lambda: _hits(runtime))
    with open_runtime(Settings(data=data)) as runtime:
        assert _hits(runtime)


@pytest.mark.slow
def test_a_start_carries_on_with_what_was_accepted_before(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(WorkerSupervisor, "_has_work", lambda _: False)
        with open_runtime(Settings(data=data)) as runtime:
            _upload(runtime)
    with open_runtime(Settings(data=data)) as runtime:
        _wait_for(lambda: _hits(runtime))


def _hits(runtime: Runtime) -> int:
    return len(runtime.search.search("tea", principal=OWNER_READS, limit=5).hits)


def _wait_for(condition: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_database_elsewhere_is_used_where_it_is_named(data: Path, tmp_path: Path, sqlite_template: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "catalogue.db").write_bytes(sqlite_template.read_bytes())
    with open_runtime(Settings(data=data, database_url=sqlite_url(elsewhere))) as runtime:
        assert _key_opens(runtime)
    database = Database(sqlite_url(elsewhere))
    with database.reading() as session:
        assert list_tenants(session) == [DEFAULT_TENANT]
    database.close()


def test_the_directory_is_for_its_owner_alone(tmp_path: Path, sqlite_template: Path) -> None:
    directory = DataDirectory(tmp_path / "private")
    directory.create()
    (directory.path / "catalogue.db").write_bytes(sqlite_template.read_bytes())
    with open_runtime(Settings(data=directory.path)):
        assert directory.path.stat().st_mode & 0o077 == 0
        assert (directory.path / "owner.key").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("idle")
def test_a_database_whose_files_lie_elsewhere_is_refused_and_left_as_it_was(data: Path, tmp_path: Path) -> None:
    settings = Settings(data=data)
    with open_runtime(settings) as runtime:
        _upload(runtime)
    elsewhere = Settings(data=tmp_path / "elsewhere", database_url=sqlite_url(data))

    with pytest.raises(Conflict, match="belongs to another data directory"), open_runtime(elsewhere):
        pass

    with open_runtime(settings) as runtime, runtime.database.reading() as session:
        assert stages.has_claimable(session, [StageName.PARSE])
