"""The queues in words: a table for `footnote status --queues`, one line at the end of `footnote status`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from footnote.client import Client

Queue = dict[str, Any]
Answer = dict[str, Any]  # What /v1/admin/queues answers.

COLOURS = {"idle": "white", "working": "green", "waiting": "yellow", "slow": "yellow", "dead": "red"}
STATES = {"ready": "ready", "postponed": "put off", "leased": "in hand", "lapsed": "lapsed"}
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def read(client: "Client") -> Answer:
    """Return the queues and the reconciler; raises `Problem` for whoever does not run this installation."""
    answer: Answer = client.call("GET", "/v1/admin/queues")
    return answer


def summary(client: "Client") -> str | None:
    """Return one line on what is under way; None where there is nothing, or where the caller may not know."""
    from footnote.client import Problem  # noqa: PLC0415 - draws the HTTP client

    try:
        answer = read(client)
    except Problem:
        return None
    busy = [_short(queue) for queue in answer["queues"] if queue["verdict"] != "idle"]
    if answer["reconciler"] is not None and answer["reconciler"]["late"]:
        busy.append(click.style("nobody looks after them", fg="red"))
    return f"Queues: {', '.join(busy)}  (footnote status --queues tells more)" if busy else None


def table(answer: Answer) -> str:
    """Return what there is to know of each queue, a block of lines for each, and of who looks after them."""
    lines = [line for queue in answer["queues"] for line in _block(queue)]
    if answer["reconciler"] is not None:
        lines.append(reconciled(answer["reconciler"]))
    return "\n".join(lines)


def reconciled(reconciler: dict[str, Any]) -> str:
    """Return a line on the reconciler, which rings workers again: when it last came round, and what to do."""
    seconds = reconciler["age_seconds"]
    told = "has never come round" if seconds is None else f"came round {span(seconds)} ago"
    if not reconciler["late"]:
        return f"beat   {told}"
    return click.style(
        f"beat   {told}: is a worker with --queues maintenance --beat running, and its broker?", fg="red"
    )


def _short(queue: Queue) -> str:
    count = sum(queue["depth"].values())
    left = f", {span(queue['eta_seconds'])} left" if queue["eta_seconds"] else ""
    return f"{queue['queue']} {click.style(queue['verdict'], fg=COLOURS[queue['verdict']])} ({count}{left})"


def _block(queue: Queue) -> Iterator[str]:
    verdict = click.style(f"{queue['verdict']:<8}", fg=COLOURS[queue["verdict"]])
    yield f"{queue['queue']:<7}{verdict} {queue['detail']}"
    depth = {state: count for state, count in queue["depth"].items() if count}
    if depth:
        facts = [", ".join(f"{count} {STATES[state]}" for state, count in depth.items())]
        facts.append(f"the oldest {span(queue['oldest_seconds'])} old")
        if queue["progress"] is not None:
            facts.append(f"{queue['progress']:.0%} of what is in hand")
        yield f"       {'; '.join(facts)}"
    if queue["rate_per_minute"] is not None:
        left = f"; {span(queue['eta_seconds'])} left" if depth else ""
        yield f"       {queue['rate_per_minute']:.1f} done a minute{left}"
    for one in queue["put_off"]:
        yield f"       put off: {one['count']} {one['reason']}"
    for one in queue["failures"]:
        yield click.style(f"       failed: {one['count']} {one['reason']} ({one['stage']})", fg="red")


def span(seconds: float) -> str:
    """Return a time as people say it: 45 s, 12 min, 3.5 h, 2.1 d."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.1f} d"
