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


@bench.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--beir", type=click.Path(exists=True, path_type=Path, file_okay=False), help="Texts of this data set.")
@click.option("--texts", default=600, show_default=True, type=click.IntRange(min=1), help="How many, of 254 tokens.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Turns of each embedder.")
@global_options
def embed(options: Globals, paths: tuple[Path, ...], beir: Path | None, texts: int, rounds: int) -> None:
    """Embed texts (of files, or --beir) with each embedder that is here, in turns, beside sentence-transformers."""
    from core.observability import configure_logging  # noqa: PLC0415 - only this command needs the whole program
    from core.settings import Settings  # noqa: PLC0415 - the same
    from footnote.bench.embedding import bench_embedding  # noqa: PLC0415 - the same
    from footnote.bench.texts import passages, texts_of_beir, texts_of_files  # noqa: PLC0415 - the same
    from retrieval.factory import build_embedder  # noqa: PLC0415 - the same

    if (beir is None) == (not paths):
        raise click.UsageError("Name either files, or a data set with --beir.")
    settings = Settings()
    configure_logging(settings.log_level)
    tokenizer = build_embedder(settings).tokenizer
    found = texts_of_files(paths, settings) if beir is None else texts_of_beir(beir)
    report = bench_embedding(
        passages(found, tokenizer, texts),
        settings=settings,
        tokenizer=tokenizer,
        rounds=rounds,
        progress=lambda line: click.echo(line, err=True),
    )
    lines = [f"{report.texts} texts, {report.tokens} tokens", f"{'embedder':<24}{'tokens/s':>10}{'ratio':>8}"]
    lines += [f"{name:<24}{rate.tokens_per_second:>10,.0f}{rate.ratio:>8.2f}" for name, rate in report.rates.items()]
    lines += [f"{name}: {why}" for name, why in report.left_out.items()]
    options.result(report.as_dict(), "\n".join(lines))


@bench.command()
@click.option("--device", default="cuda", show_default=True, type=click.Choice(["cuda", "cpu"]), help="Where.")
@click.option(
    "--shape",
    default="bge-large",
    show_default=True,
    type=click.Choice(["bge-large", "bge-base", "minilm", "tiny"]),
    help="Of the model, whose weights are random.",
)
@click.option("--tokens", default=500_000, show_default=True, type=click.IntRange(min=1), help="Of all texts together.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Turns of each embedder.")
@global_options
def gpu(options: Globals, device: str, shape: str, tokens: int, rounds: int) -> None:
    """Embed generated texts on a GPU: tokens/s, and how much of its matrix products' rate the model makes use of."""
    from core.observability import configure_logging  # noqa: PLC0415 - only this command needs torch
    from core.settings import Settings  # noqa: PLC0415 - the same
    from footnote.bench.gpu import bench_gpu  # noqa: PLC0415 - the same

    configure_logging(Settings().log_level)
    report = bench_gpu(
        device=device, shape=shape, tokens=tokens, rounds=rounds, progress=lambda line: click.echo(line, err=True)
    )
    options.result(report.as_dict(), "\n".join(f"{name:<20}{value}" for name, value in report.as_dict().items()))


@bench.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--peer", is_flag=True, help="Compare with LlamaIndex's pipeline over the same texts (`make peers`).")
@global_options
def ingest(options: Globals, paths: tuple[Path, ...], peer: bool) -> None:  # noqa: FBT001 - a flag
    """Take files in, into a throw-away data directory, and compare with the embedder alone over the same texts."""
    from core.observability import configure_logging  # noqa: PLC0415 - only this command needs the whole program
    from core.settings import Settings  # noqa: PLC0415 - the same
    from footnote.bench.ingest import bench_ingest  # noqa: PLC0415 - the same
    from retrieval.factory import build_embedder  # noqa: PLC0415 - the same

    settings = Settings()
    configure_logging(settings.log_level)
    report = bench_ingest(
        paths,
        settings=settings,
        tokenizer=build_embedder(settings).tokenizer,
        peer=peer,
        progress=lambda line: click.echo(line, err=True),
    )
    options.result(report.as_dict(), "\n".join(f"{name:<24}{value}" for name, value in report.as_dict().items()))
