"""Parse, chunk and embed: claimed from the database, safe to run twice, safe to be killed anywhere.

Every step reads the inputs that its stage row names, writes its result first-writer-wins, and commits under the fence
of its own claim. What a killed attempt leaves behind is either unreferenced or exactly what the next attempt makes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
from sqlalchemy.orm import Session

from core.blobs import BlobStore, StoredBlob
from core.db.chunks import replace_chunks
from core.db.session import Database
from core.db.stages import (
    ClaimedStage,
    Finished,
    claim,
    fail,
    finish,
    finish_many,
    has_claimable,
    record_stage_result,
    replace_stage_result,
    retry_later,
    stage_result,
)
from core.domain import Chunk, Reason, StageName
from core.errors import FootnoteError, LeaseLost
from core.ids import StageId
from core.parsed import from_bytes, to_bytes
from ingestion.chunking import chunk_document, chunker_version
from ingestion.embedding import embed_missing
from ingestion.leases import HeldLeases
from ingestion.parsing import PARSER_VERSION, ParseFailed
from ingestion.parsing.failures import ChildKilled
from ingestion.sandbox import ParsedResult
from ingestion.turns import Turns
from ingestion.versions import facts_of, passages_of
from retrieval.ports import Embedder

log = structlog.get_logger()

PARSE_BATCH = 16
CHUNK_BATCH = 64
CHUNK_COMMIT = 16  # Documents whose chunks are committed together.
EMBED_BATCH = 64  # Stages whose chunks are pooled into one embedding call, so that batches fill across documents.
EMBED_TEXTS = 128  # Texts embedded between two commits: the most that a kill can cost.
MOST_KILLS = 8  # Of a parser's child from outside; from the fourth on it runs alone, and innocent ones do not meet it.
MOST_ATTEMPTS = 25  # Far above what innocent work meets when its worker is killed again and again.

Work = Callable[[Sequence[ClaimedStage]], None]


class Parser(Protocol):
    """What the pipeline needs of the sandbox."""

    def parse(self, path: Path, name: str) -> ParsedResult: ...


class IngestionPipeline:
    """Runs the stages before the index. One `run_*` call claims a batch, works it off and returns how many it held."""

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
        self._blobs = blobs
        self._parser = parser
        self._embedder = embedder
        self._held = held
        self._owner = owner
        self._turns = Turns()
        self._pool = ThreadPoolExecutor(parsers, thread_name_prefix="parse")
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap_tokens = chunk_overlap_tokens
        self._parse_batch = parse_batch

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run_parse(self) -> int:
        """Parse a batch of documents, several at once."""
        return self._run(StageName.PARSE, self._parse_batch, self._parse_all)

    def run_chunk(self) -> int:
        """Chunk a batch of parsed documents; what is done is committed in small groups."""
        return self._run(StageName.CHUNK, CHUNK_BATCH, self._chunk_all)

    def run_embed(self) -> int:
        """Embed the chunks of many documents at once."""
        return self._run(StageName.EMBED, EMBED_BATCH, self._embed)

    def _run(self, name: StageName, limit: int, work: Work) -> int:
        """Work off a batch, and then one suspect, if there is one, while nothing else runs in this process.

        So a document that kills the worker soon dies by itself, and only its own attempts bring it to the end.
        """
        with self._turns.together():
            count = self._work_off(name, limit, work, suspects=False)
        with self._database.reading() as session:
            suspected = has_claimable(session, [name], suspects=True)
        if suspected:
            with self._turns.alone():
                count += self._work_off(name, 1, work, suspects=True)
        return count

    def _work_off(self, name: StageName, limit: int, work: Work, *, suspects: bool) -> int:
        with self._database.transaction() as session:
            stages = claim(
                session,
                [name],
                owner=self._owner,
                limit=limit,
                lease_seconds=self._held.lease_seconds,
                suspects=suspects,
            )
        worn_out = [stage for stage in stages if stage.attempt > MOST_ATTEMPTS]
        for stage in worn_out:  # Whoever held it so often died, or it would have ended before.
            self._fail(stage, Reason.INTERNAL, f"the worker died {MOST_ATTEMPTS} times while it had this document")
        claimed = [stage for stage in stages if stage not in worn_out]
        self._held.add(claimed)
        try:
            if claimed:
                work(claimed)
        finally:  # Whatever happened: a lease that nobody works under is to lapse.
            for stage in claimed:
                self._held.remove(stage)
        return len(stages)

    def _parse_all(self, stages: Sequence[ClaimedStage]) -> None:
        list(self._pool.map(lambda stage: self._guarded(stage, self._parse), stages))

    def _chunk_all(self, stages: Sequence[ClaimedStage]) -> None:
        for start in range(0, len(stages), CHUNK_COMMIT):
            group = stages[start : start + CHUNK_COMMIT]
            made: dict[StageId, list[Chunk]] = {}
            for stage in group:
                self._guarded(stage, partial(self._chunk_into, made), ends=False)
            self._commit_chunks([stage for stage in group if stage.id in made], made)
            for stage in group:
                self._held.remove(stage)

    def _guarded(self, stage: ClaimedStage, run: Callable[[ClaimedStage], None], *, ends: bool = True) -> None:
        """Run one stage; whatever happens, it ends done, failed with a reason, or queued for later.

        With `ends` False the caller commits the result, and lets go of the stage.
        """
        try:
            run(stage)
        except LeaseLost:
            log.info("lease_lost", stage=str(stage.id), name=stage.name)
        except ChildKilled as failure:
            self._try_again(stage, failure)
        except ParseFailed as failure:
            self._fail(stage, failure.reason, failure.detail)
        except Exception as error:  # noqa: BLE001 - the stage row must tell what happened, whatever it was
            self._postpone(stage, Reason.INTERNAL, error)
        finally:
            if ends:
                self._held.remove(stage)

    def _parse(self, stage: ClaimedStage) -> None:
        inputs = _hash(PARSER_VERSION, stage.blob_hash, Path(stage.document_name).suffix.lower())
        with self._database.reading() as session:
            known = stage_result(session, stage.tenant, inputs)
        if known is not None and self._blobs.path(stage.tenant, known) is not None:
            content = self._blobs.read(stage.tenant, known)
            document = from_bytes(content)
        else:
            path = self._blobs.path(stage.tenant, stage.blob_hash)
            if path is None:
                raise FileNotFoundError(stage.blob_hash)
            document = self._parser.parse(path, stage.document_name).document
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

    def _chunk_into(self, made: dict[StageId, list[Chunk]], stage: ClaimedStage) -> None:
        made[stage.id] = self._chunk(stage)

    def _chunk(self, stage: ClaimedStage) -> list[Chunk]:
        document = from_bytes(self._blobs.read(stage.tenant, stage.parsed_hash or ""))
        drafts = chunk_document(
            document,
            name=stage.document_name,
            tokenizer=self._embedder().tokenizer,
            max_tokens=self._chunk_tokens,
            overlap_tokens=self._chunk_overlap_tokens,
        )
        if not drafts:
            raise ParseFailed(Reason.NO_TEXT, "The document has no text that could be searched.")
        return passages_of(stage, document, drafts, chunker=self._chunker())

    def _chunker(self) -> str:
        return chunker_version(
            max_tokens=self._chunk_tokens, overlap_tokens=self._chunk_overlap_tokens, tokenizer=self._embedder().id
        )

    def _commit_chunks(self, stages: Sequence[ClaimedStage], made: Mapping[StageId, list[Chunk]]) -> None:
        if not stages:
            return
        try:
            chunker = self._chunker()
            finished = [
                Finished(stage=stage, output_hash=_hash(chunker, *(str(chunk.id) for chunk in made[stage.id])))
                for stage in stages
            ]
            with self._database.transaction() as session:
                for one in finish_many(session, finished):
                    chunks = made[one.stage.id]
                    hashes = [chunk.embedded_hash for chunk in chunks]
                    replace_chunks(session, one.stage.tenant, one.stage.version, chunks, hashes)
        except Exception as error:  # noqa: BLE001 - as above
            if len(stages) > 1 and _may_be_of_one(error):
                for stage in stages:
                    self._commit_chunks([stage], made)
                return
            for stage in stages:
                self._postpone(stage, Reason.INTERNAL, error)

    def _embed(self, stages: Sequence[ClaimedStage]) -> None:
        """Embed and finish the stages together; where that fails, each alone, so that none spoils another."""
        try:
            embed_missing(self._database, self._embedder(), stages, at_once=EMBED_TEXTS)
            self._finish([Finished(stage=stage, output_hash=self._embedded(stage)) for stage in stages])
        except Exception as error:  # noqa: BLE001 - whatever the model throws, no stage may stay silently leased
            if len(stages) > 1 and _may_be_of_one(error):
                for stage in stages:
                    self._embed([stage])
                return
            for stage in stages:
                self._postpone(stage, Reason.EMBEDDER_FAILED, error)

    def _embedded(self, stage: ClaimedStage) -> str:
        return _hash(self._embedder().id, stage.input_hash or "")

    def _finish(self, finished: Sequence[Finished]) -> None:
        with self._database.transaction() as session:
            finish_many(session, finished)

    def _fail(self, stage: ClaimedStage, reason: Reason, detail: str) -> None:
        self._settle(stage, lambda session: fail(session, stage, reason, detail))

    def _try_again(self, stage: ClaimedStage, failure: ChildKilled) -> None:
        """Queue a stage again whose parser was killed by others, unless that happens to it every time."""
        if stage.attempt >= MOST_KILLS:
            self._fail(stage, failure.reason, f"{failure.detail} ({MOST_KILLS} times)")
        else:
            self._settle(stage, lambda session: retry_later(session, stage, None, failure.reason, failure.detail))

    def _postpone(self, stage: ClaimedStage, reason: Reason, error: Exception) -> None:
        """Queue the stage again with growing delay, or give up with the reason when it keeps failing by itself."""
        detail = error.detail if isinstance(error, FootnoteError) else type(error).__name__
        log.warning("stage_failed", stage=str(stage.id), name=stage.name, attempt=stage.attempt, exc_info=error)
        counted = _may_be_of_one(error)
        if counted and stage.attempt >= MOST_ATTEMPTS:
            self._fail(stage, reason, detail)
        else:
            self._settle(stage, lambda session: retry_later(session, stage, None, reason, detail, counted=counted))

    def _settle(self, stage: ClaimedStage, end: Callable[[Session], None]) -> None:
        """Write down how the stage ended. Where even that fails, its lease lapses, and it is claimed again."""
        try:
            with self._database.transaction() as session:
                end(session)
        except LeaseLost:
            log.info("lease_lost", stage=str(stage.id), name=stage.name)
        except Exception as error:
            log.warning("stage_unsettled", stage=str(stage.id), name=stage.name, exc_info=error)


def _may_be_of_one(error: Exception) -> bool:
    """Whether one document of a batch may be to blame, rather than a part that does not answer or a full disk."""
    return not (isinstance(error, FootnoteError) and error.retryable)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
