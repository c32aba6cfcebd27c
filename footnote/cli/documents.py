"""`ingest`, `status` and `delete`."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from footnote.cli import queues
from footnote.cli.options import Globals, fail, global_options

if TYPE_CHECKING:
    from footnote.client import Client

COLOURS = {"searchable": "green", "failed": "red", "queued": "yellow", "leased": "yellow", "deleted": "white"}
SYMLINK = "symlink"


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--source", help="Name of the source (default: the absolute folder).")
@click.option("--allow", multiple=True, metavar="PRINCIPAL", help="user:U, group:G or * may read (repeatable).")
@click.option(
    "--deny", multiple=True, metavar="PRINCIPAL", help="May never read, whatever else allows it (repeatable)."
)
@click.option("--no-wait", is_flag=True, help="Return as soon as everything is accepted and safe.")
@global_options
def ingest(
    options: Globals,
    paths: tuple[Path, ...],
    source: str | None,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    no_wait: bool,  # noqa: FBT001 - a flag
) -> None:
    """Take in files and folders, and wait until each can be searched or has failed with a reason."""
    from footnote.uploading import Access, follow, summary, upload  # noqa: PLC0415 - draws the HTTP client
    from footnote.walking import distinct, walk  # noqa: PLC0415 - the same

    files = list(distinct(file for path in paths for file in walk(path, source)))
    with options.connect() as client:
        with _progress("Uploading", len(files)) as advanced:
            statuses = upload(client, files, Access(allow=allow, deny=deny), advanced=advanced)
        if not no_wait:
            waiting = sum(status["state"] in {"queued", "leased"} for status in statuses)
            with _progress("Indexing", waiting) as advanced:
                statuses = follow(client, statuses, advanced=advanced)
    options.result(summary(statuses), "\n".join(_report(statuses)))
    if any(status["state"] == "failed" and status["reason"] != SYMLINK for status in statuses):
        fail()


@contextmanager
def _progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left on a terminal; elsewhere nothing."""
    if not total or not sys.stderr.isatty():
        yield _unseen
        return
    from rich.console import Console  # noqa: PLC0415 - costs 0.1 s; only a terminal wants it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="")

        def advanced(count: int) -> None:
            bar.advance(task, count)
            speed = bar.tasks[task].speed
            bar.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield advanced


def _unseen(_count: int) -> None:
    """Progress that nobody watches."""


def _report(statuses: Sequence[dict[str, Any]]) -> Iterator[str]:
    few = len(statuses) <= 20  # noqa: PLR2004 - a screenful
    yield from (_line(status) for status in statuses if few or status["state"] != "searchable" or status["pages_lost"])
    totals = Counter(status["state"] for status in statuses)
    yield ", ".join(click.style(f"{count} {state}", fg=COLOURS[state]) for state, count in sorted(totals.items()))
    if lossy := sum(status["state"] == "searchable" and bool(status["pages_lost"]) for status in statuses):
        yield click.style(f"Warning: {lossy} of the searchable ones lack pages that could not be read.", fg="yellow")


def _line(status: dict[str, Any]) -> str:
    state = click.style(f"{status['state']:<10}", fg=COLOURS[status["state"]])
    facts = []
    if status["pages"]:
        facts.append(f"{status['pages']} pages")
    if status["chunks"]:
        facts.append(f"{status['chunks']} passages")
    if status["pages_lost"]:
        lost = ", ".join(map(str, status["pages_lost"]))
        facts.append(click.style(f"pages lost: {lost}", fg="yellow"))
    if status["reason"]:
        facts.append(f"{status['reason']}: {status['detail']}")
    elif status["state"] in {"queued", "leased"} and status["detail"]:
        facts.append(status["detail"])
    return f"{state} {status['name']}" + (f"  ({'; '.join(facts)})" if facts else "")


@click.command()
@click.argument("document", required=False)
@click.option("--source", help="Only documents of this source.")
@click.option("--state", type=click.Choice(list(COLOURS)), help="Only documents in this state.")
@click.option("--queues", "of_queues", is_flag=True, help="The queues instead: depth, age, rate, time left, failures.")
@global_options
def status(
    options: Globals,
    document: str | None,
    source: str | None,
    state: str | None,
    of_queues: bool,  # noqa: FBT001 - a flag
) -> None:
    """Show what became of your documents, or of DOCUMENT (its id or name)."""
    from footnote.uploading import OPEN, listed, summary  # noqa: PLC0415 - draws the HTTP client

    if of_queues and (document or source or state):
        raise click.UsageError("--queues shows all queues: name no document, source or state with it.")
    line = None
    with options.connect() as client:
        if of_queues:
            answer = queues.read(client)
            options.result(answer, queues.table(answer))
            return
        if document is not None:
            found = [client.call("GET", f"/v1/documents/{resolve(client, document)}")]
        else:
            filters = {key: value for key, value in (("source", source), ("state", state)) if value}
            found = list(listed(client, **filters))
            if not options.json and any(one["state"] in OPEN for one in found):
                line = queues.summary(client)
    told = "\n".join(_report(found)) if found else "No documents."
    options.result(summary(found), told if line is None else f"{told}\n{line}")


@click.command()
@click.argument("document")
@global_options
def delete(options: Globals, document: str) -> None:
    """Delete DOCUMENT (its id or name): denied at once, then removed from every store."""
    with options.connect() as client:
        receipt = client.call("DELETE", f"/v1/documents/{resolve(client, document)}")
    options.result(
        receipt, f"Deleted {document}: nobody can read it any more; its passages and files are being removed."
    )


def resolve(client: "Client", document: str) -> str:
    """Return the id of the document that is meant by an id or by a name.

    :raises NotFound: there is none that the caller may know of.
    :raises Conflict: the name is used in several sources.
    """
    from uuid import UUID  # noqa: PLC0415 - a command's own need

    from core.errors import Conflict, NotFound  # noqa: PLC0415 - the same

    try:
        return str(UUID(document))
    except ValueError:
        from footnote.uploading import listed  # noqa: PLC0415 - draws the HTTP client
    found = [status for status in listed(client, name=document) if status["name"] == document]
    if not found:
        raise NotFound(f"There is no document {document!r}; `footnote status` lists them.")
    if len(found) > 1:
        ids = ", ".join(status["document"] for status in found)
        raise Conflict(f"Several sources have a document {document!r}; name it by its id: {ids}.")
    return str(found[0]["document"])
