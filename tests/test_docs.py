"""What the documentation shows, exists: commands, routes, tests, settings and links."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from fastapi.routing import APIRoute

from api.app import ROUTES
from core.settings import Settings
from footnote.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
API = ROOT / "docs" / "api.md"

# Environment variables of the tests and benchmarks, which are no settings of the program.
OF_TESTS = {
    "FOOTNOTE_CPU_EMBEDDERS",
    "FOOTNOTE_SHARED",
    "FOOTNOTE_TEST_POSTGRES_URL",
    "FOOTNOTE_TEST_QDRANT_URL",
    "FOOTNOTE_TARGET",
    "FOOTNOTE_PUBLISH",
}

FENCED = re.compile(r"^```[a-z]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
COMMAND = re.compile(r"(?:FOOTNOTE_\w+=\S+ )*(?:\S*/)?footnote (.+)")
ROUTE = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^\s`?]*)[^`\n]*`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
SETTING = re.compile(r"\bFOOTNOTE_[A-Z0-9_]*")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


class UndocumentedError(AssertionError):
    """A command line that the program would not take."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def shown_commands(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the arguments of every `footnote` command shown, and whether it stands in a block, to be run as it is."""
    for block in FENCED.findall(text):
        for line in block.splitlines():
            if match := COMMAND.fullmatch(line.strip()):
                yield match[1], True
    for span in INLINE.findall(FENCED.sub("", text)):
        if (match := COMMAND.fullmatch(span)) and re.fullmatch(r"[a-z-]+.*", match[1]):
            yield match[1], False


def check_command(arguments: str, *, whole: bool) -> None:
    """Raise `UndocumentedError` unless the program takes these arguments; `whole`: nothing may be missing."""
    words = shlex.split(arguments, comments=True)
    command: click.Command = cli
    context = click.Context(cli, info_name="footnote")
    while True:
        try:
            given, rest, _ = command.make_parser(context).parse_args(list(words))
        except click.UsageError as error:
            raise UndocumentedError(f"footnote {arguments}: {error.format_message()}") from error
        _check_values(command, context, given, arguments, whole=whole)
        if not isinstance(command, click.Group):
            if rest:
                raise UndocumentedError(f"footnote {arguments}: {rest} is too much")
            return
        if not rest:
            if whole and not command.invoke_without_command:
                raise UndocumentedError(f"footnote {arguments}: a command is missing")
            return
        found = command.get_command(context, rest[0])
        if found is None:
            raise UndocumentedError(f"footnote {arguments}: there is no command {rest[0]!r}")
        command, words = found, rest[1:]
        context = click.Context(found, parent=context, info_name=found.name)


def _check_values(
    command: click.Command, context: click.Context, given: dict[str, object], arguments: str, *, whole: bool
) -> None:
    for parameter in command.params:
        value: Any = given.get(parameter.name or "")
        missing = not isinstance(value, (str, list, tuple)) or not value  # click has a mark of its own for nothing
        if missing:
            if whole and parameter.required:
                raise UndocumentedError(f"footnote {arguments}: {parameter.human_readable_name} is missing")
        elif isinstance(parameter.type, (click.Choice, click.IntRange, click.DateTime)):
            for one in value if isinstance(value, (list, tuple)) else [value]:
                try:
                    parameter.type.convert(one, parameter, context)
                except click.UsageError as error:
                    raise UndocumentedError(f"footnote {arguments}: {error.format_message()}") from error


def routes_of_the_app() -> set[tuple[str, str]]:
    return {
        (method, route.path.replace(":path}", "}"))
        for module in ROUTES
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in (route.methods or set()) - {"HEAD"}
    }


@cache
def promises_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return frozenset(function.name for function in functions)


def anchors(text: str) -> set[str]:
    """Return what headings are linked by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_that_is_shown_is_taken_by_the_program(page: Path) -> None:
    for arguments, whole in shown_commands(page.read_text(encoding="utf-8")):
        check_command(arguments, whole=whole)


@pytest.mark.parametrize(
    "arguments",
    [
        "nosuch",
        "user nosuch alice",
        "ingest folder --nosuch",
        "search one two",
        "search query --limit 0",
        "key add --user alice --role root",
        "key add --user alice --expires someday",
        "key add --role admin",
        "ask",
        "user",
    ],
)
def test_a_command_that_the_program_would_not_take_is_found_out(arguments: str) -> None:
    with pytest.raises(UndocumentedError):
        check_command(arguments, whole=True)


def test_the_readme_shows_commands() -> None:
    assert len(list(shown_commands((ROOT / "README.md").read_text(encoding="utf-8")))) >= 5


def test_the_page_of_the_interface_has_every_route_and_no_other() -> None:
    shown = set(ROUTE.findall(API.read_text(encoding="utf-8")))

    assert shown == routes_of_the_app()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = TEST.findall(page.read_text(encoding="utf-8"))

    assert [
        f"{path}::{test}" for path, test in named if not (ROOT / path).is_file() or test not in promises_in(ROOT / path)
    ] == []


def test_every_promise_names_tests() -> None:
    text = (ROOT / "docs" / "resiliency.md").read_text(encoding="utf-8")
    promises = re.split(r"^## (?=\d\. )", text, flags=re.MULTILINE)[1:]

    assert len(promises) == 9
    for promise in promises:
        assert TEST.search(promise), promise.splitlines()[0]
        assert "Open holes:" in promise, promise.splitlines()[0]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    settings = {f"FOOTNOTE_{field.upper()}" for field in Settings.model_fields} | OF_TESTS
    named = set(SETTING.findall(page.read_text(encoding="utf-8")))

    # `FOOTNOTE_PARSER_*` names all that begin so.
    assert {
        one
        for one in named
        if not (any(known.startswith(one) for known in settings) if one[-1] == "_" else one in settings)
    } == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for path, anchor in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        target = page if not path else (page.parent / path).resolve()
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(f"{path}#{anchor}")
    assert broken == []


def test_decisions_are_numbered_without_gaps_and_say_what_why_and_at_what_price() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. "), page.name
        assert all(f"**{part}.**" in text for part in ("Decision", "Why", "Price")), page.name
