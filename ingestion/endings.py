"""How the attempt at a stage ends when it is not done: failed with a reason, queued for later, or taken by another."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import structlog
from sqlalchemy.orm import Session

from core.db.redoing import MOST_REDONE, redo_input
from core.db.session import Database
from core.db.stages import ClaimedStage, asked_delay, fail, release, retry_later
from core.domain import Reason
from core.errors import FootnoteError, LeaseLost
from ingestion.excerpts import of_error
from ingestion.leases import HeldLeases
from ingestion.long_documents import Interrupted
from ingestion.parsing.failures import ChildKilled, ParseFailed

log = structlog.get_logger()

MOST_KILLS = 8  # Of a parser's own child; from the fourth attempt on it runs alone, and innocent ones do not meet it.
MOST_ATTEMPTS = 25  # Far above what innocent work meets when its worker is killed again and again.


class InputLost(FootnoteError):
    """What an earlier stage has stored for this one is gone, and can be made anew."""


class Endings:
    """Writes down what became of claimed stages, under their fence."""

    def __init__(self, database: Database, held: HeldLeases) -> None:
        self._database = database
        self._held = held

    def guarded(self, stage: ClaimedStage, run: Callable[[ClaimedStage], None], *, ends: bool = True) -> None:
        """Run one stage; whatever happens, it ends done, failed with a reason, or queued for later.

        With `ends` False the caller commits the result, and lets go of the stage.
        """
        try:
            run(stage)
        except LeaseLost:
            log.info("lease_lost", stage=str(stage.id), name=stage.name)
        except Interrupted:
            self.settle(stage, partial(release, claimed=[stage]))
        except InputLost as error:
            self.redo(stage, Reason.INTERNAL, error)
        except ChildKilled as failure:
            self._try_again(stage, failure)
        except ParseFailed as failure:
            self.fail(stage, failure.reason, failure.detail, page=failure.page, excerpt=failure.excerpt)
        except Exception as error:  # noqa: BLE001 - the stage row must tell what happened, whatever it was
            self.postpone(stage, Reason.INTERNAL, error)
        finally:
            if ends:
                self._held.remove(stage)

    def but_worn_out(self, stages: Sequence[ClaimedStage], detail: str) -> list[ClaimedStage]:
        """Return the stages to be worked at. The others are failed: whoever held one so often died each time."""
        for stage in stages:
            if stage.attempt > MOST_ATTEMPTS:  # Whatever else went wrong would have ended it before.
                self.fail(stage, Reason.INTERNAL, detail)
        return [stage for stage in stages if stage.attempt <= MOST_ATTEMPTS]

    def fail(
        self, stage: ClaimedStage, reason: Reason, detail: str, *, page: int | None = None, excerpt: str | None = None
    ) -> None:
        """Let the stage be failed until somebody retries it."""
        self.settle(stage, lambda session: fail(session, stage, reason, detail, page=page, excerpt=excerpt))

    def postpone(self, stage: ClaimedStage, reason: Reason, error: Exception) -> None:
        """Queue the stage again with growing delay, or give up with the reason when it keeps failing by itself."""
        detail = error.detail if isinstance(error, FootnoteError) else type(error).__name__
        log.warning("stage_failed", stage=str(stage.id), name=stage.name, attempt=stage.attempt, exc_info=error)
        counted = may_be_of_one(error)
        if counted and stage.attempt >= MOST_ATTEMPTS:
            self.fail(stage, reason, detail, excerpt=of_error(error))
        else:
            delay = asked_delay(error)
            self.settle(stage, lambda session: retry_later(session, stage, delay, reason, detail, counted=counted))

    def redo(self, stage: ClaimedStage, reason: Reason, error: InputLost) -> None:
        """Have the stage before done again; where that was of no use so often, go on as after any other error."""
        if stage.attempt > MOST_REDONE:
            self.postpone(stage, reason, error)
            return
        log.warning("stage_input_lost", stage=str(stage.id), name=stage.name, document=str(stage.document))
        self.settle(stage, lambda session: redo_input(session, stage))

    def settle(self, stage: ClaimedStage, end: Callable[[Session], None]) -> None:
        """Write down how the stage ended. Where even that fails, its lease lapses, and it is claimed again."""
        try:
            with self._database.transaction() as session:
                end(session)
        except LeaseLost:
            log.info("lease_lost", stage=str(stage.id), name=stage.name)
        except Exception as error:
            log.warning("stage_unsettled", stage=str(stage.id), name=stage.name, exc_info=error)
            if may_be_of_one(error):  # Its very words, perhaps, which the database does not take: then without them.
                self._fail_plainly(stage)

    def _fail_plainly(self, stage: ClaimedStage) -> None:
        """As far as even that can be written down: otherwise its lease lapses, and the others of its batch go on."""
        with suppress(Exception), self._database.transaction() as session:
            fail(session, stage, Reason.INTERNAL)

    def _try_again(self, stage: ClaimedStage, failure: ChildKilled) -> None:
        """Queue a stage again whose parser's child was killed, perhaps by others, unless that happens every time.

        Deaths of the whole worker are counted apart: they may be the doing of any document that it had in hand.
        """
        if stage.child_deaths + 1 >= MOST_KILLS:
            self.fail(stage, failure.reason, f"{failure.detail} ({MOST_KILLS} times)")
        else:
            again = partial(retry_later, claimed=stage, reason=failure.reason, detail=failure.detail, child_died=True)
            self.settle(stage, again)


def may_be_of_one(error: Exception) -> bool:
    """Whether one document of a batch may be to blame, rather than a part that does not answer or a full disk."""
    return not (isinstance(error, FootnoteError) and error.retryable)
