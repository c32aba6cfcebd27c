"""Whatever workers, uploaders and crashes do in whatever order: nothing is lost, doubled or stuck."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.orm import Session

from core.db import deadletters, documents, stages
from core.db.base import Base
from core.db.session import Database
from core.db.stages import ClaimedStage
from core.db.tables import DocumentRow, StageRow, TurnRow, VersionRow
from core.domain import DocumentState, Principal, Reason, StageName
from core.errors import LeaseLost
from core.ids import DocumentId, StageId
from tests.core.db.scenario import TENANT, Story, perform

NAMES = ("a", "b", "c")
ANN = Principal(tenant=TENANT, closure=frozenset({"user:ann"}), user="ann", role="editor")
SOME_STAGES = st.sampled_from([tuple(StageName), (StageName.PARSE, StageName.CHUNK), (StageName.INDEX,)])


class Interleavings(RuleBasedStateMachine):
    """Workers that come, stall and die; uploaders that change their minds; and a model of who holds what."""

    claims = Bundle("claims")

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        with database.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                if table.name != "secrets":  # made by the migration
                    session.execute(delete(table))
        self.story = Story.begin(database)
        self.holder: dict[StageId, int] = {}  # The fence under which a stage may end, while somebody holds it.
        self.lapsed: set[StageId] = set()  # Those that anybody may take over.
        self.fences: Counter[StageId] = Counter()
        self.ended: Counter[StageId] = Counter()
        self.alive: dict[str, DocumentId] = {}
        self.deleted: set[DocumentId] = set()

    @initialize(target=claims)
    def begin(self) -> Any:  # noqa: ANN401 - what Hypothesis calls several results
        self.alive["a"] = self.story.upload("a").document
        return multiple()

    @rule(name=st.sampled_from(NAMES), content=st.sampled_from(["one", "two"]))
    def upload(self, name: str, content: str) -> None:
        self.alive[name] = self.story.upload(name, content).document
        assert self.alive[name] not in self.deleted

    @rule(target=claims, names=SOME_STAGES, limit=st.integers(1, 3))
    def claim(self, names: tuple[StageName, ...], limit: int) -> Any:  # noqa: ANN401
        return multiple(*self._claim(names, limit))

    @rule(claimed=claims)
    def work(self, claimed: ClaimedStage) -> None:
        if self._attempt(claimed, lambda session: perform(session, claimed)):
            self.ended[claimed.id] += 1
            assert self.ended[claimed.id] == 1, "a stage was done twice"

    @rule(claimed=claims, for_good=st.booleans())
    def fail(self, claimed: ClaimedStage, *, for_good: bool) -> None:
        if for_good:
            self._attempt(claimed, lambda session: stages.fail(session, claimed, Reason.CORRUPT))
        else:
            self._attempt(claimed, lambda session: stages.retry_later(session, claimed, 0.0))

    @rule(claimed=claims, kept=st.booleans())
    def renew_or_release(self, claimed: ClaimedStage, *, kept: bool) -> None:
        with self.database.transaction() as session:
            if kept:
                assert bool(stages.renew(session, [claimed], 60.0)) == self._holds(claimed)
            else:
                stages.release(session, [claimed])
        if self._holds(claimed):
            self.lapsed.discard(claimed.id)
            if not kept:
                del self.holder[claimed.id]

    @rule(target=claims, claimed=claims, taken=st.booleans())
    def lapse(self, claimed: ClaimedStage, *, taken: bool) -> Any:  # noqa: ANN401
        # Until somebody takes it over, the slow worker may still end the stage.
        if not self._holds(claimed):
            return multiple()
        self.lapsed.add(claimed.id)
        with self.database.transaction() as session:
            session.execute(update(StageRow).where(StageRow.id == claimed.id).values(lease_until=0))
        return multiple(*self._claim((claimed.name,), 99)) if taken else multiple()

    @rule()
    def restart(self) -> None:
        with self.database.transaction() as session:
            assert stages.reclaim_all(session) == len(self.holder)
        self.holder.clear()
        self.lapsed.clear()

    @rule()
    def lose_the_turns(self) -> None:
        with self.database.transaction() as session:
            session.execute(delete(TurnRow))

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        document = self.alive.pop(name, None)
        if document is None:
            return
        with self.database.transaction() as session:
            documents.delete(session, TENANT, document, "user:ann")
            gone = session.scalars(select(StageRow.id).where(StageRow.document_id == document)).all()
        self.deleted.add(document)
        for stage in gone:
            self.holder.pop(StageId(stage), None)

    @rule(name=st.sampled_from(NAMES))
    def retry(self, name: str) -> None:
        if name in self.alive:
            with self.database.transaction() as session:
                documents.retry(session, TENANT, self.alive[name])

    @rule()
    def replay_everything(self) -> None:
        failed = {name for name, document in self.alive.items() if self._state(document) is DocumentState.FAILED}
        with self.database.reading() as session:
            letters = deadletters.list_readable(session, ANN, limit=100).deadletters
        assert {letter.document for letter in letters} == {self.alive[name] for name in failed}
        assert deadletters.replay_matching(self.database, lambda _: ANN, deadletters.ALL).replayed == len(failed)
        assert {self._state(self.alive[name]) for name in failed} <= {DocumentState.QUEUED}

    @invariant()
    def every_document_is_in_one_state_and_can_go_on(self) -> None:
        with self.database.reading() as session:
            rows = session.execute(
                select(DocumentRow.id, DocumentRow.current_version, DocumentRow.newest_version, DocumentRow.deleted_at)
            ).all()
            statuses = {one.document: one for one in documents.status(session, TENANT, [row.id for row in rows])}
            found: dict[UUID, dict[str, str]] = {}
            for version, name, state in session.execute(select(StageRow.version_id, StageRow.name, StageRow.state)):
                found.setdefault(version, {})[name] = state
            ordinals = {one.id: one.ordinal for one in session.execute(select(VersionRow.id, VersionRow.ordinal))}
        assert {row.id for row in rows} == set(self.alive.values()) | self.deleted
        assert all(set(states) == set(StageName) for states in found.values()), "a stage was lost"
        for row in rows:
            states = [found[row.newest_version][name] for name in StageName]
            status = statuses[row.id]
            if row.deleted_at is not None:
                assert status.state is DocumentState.DELETED
                assert not {"waiting", "queued", "leased"} & set(states)
                continue
            done = states.count("done")
            if done == len(states):
                assert (status.state, status.searchable_version) == (DocumentState.SEARCHABLE, row.newest_version)
                continue
            # Done ones first, then exactly one that is to be done, then those that wait for it.
            assert states[:done] == ["done"] * done
            assert states[done] in {"queued", "leased", "failed"}
            assert set(states[done + 1 :]) <= {"waiting"}
            assert status.state == states[done]
            assert status.stage == tuple(StageName)[done]
            if row.current_version is not None:
                assert ordinals[row.current_version] < ordinals[row.newest_version]

    @invariant()
    def whatever_is_queued_or_lapsed_can_be_claimed(self) -> None:
        # Read off the rows themselves: no turn, index or walk stands between a stage and its worker.
        free = or_(StageRow.state == "queued", and_(StageRow.state == "leased", StageRow.lease_until == 0))
        with self.database.transaction() as session:
            expected = set(session.scalars(select(StageRow.id).where(free)))
            assert stages.has_claimable(session, tuple(StageName)) == bool(expected)
            claimed = stages.claim(session, tuple(StageName), owner="invariant", limit=99, lease_seconds=60)
            assert {one.id for one in claimed} == expected
            session.rollback()

    @invariant()
    def fences_only_grow(self) -> None:
        with self.database.reading() as session:
            rows = session.execute(select(StageRow.id, StageRow.fence, StageRow.state)).all()
        for row in rows:
            assert row.fence == self.fences[row.id]
        assert {row.id for row in rows if row.state == "leased"} == set(self.holder)

    def teardown(self) -> None:
        with self.database.transaction() as session:
            stages.reclaim_all(session)
            for document in self.alive.values():
                documents.retry(session, TENANT, document)
        self.story.finish_everything()
        for document in self.alive.values():
            assert self.story.status(document).state is DocumentState.SEARCHABLE
        super().teardown()

    def _claim(self, names: tuple[StageName, ...], limit: int) -> list[ClaimedStage]:
        claimed = self.story.claim(*names, limit=limit)
        for one in claimed:
            assert one.id not in self.holder or one.id in self.lapsed, "a stage was given to two workers"
            self.lapsed.discard(one.id)
            assert one.fence > self.fences[one.id]
            self.holder[one.id] = self.fences[one.id] = one.fence
        return claimed

    def _state(self, document: DocumentId) -> DocumentState:
        return self.story.status(document).state

    def _holds(self, claimed: ClaimedStage) -> bool:
        return self.holder.get(claimed.id) == claimed.fence

    def _attempt(self, claimed: ClaimedStage, deed: Callable[[Session], object]) -> bool:
        """Do it, and check that it takes effect exactly if the claim still holds."""
        held = self._holds(claimed)
        try:
            with self.database.transaction() as session:
                deed(session)
        except LeaseLost:
            assert not held, "a lease that holds was refused"
            return False
        assert held, "a lease that was lost took effect"
        del self.holder[claimed.id]
        with self.database.reading() as session:  # A flip takes the work on older versions from its workers.
            cancelled = session.scalars(select(StageRow.id).where(StageRow.state == "cancelled")).all()
        for stage in cancelled:
            self.holder.pop(StageId(stage), None)
        return True


@pytest.mark.slow
@pytest.mark.timeout(900)  # Many transactions, each waiting for the disk.
def test_no_interleaving_loses_doubles_or_sticks(database: Database) -> None:
    class OnThisDatabase(Interleavings):
        def __init__(self) -> None:
            super().__init__(database)

    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(max_examples=20, stateful_step_count=30),
    )
