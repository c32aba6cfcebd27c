"""`user`, `group`, `tenant`, `key` and `directory`: who is who, and who may do what."""

from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import click

from footnote.cli.options import Globals, global_options


def _path(*parts: str) -> str:
    return "/v1/admin/" + "/".join(quote(part, safe="") for part in parts)


@click.group()
@global_options
def user(_options: Globals) -> None:
    """Users of the directory."""


@user.command("add")
@click.argument("name")
@global_options
def add_user(options: Globals, name: str) -> None:
    """Add the user NAME."""
    with options.connect() as client:
        added = client.call("POST", _path("users"), json={"name": name})
    options.result(added, f"Added user:{name}.")


@user.command("list")
@global_options
def list_users(options: Globals) -> None:
    """List the users with their groups."""
    with options.connect() as client:
        answer = client.call("GET", _path("users"))
    lines = [
        f"{row['name']:<24} {'suspended' if row['suspended'] else 'active':<10} {', '.join(row['groups'])}"
        for row in answer["users"]
    ]
    options.result(answer, "\n".join(lines) or "No users.")


@user.command("remove")
@click.argument("name")
@global_options
def remove_user(options: Globals, name: str) -> None:
    """Remove the user NAME with its memberships and keys."""
    with options.connect() as client:
        client.call("DELETE", _path("users", name))
    options.result({"removed": name}, f"Removed user:{name}.")


@user.command("suspend")
@click.argument("name")
@global_options
def suspend_user(options: Globals, name: str) -> None:
    """Suspend the user NAME: from the next request on it reads nothing."""
    with options.connect() as client:
        changed = client.call("POST", _path("users", name, "suspend"))
    options.result(changed, f"user:{name} is suspended and reads nothing.")


@user.command("resume")
@click.argument("name")
@global_options
def resume_user(options: Globals, name: str) -> None:
    """Let the user NAME back in."""
    with options.connect() as client:
        changed = client.call("POST", _path("users", name, "resume"))
    options.result(changed, f"user:{name} is active.")


@click.group()
@global_options
def group(_options: Globals) -> None:
    """Groups of the directory; they may contain each other."""


@group.command("add")
@click.argument("name")
@click.option("--member", "members", multiple=True, metavar="PRINCIPAL", help="user:U or group:H (repeatable).")
@global_options
def add_group(options: Globals, name: str, members: tuple[str, ...]) -> None:
    """Add the group NAME, or members to it."""
    with options.connect() as client:
        added = client.call("POST", _path("groups"), json={"name": name, "members": list(members)})
    options.result(added, f"group:{name}: {', '.join(added['members']) or 'no members'}.")


@group.command("list")
@global_options
def list_groups(options: Globals) -> None:
    """List the groups with their direct members."""
    with options.connect() as client:
        answer = client.call("GET", _path("groups"))
    lines = [f"{row['name']:<24} {', '.join(row['members'])}" for row in answer["groups"]]
    options.result(answer, "\n".join(lines) or "No groups.")


@group.command("remove")
@click.argument("name")
@click.option("--member", "members", multiple=True, metavar="PRINCIPAL", help="Only this member (repeatable).")
@global_options
def remove_group(options: Globals, name: str, members: tuple[str, ...]) -> None:
    """Remove the group NAME, or only members of it."""
    with options.connect() as client:
        for member in members:
            client.call("DELETE", _path("groups", name, "members", member))
        if not members:
            client.call("DELETE", _path("groups", name))
    options.result({"removed": list(members) or name}, f"Removed {', '.join(members) or f'group:{name}'}.")


@click.group()
@global_options
def tenant(_options: Globals) -> None:
    """Tenants: organisations that share nothing."""


@tenant.command("add")
@click.argument("name")
@global_options
def add_tenant(options: Globals, name: str) -> None:
    """Add the tenant NAME."""
    with options.connect() as client:
        added = client.call("POST", _path("tenants"), json={"name": name})
    options.result(added, f"Added the tenant {name}. Next: footnote key add --tenant {name} --user U --role admin")


@tenant.command("list")
@global_options
def list_tenants(options: Globals) -> None:
    """List the tenants."""
    with options.connect() as client:
        answer = client.call("GET", _path("tenants"))
    options.result(answer, "\n".join(row["name"] for row in answer["tenants"]))


@tenant.command("remove")
@click.argument("name")
@global_options
def remove_tenant(options: Globals, name: str) -> None:
    """Remove the tenant NAME, which must have no documents."""
    with options.connect() as client:
        client.call("DELETE", _path("tenants", name))
    options.result({"removed": name}, f"Removed the tenant {name}.")


@click.group()
@global_options
def key(_options: Globals) -> None:
    """API keys; a secret is shown once, when its key is made."""


@key.command("add")
@click.option("--role", type=click.Choice(["reader", "editor", "admin"]), default="reader", show_default=True)
@click.option("--user", "user_name", required=True, help="The user that the key speaks for.")
@click.option("--scope", "scopes", multiple=True, help="Extra right, e.g. impersonate (repeatable).")
@click.option("--label", default="", help="What the key is for.")
@click.option("--expires", type=click.DateTime(), help="Day or moment (UTC) from which the key works no longer.")
@click.option("--tenant", "tenant_name", help="Another tenant than your own (for the owner).")
@global_options
def add_key(
    options: Globals,
    role: str,
    user_name: str,
    scopes: tuple[str, ...],
    label: str,
    expires: datetime | None,
    tenant_name: str | None,
) -> None:
    """Make a key for a user."""
    body: dict[str, object] = {"user": user_name, "role": role, "scopes": list(scopes), "label": label}
    if expires is not None:
        body["expires_at"] = f"{expires.isoformat()}Z"
    if tenant_name is not None:
        body["tenant"] = tenant_name
    with options.connect() as client:
        made = client.call("POST", _path("keys"), json=body)
    options.result(made, f"{made['secret']}\nKeep it: it is shown only now. (id {made['key']['id']})")


@key.command("list")
@global_options
def list_keys(options: Globals) -> None:
    """List the keys, without their secrets."""
    with options.connect() as client:
        answer = client.call("GET", _path("keys"))
    lines = [
        f"{row['id']}  {row['role']:<7} user:{row['user']:<20} {_validity(row)}  {row['label']}"
        for row in answer["keys"]
    ]
    options.result(answer, "\n".join(lines))


def _validity(row: dict[str, str | None]) -> str:
    if row["revoked_at"]:
        return "revoked"
    return f"expires {row['expires_at']}" if row["expires_at"] else "valid"


@key.command("remove")
@click.argument("identifier", metavar="ID")
@global_options
def remove_key(options: Globals, identifier: str) -> None:
    """Revoke the key ID: it opens nothing from the next request on."""
    with options.connect() as client:
        client.call("DELETE", _path("keys", identifier))
    options.result({"removed": identifier}, f"Revoked {identifier}.")


@click.group()
@global_options
def directory(_options: Globals) -> None:
    """The directory as a whole."""


@directory.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@global_options
def import_directory(options: Globals, file: Path) -> None:
    """Replace users, groups and folder entries by those of FILE (JSON), all or nothing."""
    with options.connect() as client:
        summary = client.call(
            "PUT", _path("directory"), content=file.read_bytes(), headers={"Content-Type": "application/json"}
        )
    options.result(summary, ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in summary.items()))
