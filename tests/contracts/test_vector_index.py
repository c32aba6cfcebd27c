"""One suite for every vector index.

Memory (the exact reference), Qdrant Edge, qdrant-client's local mode, qdrant-client over `footnote index`, a server.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from core.domain import Principal
from core.ids import DEFAULT_TENANT, DocumentId, IndexId
from retrieval.index.edge import EdgeIndex
from retrieval.index.memory import MemoryIndex
from retrieval.index.qdrant import QdrantIndex
from retrieval.index.qdrant_connection import connect
from retrieval.ports import Candidate, IndexPoint, SparseVector, Vector, VectorIndex
from tests.retrieval.corpora import (
    DIM,
    GROUPS,
    OTHER_TENANT,
    USERS,
    chunk,
    document,
    may_read,
    point,
    principal,
    random_points,
    sparse,
    unit,
    vector,
    version,
)
from tests.retrieval.index.index_process import IndexProcess

# The local mode says so whenever it leaves out what only a server has.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]

Make = Callable[[], VectorIndex]
SERVER = os.environ.get("FOOTNOTE_TEST_QDRANT_URL")
GRPC_PORT = os.environ.get("FOOTNOTE_TEST_QDRANT_GRPC_PORT")
no_server = pytest.mark.skipif(SERVER is None, reason="FOOTNOTE_TEST_QDRANT_URL names no Qdrant server")
no_grpc = pytest.mark.skipif(
    SERVER is None or GRPC_PORT is None, reason="FOOTNOTE_TEST_QDRANT_URL and …_GRPC_PORT name no Qdrant server"
)
ENGINES = [
    "memory",
    "edge",
    "qdrant-local",
    pytest.param("footnote-index", marks=pytest.mark.slow),
    pytest.param("qdrant-server", marks=[pytest.mark.slow, no_server]),
    pytest.param("qdrant-grpc", marks=[pytest.mark.slow, no_grpc]),
]
ALICE = principal("user:alice", "*")


@pytest.fixture(scope="session")
def footnote_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a `footnote index` in a process of its own."""
    process = IndexProcess(tmp_path_factory.mktemp("footnote-index") / "data").start()
    yield process.url
    assert process.end() == 0
    assert process.complaints() == []


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes a fresh index as often as it is called."""
    opened: list[VectorIndex] = []
    dropped: list[tuple[QdrantClient, str]] = []

    def fresh() -> VectorIndex:
        name = IndexId(uuid4().hex[:16])
        index: VectorIndex
        match request.param:
            case "memory":
                index = MemoryIndex()
            case "edge":
                index = EdgeIndex(tmp_path / name, index_id=name, dim=DIM)
            case "qdrant-local":
                index = QdrantIndex(QdrantClient(":memory:"), index_id=name, dim=DIM)
            case "footnote-index":
                url = request.getfixturevalue("footnote_index")
                index = connect(url, api_key=None, index_id=name, dim=DIM)
                client = QdrantClient(url=url, timeout=60, check_compatibility=False, trust_env=False)
                dropped.append((client, f"footnote_{name}"))
            case _:
                assert SERVER is not None
                key = os.environ.get("FOOTNOTE_TEST_QDRANT_API_KEY")
                grpc_port = int(GRPC_PORT or 0) if request.param == "qdrant-grpc" else None
                index = connect(SERVER, api_key=key, index_id=name, dim=DIM, grpc_port=grpc_port)
                dropped.append((QdrantClient(SERVER, api_key=key), f"footnote_{name}"))
        opened.append(index)
        return index

    yield fresh
    for index in opened:
        index.close()
    for client, collection in dropped:
        client.delete_collection(collection)
        client.close()


@pytest.fixture
def index(make: Make) -> VectorIndex:
    return make()


def dense(
    index: VectorIndex, who: Principal = ALICE, *, limit: int = 10, near: Vector | None = None
) -> list[Candidate]:
    return index.search_dense(vector(1.0) if near is None else near, principal=who, limit=limit)


def bm25(
    index: VectorIndex, who: Principal = ALICE, *, limit: int = 10, terms: SparseVector | None = None
) -> list[Candidate]:
    return index.search_bm25(sparse(t1=1.0) if terms is None else terms, principal=who, limit=limit)


def both(index: VectorIndex, who: Principal = ALICE) -> list[set[object]]:
    """The chunks that each arm returns for a query that matches every default point."""
    return [{found.chunk for found in arm(index, who, limit=100)} for arm in (dense, bm25)]


def test_search_never_crosses_tenants(index: VectorIndex) -> None:
    index.upsert([point("mine"), point("theirs", tenant=OTHER_TENANT)])
    assert both(index) == [{chunk("mine")}] * 2
    assert both(index, principal("user:alice", "*", tenant=OTHER_TENANT)) == [{chunk("theirs")}] * 2


def test_only_allowed_and_not_denied_points_are_found(index: VectorIndex) -> None:
    index.upsert(
        [
            point("everyone"),
            point("alice", allow=["user:alice"]),
            point("nobody", allow=[]),
            point("bob", allow=["user:bob"]),
            point("denied", allow=["*", "user:alice"], deny=["user:alice"]),
            point("denied-to-bob", deny=["user:bob"]),
            point("denied-to-all", deny=["*"]),
        ]
    )
    assert both(index) == [{chunk("everyone"), chunk("alice"), chunk("denied-to-bob")}] * 2


def test_empty_closure_finds_nothing(index: VectorIndex) -> None:
    index.upsert([point("a"), point("b", allow=[])])
    assert both(index, principal()) == [set(), set()]


def test_excluded_documents_are_left_out_of_both_arms(index: VectorIndex) -> None:
    index.upsert([point("a"), point("b"), point("c")])
    excluded = [document("a"), document("c"), document("never seen")]
    for found in (
        index.search_dense(vector(1.0), principal=ALICE, limit=10, exclude=excluded),
        index.search_bm25(sparse(t1=1.0), principal=ALICE, limit=10, exclude=excluded),
    ):
        assert [candidate.document for candidate in found] == [document("b")]


def test_hundreds_of_excluded_documents_and_principals_are_no_problem(index: VectorIndex) -> None:
    index.upsert([point(number) for number in range(600)])
    who = principal("*", *(f"group:g{number}" for number in range(1_500)))
    excluded = {document(number) for number in range(590)}
    found = index.search_bm25(sparse(t1=1.0), principal=who, limit=100, exclude=excluded)
    assert {candidate.document for candidate in found} == {document(number) for number in range(590, 600)}


def test_candidates_carry_document_version_and_score(index: VectorIndex) -> None:
    index.upsert([point("a", of="doc", versioned="v7", dense=vector(0.6, 0.8))])
    [found] = dense(index)
    assert (found.chunk, found.document, found.version) == (chunk("a"), document("doc"), version("v7"))
    assert found.score == pytest.approx(0.6, abs=1e-5)


def test_dense_order_is_by_cosine(index: VectorIndex) -> None:
    index.upsert([point(f"p{x}", dense=vector(x, 1.0)) for x in (0.5, -2.0, 3.0, 1.0)])
    assert [found.chunk for found in dense(index)] == [chunk(f"p{x}") for x in (3.0, 1.0, 0.5, -2.0)]


def test_bm25_returns_only_points_that_share_a_term(index: VectorIndex) -> None:
    index.upsert([point("a", terms=sparse(t1=1.0)), point("b", terms=sparse(t2=1.0)), point("c", terms=sparse())])
    assert [found.chunk for found in bm25(index)] == [chunk("a")]
    assert bm25(index, terms=sparse(t9=1.0)) == []


def test_query_without_terms_finds_nothing(index: VectorIndex) -> None:
    index.upsert([point("a"), point("b", terms=sparse())])
    assert bm25(index, terms=sparse()) == []


def test_bm25_score_is_the_weights_times_qdrants_idf(index: VectorIndex) -> None:
    index.upsert(
        [point("a", terms=sparse(t1=1.5, t2=0.5)), point("b", terms=sparse(t2=2.0)), point("c", terms=sparse())]
    )
    scores = {found.chunk: found.score for found in bm25(index, terms=sparse(t1=1.0, t2=1.0))}
    rare, common = np.log((3 - 1 + 0.5) / 1.5 + 1), np.log((3 - 2 + 0.5) / 2.5 + 1)
    assert scores == {
        chunk("a"): pytest.approx(1.5 * rare + 0.5 * common, abs=1e-4),
        chunk("b"): pytest.approx(2.0 * common, abs=1e-4),
    }


def test_documents_of_other_tenants_never_change_a_score(index: VectorIndex) -> None:
    index.upsert(random_points(30, seed=1))
    query = sparse(t1=1.0, t2=1.0, t3=1.0)
    before = bm25(index, principal(*GROUPS, "*"), terms=query)
    index.upsert(random_points(60, seed=2, tenant=OTHER_TENANT))
    after = bm25(index, principal(*GROUPS, "*"), terms=query)
    assert before
    assert after == before


def test_deleted_points_leave_the_statistics_at_once(index: VectorIndex, make: Make) -> None:
    kept, gone = random_points(30, seed=1), random_points(30, seed=2)
    index.upsert([*kept, *gone])
    for stored in gone:
        index.delete(stored.tenant, stored.document)
    untouched = make()
    untouched.upsert(kept)
    query, who = sparse(t1=1.0, t2=1.0), principal(*GROUPS, "*")
    assert bm25(index, who, terms=query) == bm25(untouched, who, terms=query)


def test_equal_scores_are_ordered_by_chunk_id_wherever_the_cut_is(index: VectorIndex) -> None:
    index.upsert([point(number) for number in range(40)])
    expected = sorted(chunk(number) for number in range(40))
    for limit in (1, 5, 39, 40, 41):
        for arm in (dense, bm25):
            assert [found.chunk for found in arm(index, limit=limit)] == expected[:limit]


def test_limit_of_zero_returns_nothing(index: VectorIndex) -> None:
    index.upsert([point("a")])
    assert dense(index, limit=0) == bm25(index, limit=0) == []


def test_upserting_twice_stores_once_and_replaces(index: VectorIndex) -> None:
    index.upsert([point("a", allow=["user:bob"]), point("b", of="a")])
    index.upsert([point("a", terms=sparse(t5=1.0)), point("b", of="a")])
    assert index.count(DEFAULT_TENANT, document("a"), version("v1")) == 2
    assert [found.chunk for found in bm25(index, terms=sparse(t5=1.0))] == [chunk("a")]
    assert [found.chunk for found in bm25(index)] == [chunk("b")]


def test_upsert_of_nothing_is_fine(index: VectorIndex) -> None:
    index.upsert([])
    index.flush()
    assert list(index.stored()) == []


def test_count_is_exact_per_tenant_document_and_version(index: VectorIndex) -> None:
    index.upsert([point(f"a{number}", of="a") for number in range(70)])
    index.upsert([point("old", of="a", versioned="v0"), point("other", of="b")])
    index.upsert([point("foreign", of="a", tenant=OTHER_TENANT)])
    assert index.count(DEFAULT_TENANT, document("a"), version("v1")) == 70
    assert index.count(DEFAULT_TENANT, document("a"), version("v0")) == 1
    assert index.count(OTHER_TENANT, document("a"), version("v1")) == 1
    assert index.count(DEFAULT_TENANT, document("c"), version("v1")) == 0


def test_set_access_replaces_the_payload_and_nothing_else(index: VectorIndex) -> None:
    stored = [point("a1", of="a", dense=vector(0.6, 0.8)), point("a2", of="a"), point("b")]
    index.upsert([*stored, point("a9", of="a", tenant=OTHER_TENANT)])
    before = dense(index)
    index.set_access(DEFAULT_TENANT, document("a"), allow=["user:bob"], deny=[])
    assert both(index) == [{chunk("b")}] * 2
    assert both(index, principal("user:bob")) == [{chunk("a1"), chunk("a2")}] * 2
    assert both(index, principal("*", tenant=OTHER_TENANT)) == [{chunk("a9")}] * 2
    index.set_access(DEFAULT_TENANT, document("a"), allow=["*"], deny=["user:eve"])
    assert dense(index) == before
    assert both(index, principal("user:eve", "*")) == [{chunk("b")}] * 2
    index.set_access(DEFAULT_TENANT, document("unknown"), allow=["*"], deny=[])


def test_access_emptied_of_entries_is_read_by_nobody(index: VectorIndex) -> None:
    index.upsert([point("a")])
    index.set_access(DEFAULT_TENANT, document("a"), allow=[], deny=[])
    assert both(index) == [set(), set()]


def test_delete_takes_the_document_or_one_version_and_may_run_twice(index: VectorIndex) -> None:
    index.upsert([point("old", of="a", versioned="v1"), point("new", of="a", versioned="v2"), point("b")])
    index.upsert([point("foreign", of="a", tenant=OTHER_TENANT)])
    for _ in range(2):
        index.delete(DEFAULT_TENANT, document("a"), version=version("v1"))
        assert {stored.chunk for stored in index.stored()} == {chunk("new"), chunk("b"), chunk("foreign")}
    for _ in range(2):
        index.delete(DEFAULT_TENANT, document("a"))
        assert {stored.chunk for stored in index.stored()} == {chunk("b"), chunk("foreign")}


def test_a_page_begins_where_the_one_before_ended_also_when_its_first_point_is_gone(index: VectorIndex) -> None:
    stored = [*random_points(250, seed=3), *random_points(50, seed=4, tenant=OTHER_TENANT)]
    index.upsert(stored)
    order = list(index.stored())
    page = index.stored_page(limit=100)
    assert list(page.points) == order[:100]
    gone = order[100]
    index.delete_chunks(gone.tenant, gone.document, [gone.chunk])
    seen = list(page.points)
    while page.next is not None:
        page = index.stored_page(page.next, limit=100)
        seen += page.points
    assert seen == [one for one in order if one != gone]


def test_stored_tells_the_place_and_the_access_of_every_point(index: VectorIndex) -> None:
    stored = [*random_points(700, seed=5), *random_points(50, seed=6, tenant=OTHER_TENANT)]
    index.upsert(stored)
    index.set_access(DEFAULT_TENANT, stored[0].document, allow=["user:bob"], deny=["*"])
    seen = {one.chunk: one for one in index.stored()}
    assert list(index.stored()) == list(seen.values())  # the same order, and each once
    for one in stored:
        changed = (one.tenant, one.document) == (DEFAULT_TENANT, stored[0].document)
        found = seen.pop(one.chunk)
        assert (found.tenant, found.document, found.version) == (one.tenant, one.document, one.version)
        assert set(found.allow) == ({"user:bob"} if changed else set(one.allow))
        assert set(found.deny) == ({"*"} if changed else set(one.deny))
    assert not seen


@pytest.mark.slow
def test_looking_through_survives_writes_between_its_pages(index: VectorIndex) -> None:
    stored = random_points(1_500, seed=7)
    index.upsert(stored)
    gone = {one.document for one in stored[:300]}
    kept = {one.chunk for one in stored if one.document not in gone}
    seen: list[object] = []
    for number, one in enumerate(index.stored()):
        seen.append(one.chunk)
        if number == 10:
            for document_ in gone:
                index.delete(DEFAULT_TENANT, document_)
            index.upsert(random_points(60, seed=8))
    assert len(set(seen)) == len(seen)
    assert kept <= set(seen)


def test_delete_chunks_removes_exactly_these_points(index: VectorIndex) -> None:
    index.upsert([point("a1", of="a"), point("a2", of="a", versioned="v0"), point("a3", of="a"), point("b")])
    index.upsert([point("a9", of="a", tenant=OTHER_TENANT)])
    for _ in range(2):
        index.delete_chunks(DEFAULT_TENANT, document("a"), [chunk("a1"), chunk("a2"), chunk("b"), chunk("a9")])
        assert {stored.chunk for stored in index.stored()} == {chunk("a3"), chunk("b"), chunk("a9")}
    index.delete_chunks(DEFAULT_TENANT, document("a"), [])
    assert {stored.chunk for stored in index.stored()} == {chunk("a3"), chunk("b"), chunk("a9")}


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), closure=st.sets(st.sampled_from([*GROUPS, *USERS, "*"]), max_size=5))
def test_arms_agree_with_the_exact_reference(make: Make, seed: int, closure: set[str]) -> None:
    stored = [*random_points(90, seed=seed), *random_points(30, seed=seed + 1, tenant=OTHER_TENANT)]
    who, rng = principal(*closure), np.random.default_rng(seed)
    index, reference = make(), MemoryIndex()
    for one in (index, reference):
        one.upsert(stored)
    excluded = {stored[0].document, stored[30].document}
    query = SparseVector(indices=(1, 2, 3, 50), values=(1.0, 1.0, 1.0, 1.0))
    near = unit(rng)
    for limit in (10, 200):
        found = index.search_dense(near, principal=who, limit=limit, exclude=excluded)
        assert_same(found, reference.search_dense(near, principal=who, limit=limit, exclude=excluded))
        assert_readable(found, who, stored, excluded)
        found = index.search_bm25(query, principal=who, limit=limit, exclude=excluded)
        assert_same(found, reference.search_bm25(query, principal=who, limit=limit, exclude=excluded))
        assert_readable(found, who, stored, excluded)


def assert_same(found: Sequence[Candidate], expected: Sequence[Candidate]) -> None:
    """The same scores within 1e-4, and the same chunks wherever scores are further apart than that."""
    scores = [candidate.score for candidate in expected]
    assert [candidate.score for candidate in found] == pytest.approx(scores, abs=1e-4)
    for place, candidate in enumerate(expected):
        others = [*scores[max(place - 1, 0) : place], *scores[place + 1 : place + 2]]
        if place + 1 < len(expected) and all(abs(candidate.score - other) > 2e-4 for other in others):
            assert found[place].chunk == candidate.chunk


def assert_readable(
    found: Sequence[Candidate], who: Principal, stored: Sequence[IndexPoint], excluded: set[DocumentId]
) -> None:
    readable = {one.chunk for one in stored if may_read(who, one) and one.document not in excluded}
    assert {candidate.chunk for candidate in found} <= readable
