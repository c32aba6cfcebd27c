"""`search` and `ask`."""

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from footnote.cli.options import Globals, fail, global_options

if TYPE_CHECKING:
    from footnote.client import Client
    from footnote.streaming import Event


@click.command()
@click.argument("query")
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="Most passages to return.")
@click.option("--explain", is_flag=True, help="Show the rank of each passage in every step.")
@global_options
def search(options: Globals, query: str, limit: int, explain: bool) -> None:  # noqa: FBT001 - a flag
    """Find the passages that you may read and that match QUERY best."""
    with options.connect() as client:
        answer = client.call("POST", "/v1/search", json={"query": query, "limit": limit, "explain": explain})
    options.result(answer, "\n\n".join(_hits(answer["hits"], explain=explain)) or "Nothing found that you may read.")


def _hits(hits: list[dict[str, Any]], *, explain: bool) -> Iterator[str]:
    for number, hit in enumerate(hits, start=1):
        where = f"{hit['name']}, page {hit['page']}" if hit["page"] is not None else hit["name"]
        line = click.style(f"{number}. {where}", bold=True)
        if explain:
            ranks = hit["ranks"]
            line += "".join(f"  {arm} {rank if rank is not None else '-'}" for arm, rank in ranks.items())
        yield f"{line}\n{textwrap.shorten(' '.join(hit['text'].split()), 400, placeholder=' …')}"


@click.command()
@click.argument("question")
@click.option("--model", help="Chat model to ask (default: the configured one).")
@click.option("--conversation", help="Go on with this conversation.")
@global_options
def ask(options: Globals, question: str, model: str | None, conversation: str | None) -> None:
    """Ask QUESTION; the answer is streamed, and every sentence of it carries a footnote."""
    body = {"question": question}
    if model:
        body["model"] = model
    if conversation:
        body["conversation"] = conversation
    with options.connect() as client:
        if options.json:
            click.echo(json.dumps(client.call("POST", "/v1/chat", json=body), ensure_ascii=False))
            return
        ended = show_answer(client, body)
    if ended is None or ended.type == "error":
        detail = ended.data.get("detail") if ended is not None else "The stream ended before the answer did."
        click.echo(f"footnote: {detail}", err=True)
        fail()


def show_answer(client: "Client", body: dict[str, str]) -> "Event | None":
    """Ask, print the answer as it streams and its footnotes below; return the event that ended it, if one did."""
    from footnote.streaming import events  # noqa: PLC0415 - only here is a stream read

    ended = None
    citations: dict[int, dict[str, Any]] = {}
    for event in events(client, body):
        if event.type == "delta":
            click.echo(event.data["text"], nl=False)
        elif event.type == "citation":
            citations.setdefault(event.data["n"], event.data)
        elif event.type in {"done", "error"}:
            ended = event
    click.echo()
    for number, citation in sorted(citations.items()):
        click.echo(footnote_line(number, citation))
    return ended


def footnote_line(number: int, citation: dict[str, Any]) -> str:
    """Return a citation as a footnote for a terminal: number, file, page and the very words."""
    where = citation["name"] + (f", page {citation['page']}" if citation["page"] is not None else "")
    quote = textwrap.shorten(" ".join(citation["quote"].split()), 160, placeholder=" …")
    mark = "" if citation["verified"] else " (not verified)"
    return f"  [{number}] {click.style(where, bold=True)}{mark}\n      “{quote}”"
