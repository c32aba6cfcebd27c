"""Global options, taken before or after the command, and how every command ends."""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click

if TYPE_CHECKING:
    from footnote.client import Client

P = ParamSpec("P")

FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Globals:
    """What holds for every command."""

    data: Path | None = None
    read_as: str | None = None
    json: bool = False

    def merged(self, other: "Globals") -> "Globals":
        """Return these options, overridden by those that `other` names."""
        return Globals(
            data=other.data or self.data, read_as=other.read_as or self.read_as, json=other.json or self.json
        )

    @contextmanager
    def connect(self) -> "Iterator[Client]":
        """Yield a client of the server that holds the data directory."""
        from footnote.client import connect  # noqa: PLC0415 - the HTTP client costs 0.1 s that `--help` need not pay

        with connect(self.data, read_as=self.read_as) as client:
            yield client

    def result(self, value: object, text: str) -> None:
        """Print the result: one JSON object with `--json`, else the text for people."""
        click.echo(json.dumps(value, ensure_ascii=False) if self.json else text)


_OPTIONS = (
    click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        help="Data directory (default: $FOOTNOTE_DATA or ./.footnote).",
    ),
    click.option("--as", "read_as", metavar="PRINCIPALS", help="Read as these, e.g. user:alice,group:eng."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
)


def global_options(function: Callable[P, None]) -> Callable[..., None]:
    """Add the global options to a command or group; a command gets them, merged, as its first argument."""

    @functools.wraps(function)
    def wrapper(*args: Any, data: Path | None, read_as: str | None, as_json: bool, **kwargs: Any) -> None:  # noqa: ANN401
        context = click.get_current_context()
        above = context.parent.obj if context.parent is not None and context.parent.obj is not None else Globals()
        context.obj = replace(above.merged(Globals(data=data, read_as=read_as, json=as_json)))
        return function(context.obj, *args, **kwargs)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper


def fail() -> None:
    """End the command with the exit code that says the thing asked for failed."""
    sys.exit(FAILED)
