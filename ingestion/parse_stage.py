"""From stored bytes to stored text: the first parse of some bytes counts, whatever a second one gives."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

from core.blobs import BlobStore, StoredBlob
from core.db.session import Database
from core.db.stages import ClaimedStage, finish, record_stage_result, replace_stage_result, stage_result
from core.parsed import from_bytes, to_bytes
from ingestion.endings import Endings
from ingestion.leases import HeldLeases
from ingestion.parsing import PARSER_VERSION
from ingestion.sandbox import ParsedResult
from ingestion.versions import facts_of, hash_of


class Parser(Protocol):
    """What the pipeline needs of the sandbox."""

    def parse(self, path: Path, name: str, progressed: Callable[[float], None] | None = None) -> ParsedResult: ...


class ParseStage:
    """Parses several documents at once, each committed when it is done."""

    def __init__(
        self, *, database: Database, blobs: BlobStore, parser: Parser, held: HeldLeases, endings: Endings, parsers: int
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._parser = parser
        self._held = held
        self._endings = endings
        self._pool = ThreadPoolExecutor(parsers, thread_name_prefix="parse")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, stages: Sequence[ClaimedStage]) -> None:
        """Parse the documents; each ends by itself."""
        list(self._pool.map(lambda stage: self._endings.guarded(stage, self.parse), stages))

    def parse(self, stage: ClaimedStage) -> None:
        """Parse one document, unless its text is known, and finish its stage.

        :raises ParseFailed: it cannot be read. :raises ChildKilled: its parser was killed from outside.
        :raises LeaseLost: the stage is another worker's by now; nothing was changed.
        """
        inputs = hash_of(PARSER_VERSION, stage.blob_hash, Path(stage.document_name).suffix.lower())
        with self._database.reading() as session:
            known = stage_result(session, stage.tenant, inputs)
        if known is not None and self._blobs.has(stage.tenant, known):
            content = self._blobs.read(stage.tenant, known)
            document = from_bytes(content)
        else:
            path = self._blobs.path(stage.tenant, stage.blob_hash)
            if path is None:
                raise FileNotFoundError(stage.blob_hash)
            progressed = partial(self._held.progressed, stage)
            document = self._parser.parse(path, stage.document_name, progressed).document
            content = to_bytes(document)
        # Written again even when known: its bytes must be younger than any collection of unneeded blobs.
        output = self._blobs.put(stage.tenant, content)
        facts = facts_of(document, output)
        with self._database.transaction() as session:
            winner = record_stage_result(session, stage.tenant, inputs, output.hash)
            if winner != output.hash and not self._blobs.keep(stage.tenant, winner):  # It was collected meanwhile.
                replace_stage_result(session, stage.tenant, inputs, winner, output.hash)
                winner = output.hash
            if winner != output.hash:
                content = self._blobs.read(stage.tenant, winner)
                facts = facts_of(from_bytes(content), StoredBlob(hash=winner, size=len(content)))
            finish(session, stage, output_hash=winner, facts=facts)
