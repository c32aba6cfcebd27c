from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from core.db import directory, keys
from core.db.clock import SECOND, now
from core.db.session import Database
from core.db.tables import ApiKeyRow, BrowserSessionRow
from core.errors import InvalidInput, NotFound
from core.ids import uuid7
from tests.core.db.seeding import OTHER, TENANT, add_tenants


@pytest.fixture
def catalogue(database: Database) -> Database:
    add_tenants(database)
    with database.transaction() as session:
        directory.add_user(session, TENANT, "owner")
    return database


def make(database: Database, expires_in: int | None = None) -> tuple[keys.ApiKey, str]:
    with database.transaction() as session:
        expires_at = None if expires_in is None else now(session) + expires_in * SECOND
        return keys.create_key(
            session, TENANT, user="owner", role="admin", scopes=["impersonate"], label="mine", expires_at=expires_at
        )


def opened(database: Database, secret: str) -> keys.ApiKey | None:
    with database.reading() as session:
        return keys.authenticate(session, secret)


def test_a_secret_opens_its_key(catalogue: Database) -> None:
    key, secret = make(catalogue, expires_in=60)
    found = opened(catalogue, secret)
    assert found is not None
    assert (found.tenant, found.id, found.user, found.label) == (TENANT, key.id, "owner", "mine")
    assert (found.role, sorted(found.scopes), found.prefix) == ("admin", ["impersonate"], secret.split("_")[1])


def test_no_secret_is_ever_stored(catalogue: Database) -> None:
    _, secret = make(catalogue)
    with catalogue.reading() as session:
        row = session.execute(select(ApiKeyRow)).scalar_one()
    stored = repr([getattr(row, column.key) for column in ApiKeyRow.__table__.columns])
    assert secret not in stored
    assert secret.split("_", 2)[2] not in stored


def test_a_wrong_secret_opens_nothing(catalogue: Database) -> None:
    _, secret = make(catalogue)
    last = "A" if secret[-1] != "A" else "B"
    head, prefix, tail = secret.split("_", 2)
    for wrong in (
        secret[:-1] + last,
        secret + "A",
        secret.upper(),
        f"{head}_{prefix}_",
        f"{head}_{'0' * 12}_{tail}",
        "",
    ):
        assert opened(catalogue, wrong) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.text() | st.from_regex(r"fn_[0-9a-f]{12}_[A-Za-z0-9_-]{43}"))
def test_no_text_whatever_is_an_error_or_opens_anything(sqlite_database: Database, secret: str) -> None:
    with sqlite_database.reading() as session:
        assert keys.authenticate(session, secret) is None
        assert keys.session_key(session, secret) is None


def test_an_expired_key_opens_nothing(catalogue: Database) -> None:
    _, secret = make(catalogue, expires_in=-1)
    assert opened(catalogue, secret) is None


def test_a_revoked_key_opens_nothing_and_ends_its_sessions(catalogue: Database) -> None:
    key, secret = make(catalogue)
    with catalogue.transaction() as session:
        exchanged = keys.exchange_link(session, keys.create_link(session, key))
        assert exchanged is not None
        keys.revoke_key(session, TENANT, key.id)
        keys.revoke_key(session, TENANT, key.id)
        assert keys.session_key(session, exchanged[0]) is None
        with pytest.raises(NotFound):
            keys.revoke_key(session, OTHER, key.id)
        with pytest.raises(NotFound):
            keys.revoke_key(session, TENANT, uuid7())
        assert keys.list_keys(session, TENANT)[0].revoked_at is not None
    assert opened(catalogue, secret) is None


def test_the_key_of_a_suspended_user_opens_nothing_until_it_is_resumed(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, "bob")
        _, secret = keys.create_key(session, TENANT, user="bob", role="reader")
        directory.set_suspended(session, TENANT, "bob", suspended=True)
    assert opened(catalogue, secret) is None
    with catalogue.transaction() as session:
        directory.set_suspended(session, TENANT, "bob", suspended=False)
    assert opened(catalogue, secret) is not None


def test_the_keys_of_a_removed_user_are_gone(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, "bob")
        _, secret = keys.create_key(session, TENANT, user="bob", role="reader")
        directory.remove_user(session, TENANT, "bob")
        assert keys.list_keys(session, TENANT) == []
    assert opened(catalogue, secret) is None


def test_a_key_needs_a_user_a_role_and_known_scopes(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        with pytest.raises(NotFound):
            keys.create_key(session, TENANT, user="nobody", role="reader")
        with pytest.raises(NotFound):
            keys.create_key(session, OTHER, user="owner", role="reader")
        with pytest.raises(InvalidInput):
            keys.create_key(session, TENANT, user="owner", role="root")  # type: ignore[arg-type] # what a client may send
        with pytest.raises(InvalidInput):
            keys.create_key(session, TENANT, user="owner", role="reader", scopes=["everything"])
        with pytest.raises(InvalidInput):
            keys.create_key(session, TENANT, user="owner", role="reader", label="x" * 256)


def test_use_is_due_to_be_recorded_at_most_once_a_minute(catalogue: Database) -> None:
    _, secret = make(catalogue)
    first = opened(catalogue, secret)
    assert first is not None
    assert first.use_due
    with catalogue.transaction() as session:
        keys.record_use(session, first)
    second = opened(catalogue, secret)
    assert second is not None
    assert not second.use_due
    assert second.last_used_at is not None
    with catalogue.transaction() as session:
        keys.record_use(session, first)  # a request that came at the same time
        session.execute(update(ApiKeyRow).values(last_used_at=second.last_used_at - 61 * SECOND))
    third = opened(catalogue, secret)
    assert third is not None
    assert third.use_due


def test_keys_are_listed_per_tenant_in_order(catalogue: Database) -> None:
    made = [make(catalogue)[0].id for _ in range(3)]
    with catalogue.reading() as session:
        assert [key.id for key in keys.list_keys(session, TENANT)] == made
        assert keys.list_keys(session, OTHER) == []


def test_a_link_opens_one_browser_session_once(catalogue: Database) -> None:
    key, _ = make(catalogue)
    with catalogue.transaction() as session:
        link = keys.create_link(session, key)
        assert keys.session_key(session, link) is None  # A link is no session.
        exchanged = keys.exchange_link(session, link)
        assert exchanged is not None
        assert keys.exchange_link(session, link) is None
    token, csrf = exchanged
    with catalogue.reading() as session:
        found = keys.session_key(session, token)
    assert found is not None
    assert found[0].id == key.id
    assert keys.csrf_matches(found[1], csrf)
    assert not keys.csrf_matches(found[1], csrf + "x")
    with catalogue.transaction() as session:
        assert keys.exchange_link(session, token) is None  # A session is no link.
        keys.end_session(session, token)
        keys.end_session(session, token)
        assert keys.session_key(session, token) is None


def test_of_many_browsers_with_one_link_one_is_let_in(catalogue: Database) -> None:
    key, _ = make(catalogue)
    with catalogue.transaction() as session:
        link = keys.create_link(session, key)

    def exchange(_: int) -> bool:
        with catalogue.transaction() as session:
            return keys.exchange_link(session, link) is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(exchange, range(8))) == 1


def test_links_and_sessions_end_and_are_swept(catalogue: Database) -> None:
    key, _ = make(catalogue)
    ended = timedelta(seconds=-1)
    with catalogue.transaction() as session:
        assert keys.exchange_link(session, keys.create_link(session, key, ended)) is None
        exchanged = keys.exchange_link(session, keys.create_link(session, key), ended)
        assert exchanged is not None
        assert keys.session_key(session, exchanged[0]) is None
        keys.create_link(session, key)
        kinds = session.execute(select(BrowserSessionRow.kind)).scalars().all()
        assert kinds == ["link", "link"]  # the used one and the new one


def test_a_browser_session_ends_with_its_key(catalogue: Database) -> None:
    key, _ = make(catalogue)
    with catalogue.transaction() as session:
        exchanged = keys.exchange_link(session, keys.create_link(session, key))
        assert exchanged is not None
        session.execute(update(ApiKeyRow).values(expires_at=now(session) - SECOND))
        assert keys.session_key(session, exchanged[0]) is None
