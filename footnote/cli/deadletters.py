"""`deadletters`: what failed and why, and trying it again."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import click

from core.domain import Reason, StageName
from footnote.cli.documents import resolve
from footnote.cli.options import Globals, global_options

PAGE = 100

_FILTERS = (
    click.option("--reason", type=click.Choice([reason.value for reason in Reason]), help="Those that failed for it."),
    click.option("--stage", type=click.Choice([stage.value for stage in StageName]), help="Those that failed there."),
    click.option("--source", help="Documents of this source."),
    click.option("--since", type=click.DateTime(), help="Those that failed then (UTC) or later."),
)


def _filtered(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_FILTERS):
        function = option(function)
    return function


@click.group(invoke_without_command=True)
@global_options
def deadletters(_options: Globals) -> None:
    """Documents that failed, and why; replay them once the cause is gone. Bare: list."""
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        context.invoke(list_dead_letters)


@deadletters.command("list")
@_filtered
@global_options
def list_dead_letters(
    options: Globals, reason: str | None, stage: str | None, source: str | None, since: datetime | None
) -> None:
    """List what failed, the newest documents first."""
    found: list[dict[str, Any]] = []
    cursor = None
    with options.connect() as client:
        while True:
            wanted = _wanted(reason, stage, source, since) | ({"cursor": cursor} if cursor else {})
            page = client.call("GET", "/v1/deadletters", params=wanted | {"limit": str(PAGE)})
            found += page["deadletters"]
            cursor = page["next"]
            if not cursor:
                break
    options.result({"deadletters": found}, "\n".join(map(_line, found)) or "No dead letters.")


@deadletters.command("show")
@click.argument("document", metavar="ID")
@global_options
def show_dead_letter(options: Globals, document: str) -> None:
    """Show why the document ID (its id or name) failed, with what the log says."""
    with options.connect() as client:
        letter = client.call("GET", f"/v1/deadletters/{resolve(client, document)}")
    options.result(letter, "\n".join(_lines(letter)))


@deadletters.command("replay")
@click.argument("document", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything that failed.")
@_filtered
@global_options
def replay_dead_letters(
    options: Globals,
    document: str | None,
    everything: bool,  # noqa: FBT001 - a flag
    reason: str | None,
    stage: str | None,
    source: str | None,
    since: datetime | None,
) -> None:
    """Try the document ID (its id or name) again, or all that match the options."""
    wanted = _wanted(reason, stage, source, since)
    if [document is not None, everything, bool(wanted)].count(True) != 1:
        raise click.UsageError("Name an ID, or --all, or any of --reason, --stage, --source and --since.")
    with options.connect() as client:
        if document is not None:
            done = client.call("POST", f"/v1/deadletters/{resolve(client, document)}/replay", repeatable=True)
        else:
            body: dict[str, Any] = {"all": True} if everything else wanted
            done = {"replayed": 0, "left": 0, "next": None}
            while True:  # One call ends after some thousands.
                more = {"cursor": done["next"]} if done["next"] else {}
                part = client.call("POST", "/v1/deadletters/replay", json=body | more, repeatable=True)
                done = {key: done[key] + part[key] for key in ("replayed", "left")} | {"next": part["next"]}
                if not part["next"]:
                    break
    counts = {key: done[key] for key in ("replayed", "left")}
    options.result(counts, _told(**counts))


def _wanted(reason: str | None, stage: str | None, source: str | None, since: datetime | None) -> dict[str, str]:
    moment = None if since is None else f"{since.isoformat()}Z"
    named = {"reason": reason, "stage": stage, "source": source, "since": moment}
    return {name: value for name, value in named.items() if value is not None}


def _told(replayed: int, left: int) -> str:
    if not replayed and not left:
        return "There is nothing to replay; nothing was changed."
    kept = f" {_documents(left)} left alone: you may see them and not change them." if left else ""
    return f"{_documents(replayed)} tried again; `footnote status` tells what becomes of them.{kept}"


def _documents(count: int) -> str:
    return f"{count} document{'' if count == 1 else 's'}"


def _line(letter: dict[str, Any]) -> str:
    where = f"{letter['stage']}, page {letter['page']}" if letter["page"] else letter["stage"]
    reason = click.style(f"{letter['reason']:<16}", fg="red")
    return f"{letter['document']}  {reason} {letter['name']}  ({where}; {_moment(letter['failed_at'])})"


def _lines(letter: dict[str, Any]) -> Iterator[str]:
    facts = {
        "document": letter["document"],
        "source": letter["source"],
        "stage": letter["stage"],
        "reason": click.style(letter["reason"], fg="red"),
        "page": letter["page"],
        "failed": f"{_moment(letter['failed_at'])}, at attempt {letter['attempts']}",
        "meanwhile": "the version before can be searched" if letter["searchable_version"] else None,
    }
    yield click.style(letter["name"], bold=True)
    yield from (f"{label:<10} {fact}" for label, fact in facts.items() if fact is not None)
    yield letter["detail"]
    if letter["excerpt"]:
        yield from ("", "What the log says:", letter["excerpt"])


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"
