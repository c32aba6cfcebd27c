"""`bench`: measurements of this installation."""

from pathlib import Path

import click

from footnote.cli.options import Globals, global_options


@click.group()
@global_options
def bench(_options: Globals) -> None:
    """Measure this installation."""


@bench.command()
@click.option("--beir", required=True, type=click.Path(exists=True, path_type=Path, file_okay=False), help="Data set.")
@global_options
def retrieval(options: Globals, beir: Path) -> None:
    """Rank a judged collection in BEIR's form with every stage of the search."""
    from core.observability import configure_logging  # noqa: PLC0415 - only this command needs the whole program
    from core.settings import Settings  # noqa: PLC0415 - the same
    from footnote.bench.retrieval import STAGES, bench_retrieval  # noqa: PLC0415 - the same

    settings = Settings()
    configure_logging(settings.log_level)
    report = bench_retrieval(beir, settings, progress=lambda line: click.echo(line, err=True))
    lines = [f"{'stage':<10}{'nDCG@10':>9}{'MRR@10':>9}{'R@10':>9}{'R@100':>9}{'p50 ms':>9}{'p99 ms':>9}"]
    for stage in STAGES:
        scores, times = report.stages[stage], report.timings_ms[stage]
        figures = "".join(f"{value:>9.4f}" for value in scores.values())
        lines.append(f"{stage:<10}{figures}{times['p50']:>9.1f}{times['p99']:>9.1f}")
    options.result(report.as_dict(), "\n".join(lines))
