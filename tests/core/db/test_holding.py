import time

import pytest

from core.db import holding
from core.db.holding import held, only_one
from core.db.session import Database
from core.errors import Conflict


@pytest.mark.slow
def test_an_embedded_installation_has_a_postgresql_catalogue_to_itself(postgres_database: Database) -> None:
    with held(postgres_database, alone=True):
        for alone in (True, False):
            with pytest.raises(Conflict, match="works on this database"), held(postgres_database, alone=alone):
                pass
    with held(postgres_database, alone=True):  # Free again after the end.
        pass


@pytest.mark.slow
def test_distributed_processes_share_a_catalogue_and_keep_the_embedded_mode_out(postgres_database: Database) -> None:
    with (
        held(postgres_database, alone=False),
        held(postgres_database, alone=False),
        pytest.raises(Conflict),
        held(postgres_database, alone=True),
    ):
        pass


def test_on_sqlite_the_data_directory_is_what_is_held(sqlite_database: Database) -> None:
    with held(sqlite_database, alone=True), held(sqlite_database, alone=True):
        pass


@pytest.mark.slow
def test_only_one_does_what_only_one_may(postgres_database: Database) -> None:
    with only_one(postgres_database, "index") as first:
        assert first
        with only_one(postgres_database, "index") as second, only_one(postgres_database, "other") as another:
            assert not second
            assert another
    with only_one(postgres_database, "index") as again:
        assert again


@pytest.mark.slow
def test_whoever_works_for_longer_than_a_silence_may_last_is_still_the_only_one(
    postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "IDLE_SECONDS", 4.0)
    with only_one(postgres_database, "index") as first:
        assert first
        time.sleep(6)
        with only_one(postgres_database, "index") as second:
            assert not second


@pytest.mark.slow
def test_whoever_shows_no_life_is_not_the_only_one_any_more(
    postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(holding, "BEATS", 0.001)  # As good as never: the process is frozen.
    with only_one(postgres_database, "index") as first:
        assert first
        deadline = time.monotonic() + 30
        while True:
            with only_one(postgres_database, "index") as second:
                if second:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.1)
