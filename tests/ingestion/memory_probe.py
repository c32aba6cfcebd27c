"""A process that takes in one file as far as its chunks, with the real parts, and tells how much memory that took.

`python -m tests.ingestion.memory_probe FILE DATA`: one JSON object: bytes resident before and at
most, the chunks, and seconds of CPU time.
"""

import json
import resource
import sys
from pathlib import Path

from sqlalchemy import func, select

from core.blobs import open_blobs
from core.db import directory, releases
from core.db.session import Database, sqlite_url
from core.db.tables import ChunkRow
from core.domain import EVERYONE, Principal
from core.ids import DEFAULT_TENANT, IndexId
from core.intake import Intake, UploadRequest
from core.settings import Settings
from ingestion.leases import HeldLeases
from ingestion.pipeline import IngestionPipeline
from ingestion.sandbox import ParserLimits, ParserSandbox
from retrieval.factory import build_embedder


def main() -> None:
    """Run the worker's own parts over the file."""
    file, data = map(Path, sys.argv[1:])
    settings = Settings(data=data)
    database = Database(sqlite_url(data))
    database.upgrade()
    with database.transaction() as session:
        directory.add_tenant(session, DEFAULT_TENANT)
        directory.add_user(session, DEFAULT_TENANT, "ann")
        releases.ensure_live_release(session, IndexId("probe"), {})
    blobs = open_blobs(settings, data)
    principal = Principal(tenant=DEFAULT_TENANT, closure=frozenset({"user:ann", EVERYONE}), user="ann", role="editor")
    with file.open("rb") as content:
        Intake(database=database, blobs=blobs, max_bytes=10**9).upload(
            principal, UploadRequest(name=file.name, source="probe"), content
        )
    embedder = build_embedder(settings, mode="throughput")
    held = HeldLeases(database)
    held.start()
    sandbox = ParserSandbox(ParserLimits.from_settings(settings), processes=1)
    pipeline = IngestionPipeline(
        database=database,
        blobs=blobs,
        parser=sandbox,
        embedder=lambda: embedder,
        held=held,
        owner="probe",
        parsers=1,
        chunk_tokens=settings.chunk_tokens,
        chunk_overlap_tokens=settings.chunk_overlap_tokens,
    )
    before = _status("VmRSS")
    pipeline.run_parse()
    pipeline.run_chunk()
    pipeline.wait()
    most = _status("VmHWM")
    pipeline.close()
    sandbox.close()
    held.stop()
    with database.reading() as session:
        chunks = session.execute(select(func.count()).select_from(ChunkRow)).scalar_one()
    database.close()
    spent = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_seconds = sum(usage.ru_utime + usage.ru_stime for usage in spent)
    figures = {"before": before, "most": most, "chunks": chunks, "cpu_seconds": round(cpu_seconds, 1)}
    sys.stdout.write(json.dumps(figures) + "\n")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
