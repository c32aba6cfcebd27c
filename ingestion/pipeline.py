"""Parse, chunk and embed: claimed from the database, safe to run twice, safe to be killed anywhere.

Every step reads the inputs that its stage row names, writes its result first-writer-wins, and commits under the fence
of its own claim. What a killed attempt leaves behind is either unreferenced or exactly what the next attempt makes.
"""

import threading
from collections.abc import Callable, Sequence

from core.blobs import BlobStore
from core.db.session import Database
from core.db.stages import ClaimedStage, claim, has_claimable
from core.domain import StageName
from ingestion.chunk_stage import ChunkStage
from ingestion.embed_stage import EmbedStage
from ingestion.endings import MOST_ATTEMPTS, MOST_KILLS, Endings
from ingestion.leases import HeldLeases
from ingestion.parse_stage import Parser, ParseStage
from ingestion.turns import Turns
from retrieval.ports import Embedder

__all__ = ["MOST_ATTEMPTS", "MOST_KILLS", "IngestionPipeline"]

PARSE_BATCH = 16
CHUNK_BATCH = 64
EMBED_BATCH = 64  # Stages whose chunks are pooled into one embedding call, so that batches fill across documents.

Work = Callable[[Sequence[ClaimedStage]], None]


class IngestionPipeline:
    """Runs the stages before the index. One `run_*` call claims a batch, works it off and returns how many it held.

    Each `run_*` may have a thread of its own; the same one is not called twice at once.
    """

    def __init__(  # noqa: PLR0913 - the collaborators of three stages, by keyword
        self,
        *,
        database: Database,
        blobs: BlobStore,
        parser: Parser,
        embedder: Callable[[], Embedder],
        held: HeldLeases,
        owner: str,
        parsers: int,
        chunk_tokens: int,
        chunk_overlap_tokens: int,
        parse_batch: int = PARSE_BATCH,
    ) -> None:
        self._database = database
        self._held = held
        self._owner = owner
        self._turns = Turns()
        self._parse_batch = parse_batch
        self._endings = Endings(database, held)
        embedder = _one_by_one(embedder)
        self._parsing = ParseStage(
            database=database, blobs=blobs, parser=parser, held=held, endings=self._endings, parsers=parsers
        )
        self._chunking = ChunkStage(
            database=database,
            blobs=blobs,
            embedder=embedder,
            held=held,
            endings=self._endings,
            max_tokens=chunk_tokens,
            overlap_tokens=chunk_overlap_tokens,
        )
        self._embedding = EmbedStage(database=database, embedder=embedder, held=held, endings=self._endings)

    @property
    def busy(self) -> bool:
        """Whether a long document is worked on although every `run_*` has returned."""
        return self._chunking.busy

    def wait(self) -> None:
        """Return when no long document is worked on any more."""
        self._chunking.wait()

    def close(self) -> None:
        self._chunking.close()
        self._parsing.close()

    def run_parse(self) -> int:
        """Parse a batch of documents, several at once."""
        return self._run(StageName.PARSE, self._parse_batch, self._parsing.run)

    def run_chunk(self) -> int:
        """Chunk a batch of parsed documents; what is done is committed in small groups.

        Long ones wait apart, as old as they are, for the place beside. They are not even looked at while it is taken.
        """
        return self._run(StageName.CHUNK, CHUNK_BATCH, self._chunking.run, long=False) + self._begin_long()

    def run_embed(self) -> int:
        """Embed the chunks of many documents at once; nothing while the embedder wants to be left alone."""
        return 0 if self._embedding.resting else self._run(StageName.EMBED, EMBED_BATCH, self._embedding.run)

    def _run(self, name: StageName, limit: int, work: Work, *, long: bool | None = None) -> int:
        """Work off a batch, and then one suspect, if there is one, while nothing else runs in this process.

        So a document that kills the worker soon dies by itself, and only its own attempts bring it to the end.
        """
        with self._database.reading() as session:  # No writer is to queue behind a claim that finds nothing.
            waits = has_claimable(session, [name], suspects=False, long=long)
            suspected = has_claimable(session, [name], suspects=True)
        count = 0
        if waits:
            with self._turns.together():
                count += self._work_off(name, limit, work, suspects=False, long=long)
        if suspected:
            with self._turns.alone():
                count += self._work_off(name, 1, work, suspects=True)
        return count

    def _begin_long(self) -> int:
        """Begin the long document whose turn it is, if there is one and the place beside is free."""
        if self._chunking.busy:
            return 0
        with self._database.reading() as session:  # Costs less than a claim that finds nothing, ten times a second.
            waits = has_claimable(session, [StageName.CHUNK], suspects=False, long=True)
        if not waits:
            return 0
        with self._turns.together():
            return self._work_off(StageName.CHUNK, 1, self._chunking.begin_long, suspects=False, long=True)

    def _work_off(self, name: StageName, limit: int, work: Work, *, suspects: bool, long: bool | None = None) -> int:
        with self._database.transaction() as session:
            stages = claim(
                session,
                [name],
                owner=self._owner,
                limit=limit,
                lease_seconds=self._held.lease_seconds,
                suspects=suspects,
                long=long,
            )
        detail = f"the worker died {MOST_ATTEMPTS} times while it had this document"
        claimed = self._endings.but_worn_out(stages, detail)
        self._held.add(claimed)
        try:
            if claimed:
                work(claimed)
        finally:  # Whatever happened: a lease that nobody works under is to lapse.
            for stage in claimed:
                if not self._chunking.has(stage):
                    self._held.remove(stage)
        return len(stages)


def _one_by_one(make: Callable[[], Embedder]) -> Callable[[], Embedder]:
    """Let several threads ask for the embedder, and one of them load it."""
    lock = threading.Lock()

    def made() -> Embedder:
        with lock:
            return make()

    return made
