"""`acl`: who may read a document or folder."""

from typing import Any

import click

from footnote.cli.documents import resolve
from footnote.cli.options import Globals, global_options


@click.command()
@click.argument("document", required=False)
@click.option("--source", help="A source instead of a document: its entries hold for all that is in it.")
@click.option("--folder", default="", help="A folder of that source (default: its root).")
@click.option("--allow", multiple=True, metavar="PRINCIPAL", help="user:U, group:G or * may read (repeatable).")
@click.option("--deny", multiple=True, metavar="PRINCIPAL", help="May not read, whatever else allows it (repeatable).")
@click.option("--remove", multiple=True, metavar="PRINCIPAL", help="Take the principal's entries away (repeatable).")
@click.option("--inherit/--no-inherit", default=None, help="Whether the folder's entries hold for the document.")
@global_options
def acl(
    options: Globals,
    document: str | None,
    source: str | None,
    folder: str,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    remove: tuple[str, ...],
    inherit: bool | None,  # noqa: FBT001 - a flag of three states
) -> None:
    """Show or change who may read DOCUMENT (its id or name), or a source or folder. Bare: own, inherited, effective."""
    if (document is None) == (source is None):
        raise click.UsageError("Name a DOCUMENT or a --source, one of them.")
    if source is not None and inherit is not None:
        raise click.UsageError("--inherit and --no-inherit are for documents.")
    if document is not None and folder:
        raise click.UsageError("--folder goes with --source.")
    change: dict[str, Any] = {"allow": list(allow), "deny": list(deny), "remove": list(remove)}
    changes = bool(allow or deny or remove or inherit is not None)
    with options.connect() as client:
        if source is not None:
            target = {"source": source, "folder": folder}
            path = "/v1/sources/acl"
            held = (
                client.call("PATCH", path, json=target | change) if changes else client.call("GET", path, params=target)
            )
        else:
            path = f"/v1/documents/{resolve(client, document or '')}/acl"
            held = (
                client.call("PATCH", path, json=change | {"inherit": inherit}) if changes else client.call("GET", path)
            )
    options.result(held, _text(held))


def _text(held: dict[str, Any]) -> str:
    inherited = [
        f"{entry['effect']} {entry['principal']} (folder {entry['folder'] or '/'})" for entry in held["inherited"]
    ]
    if held.get("inherit") is False:
        inherited = ["nothing (inherit is off)"]
    rows = (("own", _entries(held["own"])), ("inherited", inherited), ("effective", _entries(held["effective"])))
    return "\n".join(f"{label:<10} {', '.join(values) or '-'}" for label, values in rows)


def _entries(entries: dict[str, list[str]]) -> list[str]:
    return [f"{effect} {principal}" for effect in ("allow", "deny") for principal in entries[effect]]
