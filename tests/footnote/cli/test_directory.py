import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.footnote.served import CommandLine
from tests.ingestion.works import story

pytestmark = pytest.mark.slow  # each against a real installation


def test_users_are_added_listed_and_removed(footnote: CommandLine) -> None:
    assert footnote.json("user", "add", "zoe")["name"] == "zoe"
    footnote.json("group", "add", "staff", "--member", "user:zoe")

    users = {user["name"]: user for user in footnote.json("user", "list")["users"]}
    assert users["zoe"] == {"name": "zoe", "suspended": False, "groups": ["staff"]}
    assert "zoe                      active     staff" in footnote("user", "list").out

    assert footnote.json("user", "remove", "zoe") == {"removed": "zoe"}
    assert "zoe" not in {user["name"] for user in footnote.json("user", "list")["users"]}


def test_a_user_twice_or_none_is_a_failure(footnote: CommandLine) -> None:
    footnote("user", "add", "zoe")

    done = footnote("user", "add", "zoe", "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "conflict")
    for command in ("remove", "suspend", "resume"):
        done = footnote("user", command, "nobody", "--json")
        assert (done.code, done.json["error"]["code"]) == (1, "not_found")
    assert footnote("user", "add").code == 2
    assert footnote("user").code in {0, 2}  # click shows the commands


def test_a_suspended_user_reads_nothing_and_a_resumed_one_again(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "tea.txt", allow=["user:nora"])

    assert footnote.json("user", "suspend", "nora")["suspended"] is True
    assert footnote.json("search", "tea", "--as", "user:nora")["hits"] == []
    assert footnote("search", "tea", user="nora").code == 1  # The key opens nothing.
    assert "suspended" in footnote("user", "list").out

    assert footnote.json("user", "resume", "nora")["suspended"] is False
    assert footnote.json("search", "tea", user="nora")["hits"]


def test_names_with_signs_that_mean_something_in_an_address_are_names(footnote: CommandLine) -> None:
    name = "zoé o'neil+1@example.org"
    assert footnote.json("user", "add", name)["name"] == name
    assert footnote.json("user", "suspend", name)["name"] == name
    footnote.json("group", "add", "a/b?c", "--member", f"user:{name}")
    assert footnote.json("group", "remove", "a/b?c", "--member", f"user:{name}") == {"removed": [f"user:{name}"]}
    groups = {group["name"]: group["members"] for group in footnote.json("group", "list")["groups"]}
    assert groups["a/b?c"] == []
    assert footnote.json("user", "remove", name) == {"removed": name}


def test_groups_contain_users_and_groups(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "tea.txt", allow=["group:everyone-here"])
    made = footnote.json("group", "add", "everyone-here", "--member", "group:staff", "--member", "user:nora")
    assert sorted(made["members"]) == ["group:staff", "user:nora"]

    assert footnote.json("search", "tea", user="rita")["hits"]  # Through staff.
    assert footnote.json("group", "remove", "everyone-here", "--member", "group:staff") == {"removed": ["group:staff"]}
    assert footnote.json("search", "tea", user="rita")["hits"] == []
    assert footnote.json("search", "tea", user="nora")["hits"]

    assert footnote.json("group", "remove", "everyone-here") == {"removed": "everyone-here"}
    assert footnote.json("search", "tea", user="nora")["hits"] == []
    assert "staff" in footnote("group", "list").out


def test_a_member_that_is_no_principal_is_refused(footnote: CommandLine) -> None:
    done = footnote("group", "add", "staff", "--member", "nora", "--json")

    assert (done.code, done.json["error"]["code"]) == (1, "invalid_input")


def test_tenants_share_nothing(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "tea.txt", allow=["*"])
    assert footnote.json("tenant", "add", "branch-office")["name"] == "branch-office"
    assert "branch-office" in footnote("tenant", "list").out

    made = footnote.json("key", "add", "--tenant", "branch-office", "--user", "zoe", "--role", "admin")
    footnote.branch.secrets["zoe"] = made["secret"]
    assert footnote.json("search", "tea", user="zoe")["hits"] == []
    assert footnote.json("status", user="zoe") == {"documents": [], "totals": {}}

    done = footnote("tenant", "remove", "default", "--json")
    assert done.code == 1


def test_a_tenant_without_documents_is_removed(footnote: CommandLine) -> None:
    footnote("tenant", "add", "empty")

    assert footnote.json("tenant", "remove", "empty") == {"removed": "empty"}
    assert "empty" not in footnote("tenant", "list").out


def test_a_key_is_shown_once_works_and_is_revoked(footnote: CommandLine) -> None:
    made = footnote.json("key", "add", "--user", "nora", "--role", "editor", "--label", "laptop")
    secret, key = made["secret"], made["key"]["id"]
    assert secret.startswith("fn_")
    footnote.branch.secrets["laptop"] = secret
    assert footnote("status", user="laptop").code == 0

    listed = footnote("key", "list")
    assert secret not in listed.out + json.dumps(footnote.json("key", "list"))
    assert "laptop" in listed.out

    assert footnote.json("key", "remove", key) == {"removed": key}
    done = footnote("status", "--json", user="laptop")
    assert (done.code, done.json["error"]["code"]) == (1, "unauthenticated")
    assert "revoked" in footnote("key", "list").out


def test_a_key_is_printed_for_people_on_a_line_of_its_own(footnote: CommandLine) -> None:
    secret, *rest = footnote("key", "add", "--user", "nora").out.splitlines()

    footnote.branch.secrets["new"] = secret
    assert footnote("status", user="new").code == 0
    assert "shown only now" in rest[0]


def test_keys_end_when_they_are_told_to(footnote: CommandLine) -> None:
    assert footnote("key", "add", "--user", "nora", "--expires", "2001-01-01").code == 1
    assert footnote("key", "add", "--user", "nora", "--expires", "soon").code == 2
    made = footnote.json("key", "add", "--user", "nora", "--expires", "2999-12-31")
    assert made["key"]["expires_at"].startswith("2999-12-31T00:00:00")
    assert "expires 2999-12-31" in footnote("key", "list").out


@pytest.mark.parametrize("arguments", [["--user", "nora", "--role", "king"], ["--role", "reader"]])
def test_a_key_without_user_or_with_a_strange_role_is_wrong_usage(footnote: CommandLine, arguments: list[str]) -> None:
    assert footnote("key", "add", *arguments).code == 2


def test_only_administrators_administer(footnote: CommandLine) -> None:
    for command in (["user", "list"], ["group", "add", "x"], ["key", "list"], ["directory", "import", __file__]):
        done = footnote(*command, "--json", user="ed")
        assert (done.code, done.json["error"]["code"]) == (1, "forbidden")
    done = footnote("tenant", "list", "--json", user="olga")  # The administrator of another tenant is not the operator.
    assert (done.code, done.json["error"]["code"]) == (1, "forbidden")


def test_a_directory_is_imported_whole(footnote: CommandLine, tmp_path: Path) -> None:
    footnote.take_in(story("tea"), "drinks/tea.txt")
    file = tmp_path / "directory.json"
    directory = {
        "users": {"alice": ["eng"], "bob": []},
        "groups": {"eng": {"members": [], "subgroups": []}, "all": {"members": ["bob"], "subgroups": ["eng"]}},
        "suspended": ["bob"],
        "folders": {"drinks": {"allow": ["group:all"], "deny": []}},
    }
    file.write_text(json.dumps(directory))

    summary = footnote.json("directory", "import", str(file))

    assert summary["users"] >= 2
    assert footnote("directory", "import", str(file)).out.count(",") == len(summary) - 1
    _wait_for(lambda: footnote.json("search", "tea", "--as", "user:alice")["hits"])
    assert footnote.json("search", "tea", "--as", "user:bob")["hits"] == []  # Suspended.
    assert {group["name"] for group in footnote.json("group", "list")["groups"]} == {"eng", "all"}


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"users": {"alice": ["nowhere", 7]}}'])
def test_a_directory_that_is_none_changes_nothing(footnote: CommandLine, tmp_path: Path, content: str) -> None:
    before = footnote.json("user", "list")
    file = tmp_path / "directory.json"
    file.write_text(content)

    done = footnote("directory", "import", str(file), "--json")

    assert done.code == 1
    assert done.json["error"]["detail"]
    assert footnote.json("user", "list") == before
    assert footnote("directory", "import", str(tmp_path / "none.json")).code == 2
