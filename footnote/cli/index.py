"""`index`: the search indexes in a process of their own."""

from pathlib import Path

import click

from footnote.cli.options import Globals, global_options

PEM = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=6333, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: any free one.")
@click.option("--tls-cert", type=PEM, help="Certificate chain, as a PEM file: answer over TLS.")
@click.option("--tls-key", type=PEM, help="Private key of that certificate, as a PEM file.")
@global_options
def index(options: Globals, host: str, port: int, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Hold the search indexes and answer those who set FOOTNOTE_QDRANT_URL to this process."""
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together: give both, or neither.")
    from core.observability import configure_logging  # noqa: PLC0415 - only this command needs the engine
    from core.settings import Settings  # noqa: PLC0415 - the same
    from footnote.index_serving import Tls, serve_index  # noqa: PLC0415 - the same

    settings = Settings() if options.data is None else Settings(data=options.data)
    configure_logging(settings.log_level)

    tls = None if tls_cert is None or tls_key is None else Tls(certificate=tls_cert, key=tls_key)

    def started(url: str) -> None:
        click.echo(
            f"The search indexes answer on {url}   (data: {settings.data.absolute()}). Stop with Ctrl-C.", err=True
        )

    serve_index(settings, host, port, tls=tls, started=started)
