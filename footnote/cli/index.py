"""`index`: the search indexes in a process of their own."""

import click

from footnote.cli.options import Globals, global_options


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=6333, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: any free one.")
@global_options
def index(options: Globals, host: str, port: int) -> None:
    """Hold the search indexes and answer those who set FOOTNOTE_QDRANT_URL to this process."""
    from core.observability import configure_logging  # noqa: PLC0415 - only this command needs the engine
    from core.settings import Settings  # noqa: PLC0415 - the same
    from footnote.index_serving import serve_index  # noqa: PLC0415 - the same

    settings = Settings() if options.data is None else Settings(data=options.data)
    configure_logging(settings.log_level)

    def started(url: str) -> None:
        click.echo(
            f"The search indexes answer on {url}   (data: {settings.data.absolute()}). Stop with Ctrl-C.", err=True
        )

    serve_index(settings, host, port, started=started)
