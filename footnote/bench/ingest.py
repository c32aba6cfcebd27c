"""`footnote bench ingest`: the whole way in, against embedding alone, and against a peer's pipeline.

All three embed the same texts with the same model. The peer is given them cut and without doubles: it need neither
parse, nor check rights, nor store.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.db.chunks import chunks_of
from core.db.session import Database
from core.db.stages import has_open
from core.db.statuses import list_readable, readable_totals
from core.domain import EVERYONE, DocumentState, Principal, StageName
from core.errors import InvalidInput, Unavailable
from core.ids import DEFAULT_TENANT
from core.intake import Intake, UploadRequest
from core.settings import Settings
from footnote.bench.embedding import timed
from footnote.bench.throwaway import thrown_away
from footnote.runtime import OWNER, Runtime, open_runtime
from footnote.walking import distinct, walk
from ingestion.parsing import ParseFailed
from ingestion.sandbox import ParserLimits, ParserSandbox
from retrieval.ports import Tokenizer

POLL_SECONDS = 0.25
WARM_UP_NAME = "warm-up.txt"
WARM_UP = b"The worker child loads what it needs while it reads this.\n"
PEER = "llama-index"
PRINCIPAL = Principal(tenant=DEFAULT_TENANT, closure=frozenset({f"user:{OWNER}", EVERYONE}), user=OWNER, role="admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """Tokens are those of the texts embedded, each distinct one once. `pipeline_seconds`: first upload to all done.

    `embed_seconds`: the embedder alone, over the same texts, in a process of its own. `parse_cpu_seconds`: CPU time of
    the parsers over the same files, measured apart; `processors` share it. `peer_seconds`: the peer's pipeline over the
    same texts.
    """

    files: int
    failed: int
    tokens: int
    pipeline_seconds: float
    embed_seconds: float
    parse_cpu_seconds: float
    processors: int
    peer_seconds: float | None
    left_out: Mapping[str, str]

    def as_dict(self) -> dict[str, object]:
        peer = self.peer_seconds
        but_parsing = self.pipeline_seconds - self.parse_cpu_seconds / self.processors
        return {
            "files": self.files,
            "failed": self.failed,
            "tokens": self.tokens,
            "pipeline_seconds": round(self.pipeline_seconds, 2),
            "embed_seconds": round(self.embed_seconds, 2),
            "parse_cpu_seconds": round(self.parse_cpu_seconds, 2),
            "peer_seconds": None if peer is None else round(peer, 2),
            "tokens_per_second": round(self.tokens / self.pipeline_seconds),
            "of_embed_only": round(self.embed_seconds / self.pipeline_seconds, 3),
            "of_embed_only_but_parsing": round(self.embed_seconds / but_parsing, 3) if but_parsing > 0 else None,
            "ratio_to_peer": None if peer is None else round(peer / self.pipeline_seconds, 2),
            "left_out": self.left_out,
        }


def bench_ingest(
    paths: Sequence[Path], *, settings: Settings, tokenizer: Tokenizer, peer: bool, progress: Callable[[str], None]
) -> IngestReport:
    """Take the files in, once, into a throw-away data directory, and measure what the result is compared with.

    :raises InvalidInput: there is no file.
    :raises Unavailable: the contender that embeds alone failed.
    """
    files = [file for file in distinct(file for path in paths for file in walk(path, None)) if file.refused is None]
    if not files:
        raise InvalidInput("There is no file to take in under these paths.")
    with (
        tempfile.TemporaryDirectory(prefix="footnote-bench-") as data,
        open_runtime(thrown_away(settings, Path(data))) as runtime,
    ):
        _ingest(runtime, {WARM_UP_NAME: WARM_UP})
        contents = {f"{number}/{file.name}": file.path.read_bytes() for number, file in enumerate(files)}
        started = time.perf_counter()
        failed = _ingest(runtime, contents)
        seconds = time.perf_counter() - started
        texts = list(dict.fromkeys(_embedded_texts(runtime.services.database)))
    tokens = sum(tokenizer.count(texts))
    progress(f"{len(files)} files, {tokens} tokens in {seconds:.1f} s; now the embedder alone")
    alone = timed(settings.embedder.partition(":")[0], texts, settings)["seconds"]
    progress(f"embedded alone in {alone:.1f} s; now the parsers alone")
    parse_cpu = _parse([file.path for file in files], settings)
    left_out: dict[str, str] = {}
    peer_seconds = None
    if peer:
        progress(f"parsed alone with {parse_cpu:.1f} s of CPU; now {PEER}")
        try:
            peer_seconds = timed(PEER, texts, settings)["seconds"]
        except Unavailable as error:
            left_out[PEER] = error.detail
    return IngestReport(
        files=len(files),
        failed=failed,
        tokens=tokens,
        pipeline_seconds=seconds,
        embed_seconds=alone,
        parse_cpu_seconds=parse_cpu,
        processors=len(os.sched_getaffinity(0)),
        peer_seconds=peer_seconds,
        left_out=left_out,
    )


def _ingest(runtime: Runtime, contents: Mapping[str, bytes]) -> int:
    """Upload and wait until nothing is open; return how many of all so far failed."""
    services = runtime.services
    intake = Intake(database=services.database, blobs=services.blobs, max_bytes=services.settings.max_upload_bytes)
    for name, content in contents.items():
        with suppress(InvalidInput):  # Refused before it was accepted: no work for the pipeline.
            intake.upload(PRINCIPAL, UploadRequest(name=name, source="bench"), content)
        services.wake()
    while True:
        with services.database.reading() as session:
            if not has_open(session, tuple(StageName)):  # A few steps along an index: it takes nothing from the work.
                return readable_totals(session, PRINCIPAL).get(DocumentState.FAILED, 0)
        time.sleep(POLL_SECONDS)


def _embedded_texts(database: Database) -> Iterator[str]:
    """Yield what was embedded of the searchable documents."""
    cursor: str | None = None
    while True:
        with database.reading() as session:
            page = list_readable(session, PRINCIPAL, state=DocumentState.SEARCHABLE, source="bench", cursor=cursor)
            for status in page.documents:
                if status.version is not None and status.name != WARM_UP_NAME:
                    yield from (chunk.embedded_text for chunk, _ in chunks_of(session, DEFAULT_TENANT, status.version))
        cursor = page.next
        if cursor is None:
            return


def _parse(paths: Sequence[Path], settings: Settings) -> float:
    """Parse the files one after the other; return the CPU seconds of the parsers' processes."""
    sandbox = ParserSandbox(ParserLimits.from_settings(settings), processes=1)
    try:
        for path in paths[:1]:  # The fork server imports its libraries.
            _try_to_parse(sandbox, path)
        before = _children_cpu_seconds()
        for path in paths:
            _try_to_parse(sandbox, path)
        return _children_cpu_seconds() - before
    finally:
        sandbox.close()


def _try_to_parse(sandbox: ParserSandbox, path: Path) -> None:
    with suppress(ParseFailed):
        sandbox.parse(path, path.name)


def _children_cpu_seconds() -> float:
    """Return the CPU time of this process's living children and of theirs that have ended (proc(5), fields 14-17)."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
