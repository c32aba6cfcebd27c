import pytest

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
