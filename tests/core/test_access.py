"""The access model against a naive one, and its promises one by one."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.access import (
    MAX_FOLDER,
    MAX_NAME,
    Directory,
    EffectiveAccess,
    Entry,
    ancestors,
    closure,
    effective,
    may_read,
    normalise_folder,
    parse_name,
    parse_principal,
)
from core.domain import Effect
from core.errors import InvalidInput, InvalidName

NAMES = ["a", "b", "c", "d", "e"]
PRINCIPALS = ["*", *(f"user:{name}" for name in NAMES), *(f"group:{name}" for name in NAMES)]
MEMBERS = PRINCIPALS[1:]

effects: st.SearchStrategy[Effect] = st.sampled_from(["allow", "deny"])
entries = st.lists(st.builds(Entry, st.sampled_from(PRINCIPALS), effects), max_size=6)
directories = st.builds(
    Directory,
    users=st.dictionaries(st.sampled_from(NAMES), st.booleans()),
    memberships=st.dictionaries(
        st.sampled_from(MEMBERS), st.frozensets(st.sampled_from(NAMES), max_size=3), max_size=len(MEMBERS)
    ),
)
askers = st.lists(st.sampled_from(MEMBERS), max_size=3)


@dataclass(frozen=True, kw_only=True)
class Case:
    own: list[Entry]
    inherited: list[Entry]
    inherit: bool
    uploader: str
    directory: Directory
    principals: list[str]

    @property
    def access(self) -> EffectiveAccess:
        return effective(self.own, self.inherited, inherit=self.inherit, uploader=self.uploader)

    @property
    def asker(self) -> frozenset[str]:
        return closure(self.directory, self.principals)


cases = st.builds(
    Case,
    own=entries,
    inherited=entries,
    inherit=st.booleans(),
    uploader=st.sampled_from([f"user:{name}" for name in NAMES]),
    directory=directories,
    principals=askers,
)


def naive_closure(directory: Directory, principals: list[str]) -> set[str]:
    for principal in principals:
        kind, name = principal.split(":")
        if kind == "user" and directory.users.get(name):
            return set()
    if not principals:
        return set()
    reached = set(principals)
    for _ in range(len(MEMBERS)):  # No chain of memberships is longer than there are members.
        for member, groups in directory.memberships.items():
            if member in reached:
                reached |= {f"group:{group}" for group in groups}
    return reached | {"*"}


def naive_may_read(case: Case) -> bool:
    asker = naive_closure(case.directory, case.principals)
    counted = case.own + (case.inherited if case.inherit else [])
    for entry in counted:
        if entry.effect == "deny" and entry.principal in asker:
            return False
    allowed = [entry.principal for entry in counted if entry.effect == "allow"]
    return any(principal in asker for principal in (allowed or [case.uploader]))


@given(directories, askers)
def test_a_closure_is_all_that_memberships_reach(directory: Directory, principals: list[str]) -> None:
    assert closure(directory, principals) == naive_closure(directory, principals)


@given(cases)
def test_reading_is_decided_as_a_naive_reader_of_the_rules_would(case: Case) -> None:
    assert may_read(case.access, case.asker) == naive_may_read(case)


@given(cases, st.sampled_from(PRINCIPALS))
def test_one_more_deny_never_shows_more(case: Case, denied: str) -> None:
    for more in (
        replace(case, own=[*case.own, Entry(denied, "deny")]),
        replace(case, inherited=[*case.inherited, Entry(denied, "deny")]),
    ):
        assert may_read(case.access, case.asker) or not may_read(more.access, case.asker)


@given(cases, st.sampled_from(PRINCIPALS))
def test_one_more_allow_never_shows_less_unless_it_ends_the_uploaders_privilege(case: Case, allowed: str) -> None:
    more = replace(case, own=[*case.own, Entry(allowed, "allow")])
    counted = (*case.own, *(case.inherited if case.inherit else []))
    if any(entry.effect == "allow" for entry in counted) or case.uploader not in case.asker:
        assert may_read(more.access, case.asker) or not may_read(case.access, case.asker)


@given(cases)
def test_a_deny_of_anything_the_asker_is_beats_every_allow(case: Case) -> None:
    for principal in case.asker:
        denied = replace(case, own=[*case.own, Entry(principal, "deny")])
        assert not may_read(denied.access, case.asker)


@given(cases)
def test_without_inheritance_neither_allows_nor_denies_of_the_folder_count(case: Case) -> None:
    assert replace(case, inherit=False).access == replace(case, inherited=[]).access


@given(cases)
def test_an_empty_closure_reads_nothing(case: Case) -> None:
    assert not may_read(case.access, frozenset())


@given(directories, askers)
def test_one_suspended_user_among_those_asked_for_empties_the_closure(
    directory: Directory, principals: list[str]
) -> None:
    suspended = Directory(users={**directory.users, "a": True}, memberships=directory.memberships)
    assert closure(suspended, [*principals, "user:a"]) == frozenset()


def test_nobody_reads_nothing() -> None:
    assert closure(Directory(users={}, memberships={}), []) == frozenset()


def test_names_that_the_directory_does_not_know_are_themselves_and_everyone() -> None:
    empty = Directory(users={}, memberships={})
    assert closure(empty, ["user:x", "group:y"]) == {"user:x", "group:y", "*"}


def test_groups_in_a_cycle_contain_each_other() -> None:
    ring = {"user:u": frozenset("a"), "group:a": frozenset("b"), "group:b": frozenset("c"), "group:c": frozenset("a")}
    found = closure(Directory(users={"u": False}, memberships=ring), ["user:u"])
    assert found == {"user:u", "group:a", "group:b", "group:c", "*"}


def test_thousands_of_groups_nested_one_in_another_are_all_reached() -> None:
    chain = {f"group:{n}": frozenset({str(n + 1)}) for n in range(5_000)}
    found = closure(Directory(users={}, memberships={"user:u": frozenset({"0"}), **chain}), ["user:u"])
    assert len(found) == 5_003


def test_no_entry_at_all_means_the_uploader_alone() -> None:
    access = effective([], [], inherit=True, uploader="user:u")
    assert access == EffectiveAccess(allow=frozenset({"user:u"}), deny=frozenset())


def test_an_allow_for_others_ends_the_uploaders_own_reading() -> None:
    access = effective([], [Entry("group:g", "allow")], inherit=True, uploader="user:u")
    assert not may_read(access, frozenset({"user:u", "*"}))


@pytest.mark.parametrize(
    ("text", "principal"),
    [("*", "*"), (" user:a b ", "user:a b"), ("group:x:y", "group:x:y"), ("user:e\u0301", "user:\xe9")],
)
def test_a_principal_has_one_spelling(text: str, principal: str) -> None:
    assert parse_principal(text) == principal


@pytest.mark.parametrize(
    "text", ["", "alice", "user:", "group: ", "User:a", "role:admin", "**", "user:a\0b", "user:" + "x" * 256, "user:*"]
)
def test_what_is_no_principal_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_principal(text)


@given(st.text())
def test_parsing_a_principal_either_gives_a_stable_spelling_or_a_clear_error(text: str) -> None:
    try:
        principal = parse_principal(text)
    except InvalidInput:
        return
    assert parse_principal(principal) == principal


@given(st.text(max_size=MAX_NAME))
def test_every_valid_name_makes_valid_principals(text: str) -> None:
    try:
        name = parse_name(text)
    except InvalidInput:
        return
    assert parse_principal(f"user:{name}") == f"user:{name}"
    assert parse_principal(f"group:{name}") == f"group:{name}"


@pytest.mark.parametrize(
    ("folder", "normal"), [("", ""), ("/", ""), ("/a/b/", "a/b"), ("a//./b", "a/b"), ("e\u0301", "\xe9")]
)
def test_a_folder_has_one_spelling(folder: str, normal: str) -> None:
    assert normalise_folder(folder) == normal


@pytest.mark.parametrize("folder", ["..", "a/../b", "a\0", "x" * (MAX_FOLDER + 1)])
def test_what_is_no_folder_is_refused(folder: str) -> None:
    with pytest.raises(InvalidName):
        normalise_folder(folder)


def test_a_folder_inherits_from_the_root_down_to_itself() -> None:
    assert ancestors("a/b/c") == ["", "a", "a/b", "a/b/c"]
    assert ancestors("") == [""]


@given(st.lists(st.sampled_from(["a", "b", "."]), max_size=5))
def test_however_a_folder_is_written_it_inherits_the_same(parts: list[str]) -> None:
    written = "/" + "//".join(parts) + "/"
    assert ancestors(written) == ancestors(normalise_folder(written))
    assert ancestors(written)[-1] == normalise_folder(written)
