import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import Principal
from core.errors import InvalidInput
from core.ids import ChunkId, DocumentId, TenantId, VersionId
from retrieval.checking import CatalogueChunk
from retrieval.index.memory import MemoryIndex
from retrieval.ports import Passage
from retrieval.search import HybridSearch, SearchResult, Stage, Timing
from tests.retrieval.corpora import principal
from tests.retrieval.library import EMBEDDER, SPARSE, LengthReranker, Library, Payload, may_read

ANN = principal("user:ann", "group:staff", "*")
STAGES: tuple[Stage, ...] = get_args(Stage)
WORDS = "whale shark gull harbour ship seal tide wave salt sand reef pearl anchor sail mast".split()  # noqa: SIM905


def names(result: SearchResult) -> list[str]:
    return [hit.name for hit in result.hits]


def sentence(number: int) -> str:
    dice = random.Random(number)  # noqa: S311 - a test corpus
    return " ".join(dice.choices(WORDS, k=dice.randint(3, 12)))


def stale_library(count: int, *, readable: int, payload_is_stale: bool) -> Library:
    """Documents of which the principal may read each (count // readable)-th; a stale payload says it may read all."""
    library = Library()
    for number in range(count):
        shared = number % (count // readable) == 0
        believed: Payload = (["*"], []) if payload_is_stale else None
        library.add(f"d{number}", sentence(number), allow=["*"] if shared else ["user:bob"], payload=believed)
    return library


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_finds_the_passage(stage: Stage) -> None:
    library = Library()
    library.add("whales", "Whales sing in the deep.")
    library.add("tax", "Taxes are due in May.")
    result = library.searched_by(LengthReranker()).search("singing whales", principal=ANN, limit=1, stage=stage)
    assert names(result) == ["whales"]
    assert result.hits[0].title == "Title of whales"


@pytest.mark.parametrize("stage", STAGES)
def test_empty_closure_gets_nothing_and_nobody_is_asked(stage: Stage) -> None:
    nobody: Any = _Untouchable()
    search = HybridSearch(embedder=nobody, sparse=nobody, index=nobody, catalogue=nobody)
    result = search.search("whales", principal=principal(), limit=10, stage=stage)
    assert result.hits == ()
    assert set(result.counts.values()) == {0}


class _Untouchable:
    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} was used")


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(InvalidInput):
        Library().searched_by().search("whales", principal=ANN, limit=limit)


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_stored_gives_no_hits(stage: Stage) -> None:
    assert Library().searched_by(LengthReranker()).search("x", principal=ANN, limit=5, stage=stage).hits == ()


@pytest.mark.parametrize("stage", STAGES)
def test_revoked_document_is_gone_although_the_payload_still_allows_it(stage: Stage) -> None:
    library = Library()
    library.add("denied", "whales sing", deny=["user:ann"], payload=(["*"], []))
    library.add("taken away", "whales sing", allow=["user:bob"], payload=(["user:ann"], []))
    library.add("open", "whales")
    result = library.searched_by(LengthReranker()).search("whales sing", principal=ANN, limit=10, stage=stage)
    assert names(result) == ["open"]
    assert all(rank in (None, 1) for rank in (result.hits[0].ranks.dense, result.hits[0].ranks.bm25))
    assert max(result.counts.values()) == 1


@pytest.mark.parametrize("stage", STAGES)
def test_payload_99_percent_stale_leaks_nothing_and_still_fills_the_limit(stage: Stage) -> None:
    stale = stale_library(1_500, readable=15, payload_is_stale=True)
    fresh = stale_library(1_500, readable=15, payload_is_stale=False)
    query = "whale shark gull harbour ship seal tide wave salt sand reef pearl anchor sail mast"
    result = stale.searched_by(LengthReranker()).search(query, principal=ANN, limit=10, stage=stage)
    assert len(result.hits) == 10
    assert {int(name[1:]) % 100 for name in names(result)} == {0}
    expected = fresh.searched_by(LengthReranker()).search(query, principal=ANN, limit=10, stage=stage)
    assert names(result) == names(expected)
    assert [hit.ranks for hit in result.hits] == [hit.ranks for hit in expected.hits]
    assert result.counts == expected.counts
    if stage in ("hybrid", "reranked"):  # scores of one arm carry the tenant's statistics, which are the same here too
        assert [hit.score for hit in result.hits] == [hit.score for hit in expected.hits]


@pytest.mark.slow
@settings(max_examples=40)
@given(
    seed=st.integers(0, 1_000),
    closure=st.sets(st.sampled_from(["*", "user:ann", "group:staff", "group:eng"]), min_size=1),
    limit=st.integers(1, 40),
)
def test_a_stale_payload_changes_nothing_but_the_time_it_takes(seed: int, closure: set[str], limit: int) -> None:
    dice, stale, fresh = random.Random(seed), Library(), Library()  # noqa: S311 - a test corpus
    entries = ["*", "user:ann", "group:staff", "group:eng", "user:bob"]
    for number in range(120):
        allow = dice.sample(entries, dice.randint(0, 2))
        deny = dice.sample(entries, dice.choice([0, 0, 1]))
        believed: Payload = (
            (sorted({*allow, *entries}), []) if dice.random() < 0.5 else None
        )  # stale towards too much only
        for library, payload in ((stale, believed), (fresh, None)):
            texts = [sentence(1_000 * number + part) for part in range(number % 3 + 1)]
            library.add(f"d{number}", *texts, allow=allow, deny=deny, payload=payload)
    who = principal(*closure)
    for stage in STAGES:
        found = stale.searched_by(LengthReranker()).search("whale reef anchor", principal=who, limit=limit, stage=stage)
        expected = fresh.searched_by(LengthReranker()).search(
            "whale reef anchor", principal=who, limit=limit, stage=stage
        )
        assert found.hits == expected.hits
        assert all(may_read(stale.held[hit.chunk.document], who) for hit in found.hits)


@pytest.mark.parametrize("stage", STAGES)
def test_only_the_current_version_is_found(stage: Stage) -> None:
    library = Library()
    for number in range(300):
        library.add(f"d{number}", "whales sing in the deep sea")
        library.replace_version(f"d{number}", "whales sing, so they say, in every sea")
    result = library.searched_by(LengthReranker()).search("whales deep", principal=ANN, limit=30, stage=stage)
    assert len(result.hits) == 30
    assert all(library.held[hit.chunk.document].current == hit.chunk.version for hit in result.hits)


class ChangingLibrary(Library):
    """Documents get new versions while it is asked: before each answer of one kind, one of the texts that are left."""

    def __init__(self, texts: Sequence[str], *, before: Literal["versions", "rows"]) -> None:
        super().__init__()
        self._texts = list(texts)
        self._before = before

    def current_versions(
        self, documents: Collection[DocumentId], *, principal: Principal
    ) -> Mapping[DocumentId, VersionId]:
        if self._before == "versions":
            self._change()
        return super().current_versions(documents, principal=principal)

    def chunks(self, chunks: Collection[ChunkId], *, principal: Principal) -> Mapping[ChunkId, CatalogueChunk]:
        if self._before == "rows":
            self._change()
        return super().chunks(chunks, principal=principal)

    def _change(self) -> None:
        if self._texts:
            [old] = self.held.values()
            self.replace_version("doc", self._texts.pop(0))
            self.index.delete(old.tenant, old.id, version=old.current)  # The purge may follow at once.


@pytest.mark.parametrize("changes", [1, 2, 4])
@pytest.mark.parametrize("before", ["versions", "rows"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_document_that_changes_while_it_is_searched_for_is_found_as_it_is_now(
    stage: Stage, before: Literal["versions", "rows"], changes: int
) -> None:
    library = ChangingLibrary([f"whales sing song {number}" for number in range(1, changes + 1)], before=before)
    library.add("doc", "whales sing song 0")
    [hit] = library.searched_by(LengthReranker()).search("whales sing", principal=ANN, limit=10, stage=stage).hits
    assert hit.chunk.text == f"whales sing song {changes}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_version_that_does_not_match_is_looked_for_once_more_and_no_longer(stage: Stage) -> None:
    library = Library()
    library.add("doc", "whales sing")
    library.replace_version("doc", "")
    search = library.searched_by(LengthReranker())
    assert [hit.chunk.text for hit in search.search("whales", principal=ANN, limit=5, stage=stage).hits] in ([], [""])
    assert len(library.asked) <= 2


@pytest.mark.parametrize("stage", STAGES)
def test_points_without_a_row_are_passed_over_and_the_limit_is_filled(stage: Stage) -> None:
    library = Library()
    for number in range(400):
        library.add(f"d{number}", "whales " * (1 + number % 7))
        if number % 4:
            library.forget_chunks(f"d{number}")
    result = library.searched_by(LengthReranker()).search("whales", principal=ANN, limit=50, stage=stage)
    assert len(result.hits) == 50
    assert {int(name[1:]) % 4 for name in names(result)} == {0}


def test_another_tenants_documents_are_never_found() -> None:
    library, theirs = Library(), TenantId("theirs")
    library.add("ours", "whales sing")
    library.add("theirs", "whales sing", tenant=theirs)
    who = Principal(tenant=theirs, closure=frozenset({"*"}))
    assert names(library.searched_by().search("whales", principal=who, limit=5)) == ["theirs"]


def test_hybrid_fuses_both_arms_and_tells_their_ranks() -> None:
    library = Library()
    library.add("both", "whales sing in the deep")
    library.add("other", "ships sail in the harbour")
    [first, second] = library.searched_by().search("whales sing", principal=ANN, limit=5, stage="hybrid").hits
    assert (first.name, first.ranks.dense, first.ranks.bm25, first.ranks.rerank) == ("both", 1, 1, None)
    assert (second.ranks.dense, second.ranks.bm25) == (2, None)
    assert first.score == 1.0  # 1/2 from each arm
    assert second.score == pytest.approx(1 / 3)


def test_stages_of_one_arm_score_as_the_arm_does() -> None:
    library = Library()
    library.add("whales", "whales sing")
    search = library.searched_by()
    [dense] = search.search("whales sing", principal=ANN, limit=5, stage="dense").hits
    [bm25] = search.search("whales sing", principal=ANN, limit=5, stage="bm25").hits
    assert dense.score == pytest.approx(1.0, abs=1e-6)
    assert (dense.ranks.dense, dense.ranks.bm25) == (1, None)
    assert (bm25.ranks.dense, bm25.ranks.bm25) == (None, 1)
    arm = library.index.search_bm25(SPARSE.encode_query("whales sing"), principal=ANN, limit=1)
    assert bm25.score == arm[0].score
    assert search.search("unheard", principal=ANN, limit=5, stage="bm25").hits == ()


@dataclass
class RecordingReranker:
    """Likes what is further down; keeps what it was given."""

    id: str = "recording"
    seen: list[Passage] = field(default_factory=list)

    def score(self, query: str, passages: Sequence[Passage]) -> list[float | None]:
        assert query
        self.seen.extend(passages)
        return [float(place) for place, _ in enumerate(passages)]


def thirty_and_more() -> Library:
    library = Library()
    for number in range(60):
        library.add(f"d{number}", f"whales {sentence(number)}")
    return library


def test_reranked_gives_as_many_hits_as_asked_for_beyond_what_the_reranker_reads() -> None:
    search = thirty_and_more().searched_by(LengthReranker(budget=5))
    hybrid = search.search("whale reef", principal=ANN, limit=30, stage="hybrid")
    reranked = search.search("whale reef", principal=ANN, limit=30)
    assert len(reranked.hits) == 30
    assert set(names(reranked)[:5]) == set(names(hybrid)[:5])
    assert names(reranked)[5:] == names(hybrid)[5:]
    assert [hit.ranks.rerank is not None for hit in reranked.hits] == [True] * 5 + [False] * 25


def test_a_small_limit_is_chosen_from_all_that_the_reranker_reads() -> None:
    library, reranker = thirty_and_more(), RecordingReranker()
    result = library.searched_by(reranker).search("whale reef", principal=ANN, limit=3)
    assert len(reranker.seen) == 20
    assert len(result.hits) == 3
    assert result.counts["reranked"] == 20


def test_reranker_reads_only_what_the_principal_may_read() -> None:
    library, reranker = Library(), RecordingReranker()
    library.add("secret", "whales sing a secret", deny=["user:ann"], payload=(["*"], []))
    library.add("open", "whales sing")
    library.searched_by(reranker).search("whales sing a secret", principal=ANN, limit=5)
    assert [passage.text for passage in reranker.seen] == ["whales sing"]


def test_without_a_reranker_reranked_is_hybrid() -> None:
    search = thirty_and_more().searched_by()
    assert (
        search.search("whale", principal=ANN, limit=9).hits
        == search.search("whale", principal=ANN, limit=9, stage="hybrid").hits
    )


def test_reranker_that_reads_nothing_leaves_the_fused_order() -> None:
    library = thirty_and_more()
    untouched = library.searched_by().search("whale reef", principal=ANN, limit=30)
    assert library.searched_by(LengthReranker(budget=0)).search("whale reef", principal=ANN, limit=30).hits == (
        untouched.hits
    )


def test_catalogue_is_asked_once_about_each_document() -> None:
    library = stale_library(600, readable=6, payload_is_stale=True)
    library.searched_by().search("whale reef", principal=ANN, limit=5)
    asked = [one for question in library.asked for one in question]
    assert len(asked) == len(set(asked))


def test_fresh_payload_needs_one_question() -> None:
    library = thirty_and_more()
    library.searched_by().search("whale reef", principal=ANN, limit=5)
    assert len(library.asked) == 1


def test_timings_name_every_step() -> None:
    result = thirty_and_more().searched_by(LengthReranker()).search("whale", principal=ANN, limit=5)
    assert set(result.timings_ms) == set(get_args(Timing))
    parts = sum(ms for step, ms in result.timings_ms.items() if step != "total")
    assert 0 < parts <= result.timings_ms["total"]


def test_same_question_gives_the_same_hits() -> None:
    library = Library()
    for number in range(50):
        library.add(f"d{number}", "the same words everywhere")
    search = library.searched_by(LengthReranker())
    assert len({search.search("words", principal=ANN, limit=7).hits for _ in range(3)}) == 1


@pytest.mark.parametrize("k", [0, -3])
def test_fusion_constant_that_divides_by_zero_is_refused_when_built(k: int) -> None:
    with pytest.raises(InvalidInput):
        HybridSearch(embedder=EMBEDDER, sparse=SPARSE, index=MemoryIndex(), catalogue=Library(), rrf_k=k)
