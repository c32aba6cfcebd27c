"""From passages to vectors: those of many documents are pooled, and what is too much for one turn waits."""

from collections.abc import Callable, Sequence
from functools import partial

from core.db.chunks import token_totals
from core.db.session import Database
from core.db.stages import ClaimedStage, Finished, asked_delay, finish_many, release, retry_later
from core.domain import Reason
from ingestion.embedding import embed_missing
from ingestion.endings import Endings, may_be_of_one
from ingestion.leases import HeldLeases
from ingestion.rests import Rest
from ingestion.versions import hash_of
from retrieval.ports import Embedder

TURN_TOKENS = 524_288  # Embedded before others get their turn: half a minute on two cores.
SLICE_TOKENS = 32_768  # Embedded between two commits: the most that a kill can cost.


class EmbedStage:
    """Embeds the passages of many documents at once."""

    def __init__(
        self, *, database: Database, embedder: Callable[[], Embedder], held: HeldLeases, endings: Endings
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._held = held
        self._endings = endings
        self._rest = Rest()

    @property
    def resting(self) -> bool:
        """Whether the embedder has asked to be left alone, and is to be."""
        return not self._rest.over

    def run(self, stages: Sequence[ClaimedStage]) -> None:
        """Embed and finish the stages together; where that fails, each alone, so that none spoils another.

        What is too much for one turn is given back: short documents at once, a long one behind those that wait.
        """
        stages = self._turn_of(stages)
        try:
            complete = embed_missing(
                self._database,
                self._embedder(),
                stages,
                slice_tokens=SLICE_TOKENS,
                progressed=self._held.progressed,
                most_tokens=TURN_TOKENS if len(stages) == 1 else None,
            )
            if complete:
                self._finish([Finished(stage=stage, output_hash=self._embedded(stage)) for stage in stages])
            else:
                self._endings.settle(stages[0], lambda session: retry_later(session, stages[0], 0.0, counted=False))
        except Exception as error:  # noqa: BLE001 - whatever the model throws, no stage may stay silently leased
            if len(stages) > 1 and may_be_of_one(error):
                for stage in stages:
                    self.run([stage])
                return
            self._rest.begin(asked_delay(error))
            for stage in stages:
                self._endings.postpone(stage, Reason.EMBEDDER_FAILED, error)

    def _turn_of(self, stages: Sequence[ClaimedStage]) -> list[ClaimedStage]:
        """Return the first, and of the others those with few tokens, as many as one turn takes; give back the rest.

        Not always the shortest: the first has waited for longest.
        """
        with self._database.reading() as session:
            tokens = {
                (tenant, version): total
                for tenant in {stage.tenant for stage in stages}
                for version, total in token_totals(
                    session, tenant, [stage.version for stage in stages if stage.tenant == tenant]
                ).items()
            }
        room = TURN_TOKENS
        kept: list[ClaimedStage] = []
        rest: list[ClaimedStage] = []
        for stage in stages:
            size = tokens[stage.tenant, stage.version]
            fits = size <= room or not kept
            room -= size if fits else 0
            (kept if fits else rest).append(stage)
        if rest:
            self._endings.settle(rest[0], partial(release, claimed=rest))
        for stage in rest:
            self._held.remove(stage)
        return kept

    def _embedded(self, stage: ClaimedStage) -> str:
        return hash_of(self._embedder().id, stage.input_hash or "")

    def _finish(self, finished: Sequence[Finished]) -> None:
        with self._database.transaction() as session:
            finish_many(session, finished)
