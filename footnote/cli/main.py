"""`footnote`: the group of all commands, and how an error becomes a sentence or a JSON object and an exit code."""

import json
import sys
from importlib import import_module

import click

from footnote.cli.options import FAILED, Globals, global_options

USAGE = 2

_COMMANDS = {  # name: (module, function, help); the modules are imported only when their command runs
    "up": ("serve", "up", "Serve the API and the chat page."),
    "doctor": ("serve", "doctor", "Check this installation and say what is missing."),
    "index": ("index", "index", "Hold the search indexes in a process of their own."),
    "worker": ("worker", "worker", "Work for an API that has a broker: parse, embed, index, maintenance."),
    "ingest": ("documents", "ingest", "Take in files and folders, and wait until they can be searched."),
    "status": ("documents", "status", "Show what became of the documents, or of one."),
    "deadletters": ("deadletters", "deadletters", "List, show and replay the documents that failed."),
    "delete": ("documents", "delete", "Delete a document everywhere."),
    "acl": ("access", "acl", "Show or change who may read a document or folder."),
    "user": ("directory", "user", "Users: add, list, remove, suspend, resume."),
    "group": ("directory", "group", "Groups: add, list, remove."),
    "tenant": ("directory", "tenant", "Tenants: add, list, remove."),
    "key": ("directory", "key", "API keys: add, list, remove."),
    "directory": ("directory", "directory", "Import users, groups and folder entries."),
    "search": ("ask", "search", "Find passages."),
    "ask": ("ask", "ask", "Ask a question; every sentence of the answer is cited."),
    "audit": ("audit", "audit", "Compare index and catalogue both ways, and heal what differs."),
    "bench": ("bench", "bench", "Measure this installation."),
}


class Commands(click.Group):
    """The commands by name, each imported when it is used; their help is here, so that `--help` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, function, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"footnote.cli.{module}"), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="footnote-rag", prog_name="footnote")
@global_options
def cli(_options: Globals) -> None:
    """Answers from your own documents, with a footnote under every sentence that can be checked."""


def main() -> None:
    """Run the command line: exit 0 when done, 1 when the thing asked for failed, 2 on wrong usage."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        if _wants_json():
            _print_problem({"title": "Wrong usage", "code": "usage", "detail": error.format_message()})
        else:
            error.show()
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(FAILED)
    except Exception as error:
        if not _told(error):
            raise
        sys.exit(FAILED)


def _told(error: Exception) -> bool:
    """Tell the user about the error; False when it is none that the program knows, and a traceback should follow."""
    from core.errors import FootnoteError  # noqa: PLC0415 - only needed on the way out
    from footnote.client import Problem  # noqa: PLC0415 - the same

    error = _of_settings(error) or error
    if not isinstance(error, FootnoteError):
        if _wants_json():
            _print_problem({"title": FootnoteError.title, "code": "internal", "detail": type(error).__name__})
        return False
    if not _wants_json():
        click.echo(f"footnote: {error.detail}", err=True)
    elif isinstance(error, Problem):
        _print_problem(error.body)
    else:
        _print_problem({"title": error.title, "status": int(error.status), "code": error.code, "detail": error.detail})
    return True


def _of_settings(error: Exception) -> Exception | None:
    """Return what is wrong with the settings as a sentence, None for another error."""
    from pydantic import ValidationError  # noqa: PLC0415 - only needed on the way out

    from core.errors import InvalidInput  # noqa: PLC0415 - the same

    if not isinstance(error, ValidationError) or error.title != "Settings":
        return None
    wrong = (f"FOOTNOTE_{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors(include_input=False))
    return InvalidInput(f"The settings are not valid: {'; '.join(wrong)}.")


def _wants_json() -> bool:
    return "--json" in sys.argv[1:]


def _print_problem(problem: dict[str, object]) -> None:
    click.echo(json.dumps({"error": problem}, ensure_ascii=False))
