"""`worker`: a process that works for APIs and other processes, rung by a broker."""

import sys

import click

from footnote.cli.options import Globals, global_options


@click.command()
@click.option("--queues", required=True, help="Comma-separated: parse, embed, index, maintenance.")
@click.option("--concurrency", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes of the pool.")
@click.option("--beat", is_flag=True, help="Ring the reconciler too; one worker of an installation should.")
@global_options
def worker(options: Globals, queues: str, concurrency: int, *, beat: bool) -> None:
    """Work for these queues until told to stop. It ends with 1 when it cannot go on: let something start it again."""
    from core.settings import Settings  # noqa: PLC0415 - only this command needs Celery and what it runs
    from ingestion.celery_worker import checked_queues, run  # noqa: PLC0415 - the same

    try:
        names = checked_queues(queues)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--queues") from error
    settings = Settings() if options.data is None else Settings(data=options.data)
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    sys.exit(run(settings, names, concurrency=concurrency, beat=beat))
