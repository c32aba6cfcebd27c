"""Tenants and their directories: users, groups, memberships, suspension, and who somebody is when they ask."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, bindparam, delete, insert, literal, select, update
from sqlalchemy.orm import Session

from core.access import GROUP, OWNER, USER, Directory, closure, is_user, parse_name, parse_principal
from core.db.clock import now
from core.db.conversations import forget_users, remove_conversations
from core.db.directory_import import DirectoryImport, ImportSummary, import_directory, parse_directory
from core.db.inserting import insert_missing
from core.db.tables import GroupRow, MembershipRow, UserRow
from core.db.tenants import add_tenant, list_tenants, remove_tenant, require_tenant
from core.domain import EVERYONE, Principal, Role
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import TenantId

__all__ = [
    "DirectoryImport",
    "Group",
    "ImportSummary",
    "User",
    "add_group",
    "add_member",
    "add_tenant",
    "add_user",
    "impersonated",
    "import_directory",
    "list_groups",
    "list_tenants",
    "list_users",
    "parse_directory",
    "principal",
    "remove_group",
    "remove_member",
    "remove_tenant",
    "remove_user",
    "require_tenant",
    "set_suspended",
]


def _reach() -> Select[tuple[str, str]]:
    """Select every membership that is reachable upwards from the members `start`."""
    edge = MembershipRow.__table__.c
    start = select(edge.member, edge.group_name).where(
        edge.tenant == bindparam("tenant"), edge.member.in_(bindparam("start", expanding=True))
    )
    reach = start.cte("reach", recursive=True)
    above = select(edge.member, edge.group_name).join(reach, edge.member == literal(GROUP) + reach.c.group_name)
    reach = reach.union(above.where(edge.tenant == bindparam("tenant")))  # A union drops what it has seen: cycles end.
    return select(reach.c.member, reach.c.group_name)


# Built once: every request asks them, and composing them costs more than the database takes to answer.
_REACH = _reach()
_USERS = select(UserRow.__table__.c.name, UserRow.__table__.c.suspended).where(
    UserRow.__table__.c.tenant == bindparam("tenant"),
    UserRow.__table__.c.name.in_(bindparam("names", expanding=True)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of the directory with the groups it belongs to directly."""

    name: str
    suspended: bool
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of the directory with its direct members, `user:U` or `group:H`."""

    name: str
    members: tuple[str, ...]


def add_user(session: Session, tenant: TenantId, name: str) -> User:
    """Add an active user, who begins without conversations.

    :raises InvalidInput: the name is none.
    :raises Conflict: there is a user of that name.
    """
    user = parse_name(name)
    require_tenant(session, tenant)
    if session.get(UserRow, (tenant, user)) is not None:
        raise Conflict(f"There is a user {user!r} already.")
    session.execute(insert(UserRow).values(tenant=tenant, name=user, suspended=False, created_at=now(session)))
    remove_conversations(session, tenant, [user])  # Of questions under way when the last one of this name was removed.
    return User(name=user, suspended=False, groups=_groups_of(session, tenant, user))


def remove_user(session: Session, tenant: TenantId, name: str) -> None:
    """Remove the user, its memberships, its API keys, its conversations and what was answered in them.

    Entries that name it stay, and match nobody.

    :raises NotFound: there is no such user.
    :raises Conflict: it is the owner, without whom the installation could not be administered.
    """
    if name == OWNER:
        raise Conflict("The owner cannot be removed.")
    gone = delete(UserRow).where(UserRow.tenant == tenant, UserRow.name == name).returning(UserRow.name)
    if session.execute(gone).first() is None:
        raise NotFound(f"There is no user {name!r}.")
    session.execute(delete(MembershipRow).where(MembershipRow.tenant == tenant, MembershipRow.member == USER + name))
    forget_users(session, tenant, [name])


def list_users(session: Session, tenant: TenantId) -> list[User]:
    """Return every user, by name, with its direct groups."""
    groups: dict[str, list[str]] = {}
    memberships = select(MembershipRow.member, MembershipRow.group_name).where(
        MembershipRow.tenant == tenant, MembershipRow.member.startswith(USER, autoescape=True)
    )
    for member, group in session.execute(memberships.order_by(MembershipRow.group_name)):
        groups.setdefault(member, []).append(group)
    users = select(UserRow.name, UserRow.suspended).where(UserRow.tenant == tenant).order_by(UserRow.name)
    return [
        User(name=name, suspended=suspended, groups=tuple(groups.get(USER + name, ())))
        for name, suspended in session.execute(users)
    ]


def set_suspended(session: Session, tenant: TenantId, name: str, *, suspended: bool) -> User:
    """Suspend a user, who reads nothing from now on and whose keys open nothing, or let them back in.

    :raises NotFound: there is no such user.
    :raises Conflict: it is the owner.
    """
    if name == OWNER and suspended:
        raise Conflict("The owner cannot be suspended.")
    statement = update(UserRow).where(UserRow.tenant == tenant, UserRow.name == name).values(suspended=suspended)
    if session.execute(statement.returning(UserRow.name)).first() is None:
        raise NotFound(f"There is no user {name!r}.")
    return User(name=name, suspended=suspended, groups=_groups_of(session, tenant, name))


def add_group(session: Session, tenant: TenantId, name: str) -> Group:
    """Add a group, or return the one of that name.

    :raises InvalidInput: the name is none.
    """
    group = parse_name(name)
    require_tenant(session, tenant)
    insert_missing(session, GroupRow, [{"tenant": tenant, "name": group, "created_at": now(session)}])
    return _group(session, tenant, group)


def remove_group(session: Session, tenant: TenantId, name: str) -> None:
    """Remove the group and its memberships. Entries that name it stay, and match nobody.

    :raises NotFound: there is no such group.
    """
    session.execute(delete(MembershipRow).where(MembershipRow.tenant == tenant, MembershipRow.group_name == name))
    session.execute(delete(MembershipRow).where(MembershipRow.tenant == tenant, MembershipRow.member == GROUP + name))
    gone = delete(GroupRow).where(GroupRow.tenant == tenant, GroupRow.name == name).returning(GroupRow.name)
    if session.execute(gone).first() is None:
        raise NotFound(f"There is no group {name!r}.")


def list_groups(session: Session, tenant: TenantId) -> list[Group]:
    """Return every group, by name, with its direct members."""
    members: dict[str, list[str]] = {}
    memberships = select(MembershipRow.group_name, MembershipRow.member).where(MembershipRow.tenant == tenant)
    for group, member in session.execute(memberships.order_by(MembershipRow.member)):
        members.setdefault(group, []).append(member)
    groups = select(GroupRow.name).where(GroupRow.tenant == tenant).order_by(GroupRow.name)
    return [Group(name=name, members=tuple(members.get(name, ()))) for name in session.execute(groups).scalars()]


def add_member(session: Session, tenant: TenantId, group: str, member: str) -> Group:
    """Make `user:U` or `group:H` a member. It takes effect with the next request; no index is told.

    A member that the directory does not know yet is recorded, and counts once it is added.

    :raises NotFound: there is no such group.
    :raises InvalidInput: the member is neither a user nor a group.
    """
    principal = _member(member)
    if session.get(GroupRow, (tenant, group)) is None:
        raise NotFound(f"There is no group {group!r}.")
    insert_missing(session, MembershipRow, [{"tenant": tenant, "group_name": group, "member": principal}])
    return _group(session, tenant, group)


def remove_member(session: Session, tenant: TenantId, group: str, member: str) -> Group:
    """End a membership; it ends with the next request.

    :raises NotFound: there is no such group, or no such member of it.
    """
    principal = _member(member)
    row = MembershipRow
    here = (row.tenant == tenant, row.group_name == group, row.member == principal)
    if session.execute(delete(row).where(*here).returning(row.member)).first() is None:
        raise NotFound(f"{principal!r} is no direct member of a group {group!r}.")
    return _group(session, tenant, group)


def principal(session: Session, tenant: TenantId, user: str, *, role: Role, scopes: Collection[str] = ()) -> Principal:
    """Return who the user is right now. A suspended or unknown user gets an empty closure, which reads nothing."""
    name = USER + user
    directory = _directory(session, tenant, [name])
    known = closure(directory, [name]) if user in directory.users else frozenset()
    return Principal(tenant=tenant, closure=known, user=user, role=role, scopes=frozenset(scopes))


def impersonated(session: Session, tenant: TenantId, principals: Sequence[str], *, role: Role = "reader") -> Principal:
    """Return somebody who is exactly these principals, what nested groups add, and `*`; for `--as`.

    Names that the directory does not know are valid and match entries of that name. A suspended user among them, or
    none given: an empty closure. No scope is passed on. `user` is set if exactly one user is among them.

    :raises InvalidInput: one of them is no principal.
    """
    given = sorted({parse_principal(text) for text in principals})
    users = [name.removeprefix(USER) for name in given if is_user(name)]
    return Principal(
        tenant=tenant,
        closure=closure(_directory(session, tenant, given), given),
        user=users[0] if len(users) == 1 else None,
        role=role,
    )


def _directory(session: Session, tenant: TenantId, principals: Sequence[str]) -> Directory:
    """Read what is reachable upwards from the principals, in two statements; members of groups are never listed."""
    names = [name.removeprefix(USER) for name in principals if is_user(name)]
    users = session.execute(_USERS, {"tenant": tenant, "names": names})
    memberships: dict[str, set[str]] = {}
    start = [name for name in principals if name != EVERYONE]
    for row in session.execute(_REACH, {"tenant": tenant, "start": start}):
        memberships.setdefault(row.member, set()).add(row.group_name)
    return Directory(
        users={row.name: row.suspended for row in users},
        memberships={member: frozenset(groups) for member, groups in memberships.items()},
    )


def _group(session: Session, tenant: TenantId, name: str) -> Group:
    row = MembershipRow
    members = select(row.member).where(row.tenant == tenant, row.group_name == name).order_by(row.member)
    return Group(name=name, members=tuple(session.execute(members).scalars()))


def _groups_of(session: Session, tenant: TenantId, user: str) -> tuple[str, ...]:
    row = MembershipRow
    groups = select(row.group_name).where(row.tenant == tenant, row.member == USER + user).order_by(row.group_name)
    return tuple(session.execute(groups).scalars())


def _member(text: str) -> str:
    member = parse_principal(text)
    if member == EVERYONE:
        raise InvalidInput("* cannot be a member: write user:NAME or group:NAME.")
    return member
