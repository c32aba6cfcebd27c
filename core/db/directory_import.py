"""Replaces a tenant's directory by a file's: users, groups, memberships and folder entries, all or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import delete, insert, select, tuple_, update
from sqlalchemy.orm import Session

from core.access import GROUP, OWNER, USER, Entry, normalise_folder, parse_name, parse_principal
from core.db.access import add_entries, documents_below, effective_of, queue_access_tasks
from core.db.access_facts import batches
from core.db.clock import now
from core.db.conversations import forget_users, remove_conversations
from core.db.tables import AccessEntryRow, ApiKeyRow, GroupRow, MembershipRow, UserRow
from core.db.tenants import require_tenant
from core.domain import Effect
from core.errors import Conflict, InvalidInput
from core.ids import TenantId

EFFECTS: tuple[Effect, Effect] = ("allow", "deny")
ORIGIN = "directory"  # Entries of this origin are an import's, and the next import's to replace.
_PLAIN = {"synchronize_session": False}  # The session holds no objects that these statements could make stale.


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryImport:
    """A whole directory. `memberships` holds (group, member) with members `user:U` or `group:H`.

    Every name that is mentioned anywhere is a user or group of it, so that a file need not say things twice.
    """

    users: frozenset[str]
    suspended: frozenset[str]
    groups: frozenset[str]
    memberships: frozenset[tuple[str, str]]
    folders: Mapping[str, frozenset[Entry]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """How large the directory is now, and how many documents' access the folder entries changed.

    `suspended`: users with API keys whom the import no longer names, suspended by it.
    """

    users: int
    groups: int
    memberships: int
    folders: int
    documents_changed: int
    suspended: int = 0


def parse_directory(data: object) -> DirectoryImport:
    """Return the directory that a decoded JSON file describes; top-level keys that mean nothing here are ignored.

    :raises InvalidInput: something has the wrong shape; the message says where.
    """
    if not isinstance(data, Mapping):
        raise InvalidInput("A directory is a JSON object with `users`, `groups`, `suspended` and `folders`.")
    users: set[str] = set()
    groups: set[str] = set()
    memberships: set[tuple[str, str]] = set()
    for name, belongs_to in _object(data, "users").items():
        user = _name(name, USER)
        users.add(user)
        for group in _names(belongs_to, GROUP, f"users[{name!r}]"):
            groups.add(group)
            memberships.add((group, USER + user))
    for name, definition in _object(data, "groups").items():
        group = _name(name, GROUP)
        where = f"groups[{name!r}]"
        if not isinstance(definition, Mapping):
            raise InvalidInput(f"{where} must be an object with `members` and `subgroups`.")
        members = _names(definition.get("members"), USER, f"{where}.members")
        subgroups = _names(definition.get("subgroups"), GROUP, f"{where}.subgroups")
        users |= members
        groups |= {group} | subgroups
        memberships |= {(group, USER + member) for member in members}
        memberships |= {(group, GROUP + subgroup) for subgroup in subgroups}
    suspended = _names(data.get("suspended"), USER, "suspended")
    return DirectoryImport(
        users=frozenset(users | suspended),
        suspended=suspended,
        groups=frozenset(groups),
        memberships=frozenset(memberships),
        folders=_folders(_object(data, "folders")),
    )


def import_directory(session: Session, tenant: TenantId, data: DirectoryImport) -> ImportSummary:
    """Replace the tenant's users, groups, memberships and earlier imported folder entries by these.

    Of the users that the import does not name, the owner stays, without groups; who has API keys is suspended, so that
    the keys open nothing until an import names the user again; all others go, with their conversations. Entries made
    by hand stay. Index tasks are queued only for documents whose effective access differs afterwards.

    :raises NotFound: there is no such tenant.
    :raises Conflict: it would suspend the owner.
    """
    require_tenant(session, tenant)
    if OWNER in data.suspended:
        raise Conflict("The owner cannot be suspended; nothing was changed.")
    session.expunge_all()  # What follows goes past the session's own objects.
    suspended = _replace_users(session, tenant, data)
    _replace_groups(session, tenant, data)
    changed = _replace_folders(session, tenant, data)
    return ImportSummary(
        users=len(data.users),
        groups=len(data.groups),
        memberships=len(data.memberships),
        folders=len(data.folders),
        documents_changed=changed,
        suspended=suspended,
    )


def _replace_users(session: Session, tenant: TenantId, data: DirectoryImport) -> int:
    """Replace the users; return how many that have keys were suspended because they are not named."""
    row = UserRow
    rows = session.execute(select(row.name, row.suspended).where(row.tenant == tenant))
    known = {found.name: found.suspended for found in rows}
    keyed = set(session.execute(select(ApiKeyRow.user_name).where(ApiKeyRow.tenant == tenant).distinct()).scalars())
    missing = known.keys() - data.users - {OWNER}
    for batch in batches(missing - keyed):
        session.execute(delete(row).where(row.tenant == tenant, row.name.in_(batch)), execution_options=_PLAIN)
    forget_users(session, tenant, missing - keyed)
    left = {name for name in missing & keyed if not known[name]}
    for suspended, names in ((True, data.suspended | left), (False, data.users - data.suspended)):
        for batch in batches([name for name in names if known.get(name, suspended) != suspended]):
            turned = update(row).where(row.tenant == tenant, row.name.in_(batch)).values(suspended=suspended)
            session.execute(turned, execution_options=_PLAIN)
    moment = now(session)
    if new := sorted(data.users - known.keys()):
        remove_conversations(session, tenant, new)  # As in `add_user`.
        session.execute(
            insert(row),
            [
                {"tenant": tenant, "name": name, "suspended": name in data.suspended, "created_at": moment}
                for name in new
            ],
        )
    return len(left)


def _replace_groups(session: Session, tenant: TenantId, data: DirectoryImport) -> None:
    edge = MembershipRow
    rows = session.execute(select(edge.group_name, edge.member).where(edge.tenant == tenant))
    edges = {(group, member) for group, member in rows}
    groups = set(session.execute(select(GroupRow.name).where(GroupRow.tenant == tenant)).scalars())
    for ended in batches(edges - data.memberships):
        session.execute(
            delete(edge).where(edge.tenant == tenant, tuple_(edge.group_name, edge.member).in_(ended)),
            execution_options=_PLAIN,
        )
    for gone in batches(groups - data.groups):
        session.execute(
            delete(GroupRow).where(GroupRow.tenant == tenant, GroupRow.name.in_(gone)), execution_options=_PLAIN
        )
    moment = now(session)
    if new := sorted(data.groups - groups):
        session.execute(insert(GroupRow), [{"tenant": tenant, "name": name, "created_at": moment} for name in new])
    if begun := sorted(data.memberships - edges):
        session.execute(
            insert(edge), [{"tenant": tenant, "group_name": group, "member": member} for group, member in begun]
        )


def _replace_folders(session: Session, tenant: TenantId, data: DirectoryImport) -> int:
    """Replace the imported folder entries; return how many documents' effective access that changed."""
    row = AccessEntryRow
    imported = (row.tenant == tenant, row.origin == ORIGIN)
    old: dict[str, set[Entry]] = {}
    for folder, principal, effect in session.execute(select(row.folder, row.principal, row.effect).where(*imported)):
        old.setdefault(folder or "", set()).add(Entry(principal, "allow" if effect == "allow" else "deny"))
    changed = {
        folder
        for folder in old.keys() | data.folders.keys()
        if old.get(folder, set()) != data.folders.get(folder, frozenset())
    }
    if not changed:
        return 0
    affected = documents_below(session, tenant, changed)
    before = effective_of(session, tenant, affected)
    for batch in batches(changed):
        session.execute(delete(row).where(*imported, row.folder.in_(batch)), execution_options=_PLAIN)
    places = [
        ({"folder": folder}, entry) for folder in sorted(changed) for entry in sorted(data.folders.get(folder, ()))
    ]
    add_entries(session, tenant, places, origin=ORIGIN)
    after = effective_of(session, tenant, affected)
    differing = [document for document in affected if before.get(document) != after.get(document)]
    queue_access_tasks(session, tenant, differing)
    return len(differing)


def _folders(data: Mapping[str, object]) -> dict[str, frozenset[Entry]]:
    folders: dict[str, frozenset[Entry]] = {}
    for path, definition in data.items():
        where = f"folders[{path!r}]"
        if not isinstance(definition, Mapping):
            raise InvalidInput(f"{where} must be an object with `allow` and `deny`.")
        entries = {
            Entry(parse_principal(text), effect)
            for effect in EFFECTS
            for text in _strings(definition.get(effect), f"{where}.{effect}")
        }
        folder = normalise_folder(path)
        folders[folder] = folders.get(folder, frozenset()) | entries  # `/a` and `a/` are one folder
    return {folder: entries for folder, entries in folders.items() if entries}


def _object(data: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = data.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(f"`{key}` must be a JSON object.")
    return value


def _strings(value: object, where: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidInput(f"{where} must be a list of strings.")
    return value


def _names(value: object, kind: str, where: str) -> frozenset[str]:
    return frozenset(_name(text, kind) for text in _strings(value, where))


def _name(text: str, kind: str) -> str:
    return parse_name(text.strip().removeprefix(kind))
