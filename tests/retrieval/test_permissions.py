"""The permission set over real documents: whatever the payload says, only what the catalogue allows, ranked exactly."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.access import Directory, closure
from core.domain import EVERYONE, Principal
from core.ids import DEFAULT_TENANT, IndexId
from retrieval.index.edge import EdgeIndex
from retrieval.ports import VectorIndex
from tests.retrieval.library import EMBEDDER, Library, Payload, may_read

EVERY = 16  # Of the cases: the exact reference is slow.


@dataclass(frozen=True, kw_only=True)
class PermissionSet:
    """Documents with their effective access, the questions of each user, and each user's closure."""

    allow: Mapping[str, frozenset[str]]
    deny: Mapping[str, frozenset[str]]
    texts: Mapping[str, str]
    queries: Mapping[str, str]
    cases: tuple[tuple[str, str, frozenset[str]], ...]
    principals: Mapping[str, Principal]
    readable_counts: Mapping[str, int]


def rows(path: Path) -> Iterator[dict[str, object]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


@pytest.fixture(scope="module")
def permissions(shared_data: Path) -> PermissionSet:
    overlay, corpus = shared_data / "acl_scifact_dev", shared_data / "scifact_dev"
    people = json.loads((overlay / "principals.json").read_text(encoding="utf-8"))
    memberships: dict[str, set[str]] = {f"user:{user}": set(groups) for user, groups in people["users"].items()}
    for group, members in people["groups"].items():
        for member in [
            *(f"user:{one}" for one in members["members"]),
            *(f"group:{one}" for one in members["subgroups"]),
        ]:
            memberships.setdefault(member, set()).add(group)
    directory = Directory(
        users={user: user in people["suspended"] for user in people["users"]},
        memberships={member: frozenset(groups) for member, groups in memberships.items()},
    )
    allow, deny = {}, {}
    for row in map(json.loads, (overlay / "acl.jsonl").read_text(encoding="utf-8").splitlines()):
        folder = people["folders"].get(row["folder"], {}) if row.get("inherit", True) else {}
        allow[row["unit"]] = frozenset([*row["allow"], *folder.get("allow", [])]) or frozenset({"user:uploader"})
        deny[row["unit"]] = frozenset([*row["deny"], *folder.get("deny", [])])
    return PermissionSet(
        allow=allow,
        deny=deny,
        texts={str(row["_id"]): f"{row['title']}. {row['text']}" for row in rows(corpus / "corpus.jsonl")},
        queries={str(row["_id"]): str(row["text"]) for row in rows(corpus / "queries.jsonl")},
        cases=tuple(
            (str(row["query_id"]), str(row["user"]), frozenset(map(str, row["forbidden_relevant"])))  # type: ignore[call-overload]  # JSON
            for row in rows(overlay / "cases.jsonl")
        ),
        principals={
            user: Principal(tenant=DEFAULT_TENANT, closure=closure(directory, [f"user:{user}"]))
            for user in people["users"]
        },
        readable_counts={
            str(row["user"]): int(str(row["readable_units"])) for row in rows(overlay / "readable_counts.jsonl")
        },
    )


def fill(library: Library, permissions: PermissionSet, *, stale: bool) -> Library:
    """Add every document; a stale payload lets everybody read everything."""
    for unit, text in permissions.texts.items():
        believed: Payload = ([EVERYONE], []) if stale else None
        library.add(
            unit, text, allow=sorted(permissions.allow[unit]), deny=sorted(permissions.deny[unit]), payload=believed
        )
    return library


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_documents_under_permissions(permissions: PermissionSet, tmp_path: Path) -> None:
    reference = fill(Library(), permissions, stale=False)
    for user, count in permissions.readable_counts.items():
        who = permissions.principals[user]
        assert sum(may_read(held, who) for held in reference.held.values()) == count
    opened: list[VectorIndex] = []
    searches = {"reference": reference.searched_by()}
    for name, stale in (("fresh", False), ("stale", True)):
        index = EdgeIndex(tmp_path / name, index_id=IndexId(name), dim=EMBEDDER.dim)
        opened.append(index)
        searches[name] = fill(Library(index=index), permissions, stale=stale).searched_by()
    found = 0
    for query, user, forbidden in permissions.cases[::EVERY]:
        who = permissions.principals[user]
        results = {
            name: search.search(permissions.queries[query], principal=who, limit=10)
            for name, search in searches.items()
        }
        expected = [hit.name for hit in results["reference"].hits]
        assert [hit.name for hit in results["fresh"].hits] == expected
        assert [hit.name for hit in results["stale"].hits] == expected
        assert not forbidden & set(expected)
        assert all(may_read(reference.held[hit.chunk.document], who) for hit in results["stale"].hits)
        assert len(expected) == (10 if who.closure else 0)
        found += len(expected)
    assert found
    for one in opened:
        one.close()
