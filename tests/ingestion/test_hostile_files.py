"""Files made to harm, through the pipeline and the sandbox as a worker has them: each ends with its reason, alone.

The limits are small ones, so that whatever runs into them does it soon.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from core.db.session import Database
from core.domain import DocumentState, Reason, StageName
from core.errors import InvalidName
from core.ids import DocumentId
from core.intake import UploadRequest
from ingestion.pipeline import MOST_KILLS, IngestionPipeline
from ingestion.sandbox import ParserLimits, ParserSandbox
from tests.ingestion.conftest import Logged
from tests.ingestion.hostile_files import FILES
from tests.ingestion.sandbox.possessed import MARK
from tests.ingestion.works import TENANT, Works

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LIMITS = ParserLimits(
    wall_seconds=4.0, cpu_seconds=2, memory_bytes=400_000_000, output_bytes=20_000_000, file_bytes=1_000_000
)
GRACE_SECONDS = 30.0  # Beyond the limit, until the document has failed and its slot is free.
GROWTH_BYTES = 60_000_000  # What the worker and its fork server may have grown by afterwards.
PARSERS = 2
DEEDS = {
    "fork bomb": Reason.PARSER_TIMEOUT,
    "loop": Reason.PARSER_TIMEOUT,
    "sleep": Reason.PARSER_TIMEOUT,
    "segfault": Reason.PARSER_CRASHED,
    "abort": Reason.PARSER_CRASHED,
    "hog": Reason.PARSER_OOM,
    "gigabyte": Reason.OUTPUT_TOO_LARGE,
}
INNOCENT = {
    "plain.txt": b"The heron stood in the reeds.",
    "page.html": b"<html><body><h1>Heron</h1><p>It stood in the reeds.</p></body></html>",
    "table.csv": b"bird,place\nheron,reeds\n",
    "note.md": b"# Heron\n\nIt stood in the reeds.\n",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ParserSandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # The fork server imports a module of the tests.
        sandbox = ParserSandbox(LIMITS, processes=PARSERS, module="tests.ingestion.sandbox.possessed")
        sandbox.active_layers()
        yield sandbox
        sandbox.close()


class Desk:
    """A worker's pipeline with real parsers; files come in as they do from people."""

    def __init__(self, works: Works, sandbox: ParserSandbox) -> None:
        self.works = works
        self.pipeline = IngestionPipeline(
            database=works.database,
            blobs=works.blobs,
            parser=sandbox,
            embedder=lambda: works.embedder,
            held=works.held,
            owner="worker-1",
            parsers=PARSERS,
            chunk_tokens=32,
            chunk_overlap_tokens=0,
        )
        server = sandbox._children._server
        assert server is not None
        self.server = psutil.Process(server.pid)

    def take_in(self, name: str, content: bytes) -> DocumentId:
        request = UploadRequest(name=name, source="files")
        return self.works.intake.upload(self.works.principal("ann"), request, content).document

    def resident(self) -> tuple[int, int]:
        """Return the resident bytes of the worker, which is this process, and of its fork server."""
        return psutil.Process(os.getpid()).memory_info().rss, self.server.memory_info().rss

    def states(self, documents: Sequence[DocumentId]) -> set[str]:
        return {self.works.stage(document, StageName.PARSE).state for document in documents}


@pytest.fixture
def desk(sqlite_database: Database, tmp_path: Path, logged: Logged, sandbox: ParserSandbox) -> Iterator[Desk]:
    assert not logged
    works = Works(sqlite_database, tmp_path)
    desk = Desk(works, sandbox)
    yield desk
    desk.pipeline.close()
    works.close()


def _contained(desk: Desk, name: str, content: bytes) -> DocumentId:
    """Parse the file among innocent ones; return it once everything that is promised of all has been seen."""
    hostile = desk.take_in(name, content)
    innocent = [desk.take_in(other, text) for other, text in INNOCENT.items()]
    before = desk.resident()

    for _ in range(MOST_KILLS):
        started = time.monotonic()
        desk.pipeline.run_parse()
        assert time.monotonic() - started < LIMITS.wall_seconds + GRACE_SECONDS
        if desk.states([hostile]) != {"queued"}:  # It is, where this machine was too busy to tell whose fault it was.
            break
        desk.works.hurry()
    assert desk.states(innocent) == {"done"}
    deadline = time.monotonic() + GRACE_SECONDS
    while desk.server.children() and time.monotonic() < deadline:  # What was killed is reaped a little later.
        time.sleep(0.05)
    assert desk.server.children() == []  # The slot is free: nothing of the file goes on.
    after = desk.resident()
    assert after[0] - before[0] < GROWTH_BYTES
    assert after[1] - before[1] < GROWTH_BYTES
    later = [desk.take_in(f"later-{number}.txt", f"Later {number}.".encode()) for number in range(PARSERS)]
    desk.pipeline.run_parse()
    assert desk.states(later) == {"done"}
    return hostile


@pytest.mark.parametrize("kind", FILES)
def test_f5_a_file_made_to_harm_fails_with_its_reason_and_harms_nobody(desk: Desk, kind: str) -> None:
    file = FILES[kind]
    status = desk.works.status(_contained(desk, file.name, file.make()))

    if file.reasons:
        assert status.state is DocumentState.FAILED
        assert status.reason in file.reasons
        assert status.detail
    else:
        stage = desk.works.stage(status.document, StageName.PARSE)
        assert stage.state == "done"
        assert len(desk.works.blobs.read(TENANT, str(stage.output_hash))) < 1_000


@pytest.mark.parametrize("deed", DEEDS)
def test_f5_a_parser_that_is_taken_over_fails_with_its_reason_and_harms_nobody(desk: Desk, deed: str) -> None:
    status = desk.works.status(_contained(desk, "possessed.txt", MARK + deed.encode()))

    assert (status.state, status.reason) == (DocumentState.FAILED, DEEDS[deed])
    assert status.detail


@pytest.mark.parametrize(
    "name",
    [
        "../../outside.txt",
        "/etc/passwd",
        "a/../../b.txt",
        "..\\..\\b.txt",
        "nul\0byte.txt",
        "line\nbreak.txt",
        "n" * 5_000,
    ],
    ids=["up", "absolute", "up inside", "up by backslashes", "nul", "line", "long"],
)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_kept(desk: Desk, name: str) -> None:
    with pytest.raises(InvalidName):
        desk.take_in(name, b"planted")

    assert list(desk.works.blobs.list(TENANT)) == []


@pytest.mark.parametrize("name", ["%2e%2e%2foutside", "a\u202etxt.exe", "CON", "n" * 1_000, "~/x", "$(touch outside)"])
def test_an_odd_name_names_no_file(desk: Desk, name: str) -> None:
    document = desk.take_in(name, b"The heron stood in the reeds.")
    desk.pipeline.run_parse()

    assert desk.states([document]) == {"done"}
    files = [path.name for path in desk.works.folder.rglob("*") if path.is_file() and "blobs" in path.parts]
    assert files
    assert all(len(file) == 64 for file in files)
