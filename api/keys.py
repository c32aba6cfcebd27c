"""API keys of the caller's tenant. A secret is shown once, when its key is made."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from pydantic import AwareDatetime, Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.bodies import Body, JsonBody, json_response, no_content, uuid_or_absent
from api.dependencies import Admin, Caller, ServicesOf
from api.times import iso, micros
from core.db import audit, directory, keys
from core.db.keys import ApiKey
from core.domain import Role
from core.errors import Forbidden, InvalidInput
from core.ids import DEFAULT_TENANT, TenantId

router = APIRouter()


class NewKey(Body):
    """The key speaks for `user` with the verbs of `role`. `tenant`: another one than the caller's, for the operator."""

    user: str
    role: Role = "reader"
    scopes: tuple[str, ...] = ()
    label: str = Field("", max_length=255)
    expires_at: AwareDatetime | None = None
    tenant: str | None = None


@router.get("/v1/admin/keys")
def list_keys(caller: Admin, services: ServicesOf) -> Response:
    """Return every key of the tenant, without its secret."""
    with services.database.reading() as session:
        return json_response({"keys": [key_json(key) for key in keys.list_keys(session, caller.key.tenant)]})


@router.post("/v1/admin/keys")
def create_key(caller: Admin, services: ServicesOf, body: JsonBody[NewKey]) -> Response:
    """Make a key; the answer is the only place where its secret ever stands."""
    tenant = _tenant(caller, body.tenant)
    if not set(body.scopes) <= caller.key.scopes:
        raise Forbidden("A key cannot be given a scope that your own key does not have.")
    expires_at = None if body.expires_at is None else micros(body.expires_at)
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise InvalidInput("expires_at is in the past.")
    with services.database.transaction() as session:
        directory.require_tenant(session, tenant)
        if tenant != caller.key.tenant:  # a new tenant has no user yet, and nobody in it who could add one
            _ensure_user(session, tenant, body.user)
        key, secret = keys.create_key(
            session,
            tenant,
            user=body.user,
            role=body.role,
            scopes=body.scopes,
            label=body.label,
            expires_at=expires_at,
        )
        audit.record(session, tenant, caller.actor, "key.create", str(key.id), user=key.user, role=key.role)
    return json_response({"key": key_json(key), "secret": secret}, status=HTTPStatus.CREATED)


@router.delete("/v1/admin/keys/{key}")
def revoke_key(caller: Admin, services: ServicesOf, key: str) -> Response:
    """Revoke the key; it opens nothing from the next request on."""
    found = uuid_or_absent(key)
    with services.database.transaction() as session:
        keys.revoke_key(session, caller.key.tenant, found)
        audit.record(session, caller.key.tenant, caller.actor, "key.revoke", key)
    return no_content()


def _tenant(caller: Caller, wanted: str | None) -> TenantId:
    if wanted is None or wanted == caller.key.tenant:
        return caller.key.tenant
    if not caller.operator:
        raise Forbidden(f"Only an administrator of the tenant {DEFAULT_TENANT!r} makes keys for other tenants.")
    return TenantId(wanted)


def _ensure_user(session: Session, tenant: TenantId, user: str) -> None:
    if user not in {known.name for known in directory.list_users(session, tenant)}:
        directory.add_user(session, tenant, user)


def key_json(key: ApiKey) -> dict[str, Any]:
    """Return what may be shown of a key; times as ISO 8601 in UTC."""
    return {
        "id": key.id,
        "user": key.user,
        "role": key.role,
        "scopes": sorted(key.scopes),
        "label": key.label,
        "prefix": key.prefix,
        "created_at": iso(key.created_at),
        "expires_at": iso(key.expires_at),
        "last_used_at": iso(key.last_used_at),
        "revoked_at": iso(key.revoked_at),
    }
