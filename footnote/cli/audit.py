"""`audit`: compare index and catalogue now."""

import time
from typing import TYPE_CHECKING, Any

import click

from footnote.cli.options import Globals, fail, global_options

if TYPE_CHECKING:
    from footnote.client import Client

FIRST_WAIT_SECONDS = 0.1  # Before asking again; then twice as long each time,
LONGEST_WAIT_SECONDS = 2.0  # up to this.
REFILL_SECONDS = 300.0  # Without a document less to put back: then nobody waits for them any longer.
HEALED = {
    "points_removed": "points removed that no document has",
    "documents_refilled": "documents put back into the index",
    "access_rewritten": "documents whose access was written again",
}
FOREIGN = """points, more than half, are of documents that were never in this catalogue; none was removed.
  Does another installation use the same Qdrant server? Give each its own FOOTNOTE_QDRANT_PREFIX, and restart.
  Is the catalogue an older copy? Stop, remove the collection (embedded: index/ in the data directory), and start:
  the index is filled again from the catalogue."""


@click.command()
@click.option("--no-wait", is_flag=True, help="Ask for the audit and return.")
@click.option("--last", is_flag=True, help="Show the last audit instead of making one.")
@global_options
def audit(
    options: Globals,
    no_wait: bool,  # noqa: FBT001 - a flag
    last: bool,  # noqa: FBT001 - the same
) -> None:
    """Compare index and catalogue both ways, heal what differs, and count it.

    Waits until it is done, and until what it put back can be found again, as long as that becomes less.

    Exit code 1 when files of documents are missing, which only a backup brings back, and when another installation's
    points seem to be in this one's index.
    """
    with options.connect() as client:
        if last:
            audits = client.call("GET", "/v1/admin/audit")["audits"]
            found = next((one for one in audits if one["finished_at"]), None)
        else:
            found = client.call("POST", "/v1/admin/audit")
            if not no_wait:
                found = _finished(client, found["id"])
    options.result({"audit": found}, "No audit was made yet." if found is None else "\n".join(_lines(found)))
    if found is not None and (found["files_missing"] or found["foreign"]):
        fail()


def _finished(client: "Client", audit: str) -> dict[str, Any]:
    """Wait until the audit is done and what it put back is indexed, or no longer becomes less; return it."""
    wait, fewest, since = FIRST_WAIT_SECONDS, None, time.monotonic()
    while True:
        answer = client.call("GET", f"/v1/admin/audit/{audit}")
        found: dict[str, Any] = answer["audit"]
        refilling: int = answer["refilling"]
        if found["finished_at"]:
            if not found["documents_refilled"] or not refilling:
                return found
            if fewest is None or refilling < fewest:
                fewest, since = refilling, time.monotonic()
            elif time.monotonic() - since >= REFILL_SECONDS:
                click.echo(
                    f"{refilling} documents are still on their way back; see `footnote status --queues`.", err=True
                )
                return found
        time.sleep(wait)
        wait = min(LONGEST_WAIT_SECONDS, wait * 2)


def _lines(found: dict[str, Any]) -> list[str]:
    if not found["finished_at"]:
        return [f"Audit {found['id']} was asked for; `footnote audit --last` shows it when it is done."]
    looked = f"Compared {found['points']} points, {found['documents']} documents and {found['files']} files."
    healed = [f"{found[kind]} {text}" for kind, text in HEALED.items() if found[kind]]
    lines = [looked]
    if healed or not found["foreign"]:
        lines.append(f"Healed: {', '.join(healed)}." if healed else "Index and catalogue agree.")
    if found["foreign"]:
        lines.append(f"{found['foreign']} {FOREIGN}")
    if found["files_missing"]:
        lines.append(f"{found['files_missing']} files are missing; restore them from a backup:")
        lines += [f"  document {one['document']} ({one['kind']})" for one in found["missing"]]
    return lines
