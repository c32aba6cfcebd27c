"""Who calls, and what with: one Annotated alias each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.errors import CsrfFailed
from api.services import Services
from core.access import parse_principal
from core.db import audit, directory, keys, lookups
from core.db.keys import ApiKey
from core.domain import Principal, Role
from core.errors import Forbidden, InvalidInput, Unauthenticated
from core.ids import DEFAULT_TENANT

SESSION_COOKIE = "footnote_session"
CSRF_COOKIE = "footnote_csrf"
CSRF_HEADER = "X-CSRF-Token"
IMPERSONATE_HEADER = "X-Footnote-As"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
RANK: dict[Role, int] = {"reader": 0, "editor": 1, "admin": 2}
NEEDS_KEY = "Send an API key as 'Authorization: Bearer KEY', or sign in."


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: the key gives the verbs, the principal what may be read. Read anew for every request.

    `principals` is what the caller reads as by `X-Footnote-As`, None without it. Impersonation changes what is read
    and who owns what is made, never the verbs: those stay the key's.
    """

    key: ApiKey
    principal: Principal
    principals: tuple[str, ...] | None = None

    @property
    def actor(self) -> str:
        """The name that the audit log records: the key's user, whomever it reads as."""
        user = f"user:{self.key.user}"
        return user if self.principals is None else f"{user} as {','.join(self.principals)}"

    @property
    def operator(self) -> bool:
        """Whether the caller runs this installation: an administrator of the default tenant, as themselves."""
        return self.key.role == "admin" and self.key.tenant == DEFAULT_TENANT and self.principals is None

    def principal_in(self, session: Session) -> Principal:
        """Return the principal as the directory has it in this very transaction: rights to write are judged by it."""
        return principal_of(session, self.key, self.principals)

    def today(self, session: Session) -> Principal:
        """Return the principal as of now for a stream that goes on: an empty closure once the key opens nothing."""
        if not lookups.key_opens(session, self.key.tenant, self.key.id):
            return replace(self.principal, closure=frozenset())
        return self.principal_in(session)


def principal_of(session: Session, key: ApiKey, principals: tuple[str, ...] | None) -> Principal:
    """Return whom the key reads as: its user, or exactly the given principals.

    Several principals together are no user: they read more than that user, and must not own what is the user's.
    """
    if principals is None:
        return directory.principal(session, key.tenant, key.user, role=key.role, scopes=key.scopes)
    principal = directory.impersonated(session, key.tenant, principals, role=key.role)
    return principal if len({parse_principal(text) for text in principals}) == 1 else replace(principal, user=None)


def services_of(request: Request) -> Services:
    """Return the collaborators that `create_app` was given."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    return services_of(request)


ServicesOf = Annotated[Services, Depends(_services)]


def authenticate(request: Request, services: ServicesOf) -> Caller:
    """Return the caller; raises `Unauthenticated`, `CsrfFailed`, or `Forbidden` where a scope is missing."""
    with services.database.reading() as session:
        key = _bearer_key(session, request) or _session_key(session, request)
        if key is None:
            raise Unauthenticated(NEEDS_KEY)
        principals = impersonated_principals(request.headers.get(IMPERSONATE_HEADER))
        if principals is not None and "impersonate" not in key.scopes:
            raise Forbidden(f"{IMPERSONATE_HEADER} needs a key with the scope 'impersonate'.")
        caller = Caller(key=key, principal=principal_of(session, key, principals), principals=principals)
    if principals is not None:  # Nobody reads as somebody else unless it is on record.
        route = getattr(request.scope.get("route"), "path", "")
        with services.database.transaction() as session:
            audit.record(session, key.tenant, f"user:{key.user}", "key.impersonate", ",".join(principals), route=route)
    if key.use_due:
        request.app.state.key_use.note(key)
    return caller


def _bearer_key(session: Session, request: Request) -> ApiKey | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    key = keys.authenticate(session, secret.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        raise Unauthenticated("The API key is unknown, expired or revoked.")
    return key


def _session_key(session: Session, request: Request) -> ApiKey | None:
    token = request.cookies.get(SESSION_COOKIE)
    found = keys.session_key(session, token) if token else None
    if found is None:
        return None
    key, csrf_hash = found
    if request.method not in SAFE_METHODS and not keys.csrf_matches(csrf_hash, request.headers.get(CSRF_HEADER, "")):
        raise CsrfFailed(f"Send the session's token in the header {CSRF_HEADER}; GET /v1/session tells it.")
    return key


def impersonated_principals(header: str | None) -> tuple[str, ...] | None:
    """Return the principals of `X-Footnote-As`, None without the header; raises `InvalidInput` when it names nobody."""
    if header is None:
        return None
    # Header values arrive decoded as Latin-1, whatever the client meant; names that are not ASCII come as UTF-8.
    text = header.encode("latin-1").decode("utf-8", errors="replace")
    principals = tuple(part.strip() for part in text.split(",") if part.strip())
    if not principals:
        raise InvalidInput(f"{IMPERSONATE_HEADER} names principals such as 'user:alice,group:eng'.")
    return principals


Authenticated = Annotated[Caller, Depends(authenticate)]


def require(role: Role) -> Callable[[Caller], Awaitable[Caller]]:
    """Return a dependency that lets callers with at least this role pass. It looks at the key alone, before any id."""

    async def check(caller: Authenticated) -> Caller:
        if RANK[caller.key.role] < RANK[role]:
            raise Forbidden(f"This needs a key with the role {role!r}.")
        return caller

    return check


async def _operator(caller: Authenticated) -> Caller:
    if not caller.operator:
        raise Forbidden("This needs an administrator's key of the default tenant.")
    return caller


Reader = Annotated[Caller, Depends(require("reader"))]
Editor = Annotated[Caller, Depends(require("editor"))]
Admin = Annotated[Caller, Depends(require("admin"))]
Operator = Annotated[Caller, Depends(_operator)]
