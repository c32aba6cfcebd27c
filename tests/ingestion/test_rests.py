"""Whoever asks to be left alone is: an embedder by an error of its own, an index over real HTTP."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

import ingestion.rests
from core.db.clock import SECOND
from core.db.session import Database
from core.db.stages import LONGEST_DELAY_SECONDS, asked_delay
from core.domain import DocumentState, Reason, StageName
from core.errors import ModelUnavailable, Unavailable
from core.ids import DocumentId
from ingestion.rests import LONGEST_SECONDS, Rest
from retrieval.index.qdrant_connection import connect
from tests.ingestion.conftest import Clock
from tests.ingestion.works import INDEX, Works, story
from tests.retrieval.index.gateway import Gateway, gateway
from tests.retrieval.index.index_process import IndexProcess

CLOCK_SECONDS = 0.01  # The catalogue's clock counts in milliseconds.


def test_a_delay_is_never_shorter_than_asked_and_never_without_bounds() -> None:
    asked = {
        seconds: [asked_delay(Unavailable("", retry_after=seconds)) or 0.0 for _ in range(50)]
        for seconds in (0, 20, 9_999)
    }
    assert all(1 <= delay <= 1.25 for delay in asked[0])
    assert all(20 <= delay <= 25 for delay in asked[20])
    assert len(set(asked[20])) > 10  # Not all come back at once.
    assert all(LONGEST_DELAY_SECONDS <= delay <= 1.25 * LONGEST_DELAY_SECONDS for delay in asked[9_999])
    assert asked_delay(Unavailable("")) is None
    assert asked_delay(ValueError()) is None


def test_a_rest_lasts_as_long_as_the_longest_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(ingestion.rests, "time", clock)
    rest = Rest()
    assert rest.over
    rest.begin(None)
    assert rest.over
    rest.begin(20)
    rest.begin(1)
    clock.now += 19
    assert not rest.over
    clock.now += 1
    assert rest.over
    rest.begin(9_999)
    clock.now += LONGEST_SECONDS - 1
    assert not rest.over
    clock.now += 1
    assert rest.over


def _busy(seconds: float) -> NoReturn:
    raise ModelUnavailable("The embedder is overloaded.", retry_after=seconds)


def _assert_waits(works: Works, name: StageName, document: DocumentId, seconds: float, *, since: float) -> None:
    """The stage was put off, at some moment since then, for so many seconds or a quarter more, and is unattempted."""
    row = works.stage(document, name)
    assert (row.state, row.attempt) == ("queued", 0)
    assert since + seconds - CLOCK_SECONDS <= row.ready_at / SECOND <= time.time() + 1.25 * seconds + CLOCK_SECONDS


def test_an_embedder_that_asks_for_time_gets_it_and_no_attempt_is_counted(works: Works) -> None:
    documents = [works.upload(story(topic), f"{topic}.txt") for topic in ("tea", "coffee")]
    works.embedder.spoil = lambda _texts, _vectors: _busy(20)
    began = time.time()
    works.work()

    for document in documents:
        _assert_waits(works, StageName.EMBED, document, 20, since=began)
        assert works.stage(document, StageName.EMBED).reason == Reason.EMBEDDER_FAILED
    works.hurry()
    calls = len(works.embedder.calls)
    third = works.upload(story("cocoa"), "cocoa.txt")
    works.work()
    assert len(works.embedder.calls) == calls, "it was asked again before its time"
    assert works.stage(third, StageName.EMBED).state == "queued"

    works.embedder.spoil = None
    works.restart()  # A new process asks once.
    works.work()
    assert {works.status(document).state for document in (*documents, third)} == {DocumentState.SEARCHABLE}


@pytest.mark.slow
def test_an_embedder_that_asks_for_a_moment_is_asked_again_after_it(works: Works) -> None:
    refusals = 3

    def spoil(_texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal refusals
        if refusals:
            refusals -= 1
            _busy(0.0)
        return vectors

    works.embedder.spoil = spoil
    document = works.upload(story("tea"))
    deadline = time.monotonic() + 60
    while works.status(document).state is not DocumentState.SEARCHABLE:
        works.work()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert works.stage(document, StageName.EMBED).attempt == 1


@pytest.fixture
def busy_index(sqlite_database: Database, tmp_path: Path) -> Iterator[tuple[Works, Gateway]]:
    process = IndexProcess(tmp_path / "index").start()
    try:
        with gateway(process.url) as gate:
            index = connect(gate.url, api_key=None, index_id=INDEX, dim=32)
            with closing(Works(sqlite_database, tmp_path, index=index)) as works:
                yield works, gate
    finally:
        process.end(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_an_index_that_asks_for_time_over_http_gets_it(busy_index: tuple[Works, Gateway], status: int) -> None:
    works, gate = busy_index
    document = works.upload(story("tea"))
    gate.status, gate.retry_after = status, "30"
    began = time.time()
    works.work()

    _assert_waits(works, StageName.INDEX, document, 30, since=began)
    works.hurry()
    before = gate.refused
    assert works.loop.run_once() == 0
    assert gate.refused == before, "it was asked again before its time"

    gate.status = None
    works.loop = works.new_loop()
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE
    works.delete(document)
    gate.status = status
    assert works.loop.run_once() == 1
    before = gate.refused
    assert works.loop.run_once() == 0
    assert gate.refused == before
    assert works.open_tasks() == 1
