"""From stored text to passages: short documents in groups, long ones beside them, one at a time."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from core.blobs import BlobStore
from core.db.blobs import stored_sizes
from core.db.chunks import add_chunks, count_added, remove_chunks, replace_chunks
from core.db.session import Database
from core.db.stages import SUSPECT_AFTER, ClaimedStage, Finished, finish, finish_many, held, release, set_aside
from core.domain import Chunk, ParsedDocument, Reason
from core.errors import LeaseLost, NotFound, Unavailable
from core.ids import StageId
from core.parsed import from_bytes
from ingestion.chunking import chunk_document, chunker_version
from ingestion.endings import Endings, InputLost, may_be_of_one
from ingestion.leases import HeldLeases
from ingestion.long_documents import PlaceBeside, WatchedTokenizer
from ingestion.parsing import ParseFailed
from ingestion.versions import hash_of, passages_of
from retrieval.ports import Embedder, Tokenizer

COMMIT_DOCUMENTS = 16  # Documents whose chunks are committed together, at most,
COMMIT_CHUNKS = 200  # and fewer where they have so many chunks: no document waits long for those after it.
LONG_CHARS = 4_000_000  # A longer text is chunked beside the others, one at a time: some ten seconds at least.
LONG_BYTES = 1_000_000  # The same, told by the stored parse result, before it is unpacked.
CHUNKS_AT_ONCE = 1_000  # Chunks of a long document between two commits: writers wait behind no more.


class ChunkStage:
    """Chunks documents. Long ones wait in a lane of their own until the place beside is free."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        embedder: Callable[[], Embedder],
        held: HeldLeases,
        endings: Endings,
        max_tokens: int,
        overlap_tokens: int,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._embedder = embedder
        self._held = held
        self._endings = endings
        self._max_tokens = max_tokens
        self._overlap_tokens = overlap_tokens
        self._beside = PlaceBeside()

    @property
    def busy(self) -> bool:
        """Whether a long document is worked on, beside whatever else is done."""
        return self._beside.busy

    def has(self, stage: ClaimedStage) -> bool:
        """Whether the stage is worked on beside, so that its lease is not the caller's to end."""
        return self._beside.has(stage)

    def wait(self) -> None:
        """Return when no long document is worked on."""
        self._beside.wait()

    def close(self) -> None:
        self._beside.stop()

    def run(self, stages: Sequence[ClaimedStage]) -> None:
        """Chunk the documents in small groups; the long ones of them are set aside, to wait for their turn."""
        short, long = self._told_apart(stages)
        group: list[ClaimedStage] = []
        made: dict[StageId, list[Chunk]] = {}
        for stage in short:
            self._endings.guarded(stage, partial(self._chunk_into, made, long), ends=False)
            group.append(stage)
            if len(group) >= COMMIT_DOCUMENTS or sum(map(len, made.values())) >= COMMIT_CHUNKS:
                self._end(group, made, but=long)
                group, made = [], {}
        self._end(group, made, but=long)
        self._set_aside(long)

    def begin_long(self, stages: Sequence[ClaimedStage]) -> None:
        """Chunk a long document beside the others. To be called with one, and while nobody is `busy` with another."""
        work = partial(self._endings.guarded, run=self._chunk_long)
        for stage in stages:
            try:
                begun = self._beside.offer(stage, work)
            except Unavailable as error:
                self._endings.postpone(stage, Reason.INTERNAL, error)
            else:
                if not begun:
                    self._endings.settle(stage, partial(release, claimed=[stage]))

    def _told_apart(self, stages: Sequence[ClaimedStage]) -> tuple[list[ClaimedStage], list[ClaimedStage]]:
        """Return the short documents of these and the long ones, as far as their stored size tells."""
        with self._database.reading() as session:
            sizes = {
                (tenant, hash_): size
                for tenant in {stage.tenant for stage in stages}
                for hash_, size in stored_sizes(
                    session, tenant, [stage.parsed_hash or "" for stage in stages if stage.tenant == tenant]
                ).items()
            }
        short: list[ClaimedStage] = []
        long: list[ClaimedStage] = []
        for stage in stages:
            is_long = stage.long or sizes.get((stage.tenant, stage.parsed_hash or ""), 0) > LONG_BYTES
            (long if is_long else short).append(stage)
        return short, long

    def _set_aside(self, long: Sequence[ClaimedStage]) -> None:
        """Give long documents back to wait with their like; but a suspect works alone, here and now."""
        suspects = [stage for stage in long if stage.attempt > SUSPECT_AFTER]
        for stage in suspects:
            self._beside.wait()
            self._endings.guarded(stage, self._chunk_long)
        others = [stage for stage in long if stage not in suspects]
        if others:
            self._endings.settle(others[0], partial(set_aside, claimed=others))

    def _chunk_into(self, made: dict[StageId, list[Chunk]], long: list[ClaimedStage], stage: ClaimedStage) -> None:
        document = self._parsed(stage)
        if len(document.text) > LONG_CHARS:
            long.append(stage)
            return
        chunks = list(self._chunks(stage, document, self._embedder().tokenizer))
        if not chunks:
            raise _without_text()
        made[stage.id] = chunks

    def _chunk_long(self, stage: ClaimedStage) -> None:
        """Chunk and commit in slices: neither memory nor the catalogue's lock is held for the whole document."""
        document = self._parsed(stage)
        length = max(len(document.text), 1)
        read = 0

        def reads(characters: int) -> None:
            nonlocal read
            self._beside.check()
            read += characters
            self._held.progressed(stage, min(read / length, 1.0) / 2)

        chunks = self._chunks(stage, document, WatchedTokenizer(self._embedder().tokenizer, reads))
        output = hashlib.sha256(self._chunker().encode())  # In the end `hash_of` the chunker and all ids.
        first = True
        while some := list(islice(chunks, CHUNKS_AT_ONCE)):
            self._beside.check()
            with self._database.transaction() as session:
                if not held(session, [stage]):
                    raise LeaseLost(f"Document {stage.document} belongs to another worker now, or to none.")
                if first:
                    remove_chunks(session, stage.tenant, stage.version)
                hashes = [chunk.embedded_hash for chunk in some]
                add_chunks(session, stage.tenant, stage.version, some, hashes)
            first = False
            output.update("".join(f"\0{chunk.id}" for chunk in some).encode())
            self._held.progressed(stage, 0.5 + some[-1].span.end / length / 2)
        if first:
            raise _without_text()
        with self._database.transaction() as session:
            finish(session, stage, output_hash=output.hexdigest())
            count_added(session, stage.tenant, stage.version)

    def _parsed(self, stage: ClaimedStage) -> ParsedDocument:
        try:
            content = self._blobs.read(stage.tenant, stage.parsed_hash or "")
        except NotFound as error:
            if self._blobs.has(stage.tenant, stage.blob_hash):  # So it can be parsed again.
                raise InputLost(f"The parse result of document {stage.document} is gone.") from error
            raise
        return replace(from_bytes(content), lines=())

    def _chunks(self, stage: ClaimedStage, document: ParsedDocument, tokenizer: Tokenizer) -> Iterator[Chunk]:
        drafts = chunk_document(
            document,
            name=stage.document_name,
            tokenizer=tokenizer,
            max_tokens=self._max_tokens,
            overlap_tokens=self._overlap_tokens,
        )
        return passages_of(stage, document, drafts, chunker=self._chunker())

    def _chunker(self) -> str:
        return chunker_version(
            max_tokens=self._max_tokens, overlap_tokens=self._overlap_tokens, tokenizer=self._embedder().id
        )

    def _end(
        self, group: Sequence[ClaimedStage], made: Mapping[StageId, list[Chunk]], *, but: Sequence[ClaimedStage]
    ) -> None:
        """Commit what was made of a group, and let go of its stages but those."""
        self._commit([stage for stage in group if stage.id in made], made)
        for stage in group:
            if stage not in but:
                self._held.remove(stage)

    def _commit(self, stages: Sequence[ClaimedStage], made: Mapping[StageId, list[Chunk]]) -> None:
        if not stages:
            return
        try:
            chunker = self._chunker()
            finished = [
                Finished(stage=stage, output_hash=hash_of(chunker, *(str(chunk.id) for chunk in made[stage.id])))
                for stage in stages
            ]
            with self._database.transaction() as session:
                for one in finish_many(session, finished):
                    chunks = made[one.stage.id]
                    hashes = [chunk.embedded_hash for chunk in chunks]
                    replace_chunks(session, one.stage.tenant, one.stage.version, chunks, hashes)
        except Exception as error:  # noqa: BLE001 - the stage rows must tell what happened, whatever it was
            if len(stages) > 1 and may_be_of_one(error):
                for stage in stages:
                    self._commit([stage], made)
                return
            for stage in stages:
                self._endings.postpone(stage, Reason.INTERNAL, error)


def _without_text() -> ParseFailed:
    return ParseFailed(Reason.NO_TEXT, "The document has no text that could be searched.")
