"""`up` and `doctor`."""

import os
import sys
from typing import TYPE_CHECKING

import click

from footnote.cli.options import Globals, fail, global_options

if TYPE_CHECKING:
    from footnote.runtime import Runtime


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: any free one.")
@global_options
def up(options: Globals, host: str, port: int) -> None:
    """Serve the API and the chat page; carries on with whatever was accepted before."""
    from core.observability import configure_logging  # noqa: PLC0415 - only this command needs the server's parts
    from core.settings import Settings  # noqa: PLC0415 - the same
    from footnote.serving import serve  # noqa: PLC0415 - the same

    settings = Settings() if options.data is None else Settings(data=options.data)
    configure_logging(settings.log_level)

    def started(runtime: "Runtime", url: str) -> None:
        from footnote.signing_in import sign_in_link  # noqa: PLC0415 - the same

        click.echo(f"Footnote answers on {url}   (data: {runtime.directory.path})")
        if sys.stdout.isatty():  # A link that signs its reader in belongs on a screen, not in a log file.
            click.echo("Chat page, signed in as the owner (the link works once, and not for long):")
            click.echo(f"  {sign_in_link(runtime.directory, url)}")
        click.echo("Stop with Ctrl-C.")

    serve(settings, host, port, started=started)


@click.command()
@global_options
def doctor(options: Globals) -> None:
    """Check this installation: data directory, model, sandbox layers, and what to do about what is missing."""
    from core.observability import configure_logging  # noqa: PLC0415 - only this command needs it
    from footnote.checkup import examine  # noqa: PLC0415 - the same

    configure_logging("warning")  # What is found is printed; events would stand between.
    checks = examine(options)
    lines = []
    for check in checks:
        mark = click.style("ok  ", fg="green") if check.ok else click.style("FAIL", fg="red")
        lines.append(f"{mark} {check.name}: {check.finding}" + ("" if check.ok else f"\n     {check.remedy}"))
    options.result(
        {"ok": all(check.ok for check in checks), "checks": [check.as_dict() for check in checks]},
        os.linesep.join(lines),
    )
    if not all(check.ok for check in checks):
        fail()
