"""The API over real parts, asked through a client that needs no socket."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from core.db.session import Database, sqlite_url
from tests.api.house import House

BASE_URL = "http://127.0.0.1"


@pytest.fixture
def house(sqlite_database: Database, tmp_path: Path) -> House:
    return House(sqlite_database, tmp_path)


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    """A client without credentials; its one event loop lives as long as the application's."""
    with TestClient(house.app(), base_url=BASE_URL, follow_redirects=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_house(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house for a whole module, whose tests leave it as they found it or make their own documents."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(sqlite_template, folder / "catalogue.db")
    database = Database(sqlite_url(folder))
    yield House(database, folder)
    database.close()


@pytest.fixture(scope="module")
def shared_client(shared_house: House) -> Iterator[TestClient]:
    with TestClient(shared_house.app(), base_url=BASE_URL, follow_redirects=False) as opened:
        yield opened
