"""What the samples' directory lets whom read, judged by the access model alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.access import Directory, Entry, closure, effective, may_read

SAMPLES = Path(__file__).parents[2] / "samples"
DATA: dict[str, Any] = json.loads((SAMPLES / "directory.json").read_text("utf-8"))
GOLDEN: list[dict[str, Any]] = [json.loads(line) for line in (SAMPLES / "golden.jsonl").read_text("utf-8").splitlines()]


def directory() -> Directory:
    memberships: dict[str, set[str]] = {}
    for name, group in DATA["groups"].items():
        for member in [*(f"user:{user}" for user in group["members"]), *(f"group:{sub}" for sub in group["subgroups"])]:
            memberships.setdefault(member, set()).add(name)
    return Directory(
        users={user: user in DATA["suspended"] for user in DATA["users"]},
        memberships={member: frozenset(groups) for member, groups in memberships.items()},
    )


def reads(principal: str, folder: str) -> bool:
    entries = DATA["folders"][folder]
    inherited = [
        *(Entry(principal=one, effect="allow") for one in entries["allow"]),
        *(Entry(principal=one, effect="deny") for one in entries["deny"]),
    ]
    access = effective([], inherited, inherit=True, uploader="user:owner")
    return may_read(access, closure(directory(), [principal]))


@pytest.mark.parametrize(
    ("principal", "folder", "allowed"),
    [
        ("user:alice", "handbook", True),
        ("user:alice", "sales", True),
        ("user:frank", "sales", False),
        ("user:bob", "hr-restricted", True),
        ("user:alice", "hr-restricted", False),
        ("user:carol", "hr-restricted", True),  # through leadership, of which the board is a subgroup
        ("user:carol", "board", True),
        ("user:bob", "board", False),
        ("user:erin", "handbook", False),  # suspended
    ],
)
def test_the_directory_lets_in_whom_it_should(principal: str, folder: str, allowed: bool) -> None:  # noqa: FBT001 - a table
    assert reads(principal, folder) is allowed


@pytest.mark.parametrize("case", [case for case in GOLDEN if case["relevant"]], ids=lambda case: case["id"])
def test_whoever_is_to_get_an_answer_may_read_its_evidence(case: dict[str, Any]) -> None:
    for evidence in case["relevant"]:
        assert reads(case.get("as", "user:alice"), evidence["document"].partition("/")[0])
