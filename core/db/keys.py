"""API keys, one-time sign-in links and browser sessions. Secrets are shown once; only their SHA-256 is stored.

Roles give verbs: reader (search, ask), editor (and upload, change and delete what it may write), admin (and directory,
keys and everything administrative). None gives reading. The scope `impersonate` allows `--as`.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, bindparam, delete, insert, or_, select, update
from sqlalchemy.orm import Session

from core.db.base import db_now
from core.db.clock import now
from core.db.tables import ApiKeyRow, BrowserSessionRow, UserRow
from core.domain import Role
from core.errors import InvalidInput, NotFound
from core.ids import TenantId, uuid7

SCOPES = frozenset({"impersonate"})
USE_RESOLUTION = timedelta(minutes=1)  # `last_used_at` is this exact, so that a request is seldom a write.
SESSION_TTL = timedelta(hours=12)

_SECRET = re.compile(r"fn_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of a key; times are microseconds since 1970, UTC. `use_due`: see `record_use`."""

    tenant: TenantId
    id: UUID
    user: str
    label: str
    prefix: str
    role: Role
    scopes: frozenset[str]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None
    use_due: bool = False


def create_key(
    session: Session,
    tenant: TenantId,
    *,
    user: str,
    role: Role,
    scopes: Collection[str] = (),
    label: str = "",
    expires_at: int | None = None,
) -> tuple[ApiKey, str]:
    """Create a key of an existing user; return it with its secret, which cannot be had again.

    :raises NotFound: there is no such user.
    :raises InvalidInput: no such role or scope, or the label is longer than 255 characters.
    """
    if role not in get_args(Role):
        raise InvalidInput(f"{role!r} is no role: choose reader, editor or admin.")
    if unknown := sorted(set(scopes) - SCOPES):
        raise InvalidInput(f"{unknown[0]!r} is no scope: the scopes are {', '.join(sorted(SCOPES))}.")
    if len(label) > 255 or "\0" in label:  # noqa: PLR2004 - the column's width
        raise InvalidInput("A key's label has at most 255 characters, and no NUL.")
    if session.get(UserRow, (tenant, user)) is None:
        raise NotFound(f"There is no user {user!r}.")
    prefix = secrets.token_hex(6)
    secret = f"fn_{prefix}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        tenant=tenant,
        id=uuid7(),
        user=user,
        label=label,
        prefix=prefix,
        role=role,
        scopes=frozenset(scopes),
        created_at=now(session),
        expires_at=expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    session.execute(
        insert(ApiKeyRow).values(
            tenant=tenant,
            id=key.id,
            user_name=user,
            label=label,
            prefix=prefix,
            secret_hash=_hash(secret),
            role=role,
            scopes=sorted(scopes),
            created_at=key.created_at,
            expires_at=expires_at,
        )
    )
    return key, secret


def authenticate(session: Session, secret: str) -> ApiKey | None:
    """Return the key that the secret opens, of whichever tenant, by reading alone (see `record_use`).

    None if the secret is unknown, the key expired or revoked, or its user suspended: the four are not told apart.
    """
    match = _SECRET.fullmatch(secret)
    prefix = match.group(1) if match else ""
    row = session.execute(_BY_PREFIX, {"prefix": prefix}).first()
    expected = row.secret_hash if row is not None else bytes(32)
    if not hmac.compare_digest(expected, _hash(secret)) or row is None:
        return None
    return _key(row)


def record_use(session: Session, key: ApiKey) -> None:
    """Note that the key was used. Worth a transaction only when `key.use_due`, at most once a minute."""
    row = ApiKeyRow
    session.execute(
        update(row)
        .where(
            row.tenant == key.tenant,
            row.id == key.id,
            or_(row.last_used_at.is_(None), row.last_used_at < db_now() - _micros(USE_RESOLUTION)),
        )
        .values(last_used_at=db_now())
        .execution_options(synchronize_session=False)
    )


def list_keys(session: Session, tenant: TenantId) -> list[ApiKey]:
    """Return the tenant's keys, the oldest first, expired and revoked ones among them."""
    rows = session.execute(_keys().where(ApiKeyRow.tenant == tenant).order_by(ApiKeyRow.created_at, ApiKeyRow.id))
    return [_key(row) for row in rows]


def revoke_key(session: Session, tenant: TenantId, key: UUID) -> None:
    """End the key, its links and its browser sessions at once. Revoking twice changes nothing.

    :raises NotFound: there is no such key.
    """
    row = ApiKeyRow
    if session.execute(select(row.id).where(row.tenant == tenant, row.id == key)).first() is None:
        raise NotFound("There is no such key.")
    session.execute(
        update(row)
        .where(row.tenant == tenant, row.id == key, row.revoked_at.is_(None))
        .values(revoked_at=db_now())
        .execution_options(synchronize_session=False)
    )
    opened = BrowserSessionRow
    session.execute(delete(opened).where(opened.tenant == tenant, opened.key_id == key))


def create_link(session: Session, key: ApiKey, ttl: timedelta = timedelta(minutes=10)) -> str:
    """Return the token of a link that signs a browser in once, as the key's user with the key's rights."""
    row = BrowserSessionRow
    session.execute(delete(row).where(row.tenant == key.tenant, row.expires_at < db_now()))
    token = secrets.token_urlsafe(32)
    _insert_session(session, key, token, kind="link", csrf=None, ttl=ttl)
    return token


def exchange_link(session: Session, token: str, ttl: timedelta = SESSION_TTL) -> tuple[str, str] | None:
    """Use up a link: return the browser session's token, for its cookie, and its CSRF token; None if it is no use."""
    row = BrowserSessionRow
    key = session.execute(_BY_LINK, {"token": _hash(token)}).first()
    if key is None:
        return None
    used = (
        update(row)
        .where(row.tenant == key.tenant, row.token_hash == _hash(token), row.used_at.is_(None))
        .values(used_at=db_now())
        .returning(row.key_id)
        .execution_options(synchronize_session=False)
    )
    if session.execute(used).first() is None:  # another browser was quicker
        return None
    opened, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    _insert_session(session, _key(key), opened, kind="session", csrf=csrf, ttl=ttl)
    return opened, csrf


def session_key(session: Session, token: str) -> tuple[ApiKey, bytes] | None:
    """Return the key that a browser session stands for, and the SHA-256 of its CSRF token; None if it has ended."""
    found = session.execute(_BY_SESSION, {"token": _hash(token)}).first()
    return None if found is None else (_key(found), found.csrf_hash)


def csrf_matches(csrf_hash: bytes, token: str) -> bool:
    """Return whether this is the CSRF token of that hash, in constant time."""
    return hmac.compare_digest(csrf_hash, _hash(token))


def end_session(session: Session, token: str) -> None:
    """Sign the browser out; an unknown token changes nothing."""
    row = BrowserSessionRow
    session.execute(delete(row).where(row.token_hash == _hash(token), row.kind == "session"))


def _keys() -> Select[Any]:
    due = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < db_now() - _micros(USE_RESOLUTION))
    return select(*ApiKeyRow.__table__.columns, due.label("use_due"))


def _usable_keys() -> Select[Any]:
    """Select keys that open something now, by the database's clock."""
    row = ApiKeyRow
    return (
        _keys()
        .join(UserRow, (UserRow.tenant == row.tenant) & (UserRow.name == row.user_name))
        .where(
            UserRow.suspended.is_(False),
            row.revoked_at.is_(None),
            or_(row.expires_at.is_(None), row.expires_at > db_now()),
        )
    )


def _opened(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Select the usable key of the link or browser session whose token's hash is `token`, unless that has ended."""
    row = BrowserSessionRow
    return (
        _usable_keys()
        .add_columns(row.csrf_hash)
        .join(row, (row.tenant == ApiKeyRow.tenant) & (row.key_id == ApiKeyRow.id))
        .where(row.token_hash == bindparam("token"), row.expires_at > db_now(), *conditions)
    )


def _insert_session(session: Session, key: ApiKey, token: str, *, kind: str, csrf: str | None, ttl: timedelta) -> None:
    moment = now(session)
    session.execute(
        insert(BrowserSessionRow).values(
            tenant=key.tenant,
            token_hash=_hash(token),
            key_id=key.id,
            kind=kind,
            csrf_hash=None if csrf is None else _hash(csrf),
            created_at=moment,
            expires_at=moment + _micros(ttl),
        )
    )


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        tenant=TenantId(row.tenant),
        id=row.id,
        user=row.user_name,
        label=row.label,
        prefix=row.prefix,
        role=row.role,
        scopes=frozenset(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        use_due=bool(row.use_due),
    )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _micros(duration: timedelta) -> int:
    return duration // _MICROSECOND


# Built once: nearly every request asks one of them, and composing it costs more than the database takes to answer.
_BY_PREFIX = _usable_keys().where(ApiKeyRow.prefix == bindparam("prefix"))
_BY_SESSION = _opened(BrowserSessionRow.kind == "session")
_BY_LINK = _opened(BrowserSessionRow.kind == "link", BrowserSessionRow.used_at.is_(None))
