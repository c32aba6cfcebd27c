"""What `footnote doctor` looks at: facts about this machine and installation, each with a remedy where it is wrong."""

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from core.errors import FootnoteError
from core.settings import Settings
from footnote.cli.options import Globals

LEAST_FREE_BYTES = 1_000_000_000
LEAST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at: what was found, and what to do when it is not as it should be."""

    name: str
    ok: bool
    finding: str
    remedy: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def examine(options: Globals) -> list[Check]:
    """Look at everything; the last check starts the installation, or asks the server that runs."""
    settings = Settings() if options.data is None else Settings(data=options.data)
    return [*_machine(settings), *_installation(options)]


def _machine(settings: Settings) -> Iterator[Check]:
    yield Check(
        name="python",
        ok=sys.version_info >= LEAST_PYTHON,
        finding=sys.version.split()[0],
        remedy="Install Python 3.11 or newer and run `make setup` again.",
    )
    yield Check(name="sqlite", ok=True, finding=sqlite3.sqlite_version)
    folder = next(path for path in (settings.data.absolute(), *settings.data.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    yield Check(
        name="disk",
        ok=free > LEAST_FREE_BYTES,
        finding=f"{free / 1e9:.1f} GB free for {settings.data.absolute()}",
        remedy="Free some space or choose another --data; uploads are refused when the disk is full.",
    )
    yield from _model(settings)


def _model(settings: Settings) -> Iterator[Check]:
    from retrieval.factory import build_embedder  # noqa: PLC0415 - with what it needs

    try:
        embedder = build_embedder(settings)
        ok = embedder.embed_query("test").shape == (embedder.dim,)
        finding = f"{embedder.id} ({embedder.precision})"
    except (FootnoteError, ImportError) as error:
        yield Check(
            name="model", ok=False, finding=str(error), remedy="Run `make setup`, which converts the model once."
        )
    else:
        yield Check(name="model", ok=ok, finding=finding)


def _installation(options: Globals) -> Iterator[Check]:
    try:
        with options.connect() as client:
            facts = client.call("GET", "/v1/doctor")
            totals = client.call("GET", "/v1/status")
    except FootnoteError as error:
        yield Check(name="server", ok=False, finding=error.detail, remedy="See the message; `footnote up` shows more.")
        return
    yield Check(name="server", ok=True, finding=f"{client.url} (version {facts['version']})")
    layers = facts["sandbox_layers"]
    yield Check(
        name="parser sandbox",
        ok="seccomp" in layers,
        finding=", ".join(layers) or "none",
        remedy="The kernel refuses seccomp filters: parsers run with limits on memory, time and files only.",
    )
    yield Check(name="documents", ok=True, finding=str(totals))
