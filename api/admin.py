"""The directory of the caller's tenant: users, groups, imports; and, for the operator, the tenants themselves."""

from dataclasses import asdict
from http import HTTPStatus

import orjson
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from api.bodies import Body, JsonBody, json_response, no_content, require_content_type
from api.dependencies import Admin, Caller, Operator, ServicesOf
from api.errors import InvalidJson
from api.services import Services
from core.db import audit, directory
from core.db.directory import ImportSummary
from core.errors import InvalidInput
from core.ids import TenantId

router = APIRouter()


class Named(Body):
    """A new user or tenant."""

    name: str


class NewGroup(Body):
    """A group, new or known; the members are added to those it has."""

    name: str
    members: tuple[str, ...] = ()


class Member(Body):
    """`user:U` or `group:H`."""

    member: str


@router.get("/v1/admin/users")
def list_users(caller: Admin, services: ServicesOf) -> Response:
    """Return every user with its groups and whether it is suspended."""
    with services.database.reading() as session:
        return json_response({"users": [asdict(user) for user in directory.list_users(session, caller.key.tenant)]})


@router.post("/v1/admin/users")
def add_user(caller: Admin, services: ServicesOf, body: JsonBody[Named]) -> Response:
    """Add an active user."""
    with services.database.transaction() as session:
        user = directory.add_user(session, caller.key.tenant, body.name)
        audit.record(session, caller.key.tenant, caller.actor, "user.add", f"user:{user.name}")
    return json_response(asdict(user), status=HTTPStatus.CREATED)


@router.post("/v1/admin/users/{name:path}/suspend")
def suspend_user(caller: Admin, services: ServicesOf, name: str) -> Response:
    """Suspend the user, who reads nothing from the next request on."""
    return _set_suspended(caller, services, name, suspended=True)


@router.post("/v1/admin/users/{name:path}/resume")
def resume_user(caller: Admin, services: ServicesOf, name: str) -> Response:
    """Let the user back in."""
    return _set_suspended(caller, services, name, suspended=False)


def _set_suspended(caller: Caller, services: Services, name: str, *, suspended: bool) -> Response:
    with services.database.transaction() as session:
        user = directory.set_suspended(session, caller.key.tenant, name, suspended=suspended)
        action = "user.suspend" if suspended else "user.resume"
        audit.record(session, caller.key.tenant, caller.actor, action, f"user:{user.name}")
    return json_response(asdict(user))


@router.delete("/v1/admin/users/{name:path}")
def remove_user(caller: Admin, services: ServicesOf, name: str) -> Response:
    """Remove the user with its memberships and keys."""
    with services.database.transaction() as session:
        directory.remove_user(session, caller.key.tenant, name)
        audit.record(session, caller.key.tenant, caller.actor, "user.remove", f"user:{name}")
    return no_content()


@router.get("/v1/admin/groups")
def list_groups(caller: Admin, services: ServicesOf) -> Response:
    """Return every group with its direct members."""
    with services.database.reading() as session:
        return json_response({"groups": [asdict(group) for group in directory.list_groups(session, caller.key.tenant)]})


@router.post("/v1/admin/groups")
def add_group(caller: Admin, services: ServicesOf, body: JsonBody[NewGroup]) -> Response:
    """Add a group, or members to the one of that name."""
    tenant = caller.key.tenant
    with services.database.transaction() as session:
        group = directory.add_group(session, tenant, body.name)
        for member in body.members:
            group = directory.add_member(session, tenant, group.name, member)
        audit.record(session, tenant, caller.actor, "group.add", f"group:{group.name}", members=body.members)
    return json_response(asdict(group), status=HTTPStatus.CREATED)


@router.post("/v1/admin/groups/{name:path}/members")
def add_member(caller: Admin, services: ServicesOf, name: str, body: JsonBody[Member]) -> Response:
    """Make a user or group a member; it counts from the next request on."""
    with services.database.transaction() as session:
        group = directory.add_member(session, caller.key.tenant, name, body.member)
        audit.record(session, caller.key.tenant, caller.actor, "member.add", f"group:{name}", member=body.member)
    return json_response(asdict(group))


@router.delete("/v1/admin/groups/{name:path}/members/{member:path}")
def remove_member(caller: Admin, services: ServicesOf, name: str, member: str) -> Response:
    """End a membership; it ends with the next request."""
    with services.database.transaction() as session:
        group = directory.remove_member(session, caller.key.tenant, name, member)
        audit.record(session, caller.key.tenant, caller.actor, "member.remove", f"group:{name}", member=member)
    return json_response(asdict(group))


@router.delete("/v1/admin/groups/{name:path}")
def remove_group(caller: Admin, services: ServicesOf, name: str) -> Response:
    """Remove the group and its memberships."""
    with services.database.transaction() as session:
        directory.remove_group(session, caller.key.tenant, name)
        audit.record(session, caller.key.tenant, caller.actor, "group.remove", f"group:{name}")
    return no_content()


@router.put("/v1/admin/directory")
@router.post("/v1/admin/directory")
async def import_directory(request: Request, caller: Admin, services: ServicesOf) -> Response:
    """Replace users, groups and folder entries by the file's, all or nothing; return how large it is now."""
    require_content_type(request, "application/json")
    summary = await run_in_threadpool(_import, services, caller, await request.body())
    services.wake()
    return json_response(asdict(summary))


def _import(services: Services, caller: Caller, raw: bytes) -> ImportSummary:
    try:
        data = directory.parse_directory(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise InvalidJson("The directory could not be read as JSON; nothing was changed.") from None
    with services.database.transaction() as session:
        summary = directory.import_directory(session, caller.key.tenant, data)
        audit.record(session, caller.key.tenant, caller.actor, "directory.import", "directory", **asdict(summary))
    return summary


@router.get("/v1/admin/tenants")
def list_tenants(caller: Operator, services: ServicesOf) -> Response:  # noqa: ARG001 - only the operator passes
    """Return every tenant."""
    with services.database.reading() as session:
        return json_response({"tenants": [{"name": name} for name in directory.list_tenants(session)]})


@router.post("/v1/admin/tenants")
def add_tenant(caller: Operator, services: ServicesOf, body: JsonBody[Named]) -> Response:
    """Add a tenant."""
    with services.database.transaction() as session:
        tenant = directory.add_tenant(session, body.name)
        audit.record(session, caller.key.tenant, caller.actor, "tenant.add", tenant)
    return json_response({"name": tenant}, status=HTTPStatus.CREATED)


@router.delete("/v1/admin/tenants/{name}")
def remove_tenant(caller: Operator, services: ServicesOf, name: str) -> Response:
    """Remove a tenant that has no documents."""
    if name == caller.key.tenant:
        raise InvalidInput("The tenant that runs this installation cannot be removed.")
    with services.database.transaction() as session:
        directory.remove_tenant(session, TenantId(name))
        audit.record(session, caller.key.tenant, caller.actor, "tenant.remove", name)
    return no_content()
