"""Promise 3: no search without a `Principal`. No default, no `None`, and no call in the program that leaves it out."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import retrieval.checking
import retrieval.ports
from core.domain import Principal
from retrieval.catalogue import DatabaseCatalogue
from retrieval.index.edge import EdgeIndex
from retrieval.index.memory import MemoryIndex
from retrieval.index.qdrant import QdrantIndex
from retrieval.search import HybridSearch

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("footnote", "api", "ingestion", "evaluation", "generation", "retrieval", "core")
ARMS = ("search_dense", "search_bm25")
CATALOGUE = ("current_versions", "chunks")
ENGINES = {"qdrant_edge", "qdrant_client"}
SPEAKERS = {
    "retrieval/index/edge.py",
    "retrieval/index/qdrant.py",
    "retrieval/index/qdrant_connection.py",
    "retrieval/sparse.py",
}
SERVER = "retrieval/index/service/"  # `footnote index`: an engine like any other, asked through the adapters

SEARCHING = [
    HybridSearch.search,
    *(getattr(index, arm) for index in (EdgeIndex, QdrantIndex, MemoryIndex) for arm in ARMS),
    *(getattr(retrieval.ports.VectorIndex, arm) for arm in ARMS),
    *(getattr(kind, name) for kind in (retrieval.checking.Catalogue, DatabaseCatalogue) for name in CATALOGUE),
]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def searches(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls of an arm, and of `.search` on anything but the `re` module and a compiled pattern (a name in capitals)."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        pattern = isinstance(owner, ast.Name) and (owner.id == "re" or owner.id.isupper())
        if node.func.attr in ARMS or (node.func.attr == "search" and not pattern):
            yield node


@pytest.mark.parametrize("function", SEARCHING, ids=lambda function: str(function.__qualname__))
def test_principal_is_keyword_only_and_has_no_default(function: object) -> None:
    assert callable(function)
    parameter = inspect.signature(function, eval_str=True).parameters["principal"]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default is inspect.Parameter.empty
    assert parameter.annotation is Principal


def test_every_call_names_its_principal() -> None:
    calls = [(path, call) for path, tree in modules() for call in searches(tree)]
    assert len([call for path, call in calls if path == "retrieval/search.py"]) == len(ARMS)
    for path, call in calls:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert "principal" in given, f"{path}:{call.lineno} searches without a principal"
        assert not isinstance(given["principal"], ast.Constant), f"{path}:{call.lineno} searches as nobody"


def test_arms_are_only_ever_called_not_passed_around() -> None:
    """A bound arm that is handed on could be called out of sight of the test above."""
    for path, tree in modules():
        called = {id(call.func) for call in searches(tree)}
        loose = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in ARMS and id(node) not in called
        ]
        assert not loose, f"{path} hands on a way to search"


def test_engines_are_spoken_to_in_their_adapters_alone() -> None:
    for path, tree in modules():
        imported = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert path in SPEAKERS or path.startswith(SERVER) or not imported & ENGINES, (
            f"{path} speaks to an engine past its adapter"
        )


@pytest.mark.parametrize(
    "careless",
    [
        "index.search_dense(v, limit=3)",
        "self.index.search_bm25(v, limit=3)",
        "services.search.search(query, limit=3)",
        "search.search(query, limit=3, stage='dense')",
        "HybridSearch(index=index).search('x')",
    ],
)
def test_the_check_sees_a_careless_call(careless: str) -> None:
    [call] = searches(ast.parse(careless))
    assert "principal" not in {keyword.arg for keyword in call.keywords}


@pytest.mark.parametrize("innocent", ["re.search('a', 'b')", "_PATTERN.search(text)", "index.count(a, b, c)"])
def test_the_check_lets_regular_expressions_be(innocent: str) -> None:
    assert list(searches(ast.parse(innocent))) == []
