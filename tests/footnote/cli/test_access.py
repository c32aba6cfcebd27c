from pathlib import Path

import pytest

from tests.footnote.served import CommandLine
from tests.ingestion.works import story

pytestmark = pytest.mark.slow  # each against a real installation


def test_bare_it_shows_own_inherited_and_effective_entries(footnote: CommandLine) -> None:
    document = footnote.take_in(story("tea"), "tea.txt")

    held = footnote.json("acl", "tea.txt")
    assert held["own"] == {"allow": [], "deny": []}
    assert held["inherited"] == []
    assert held["effective"] == {"allow": ["user:owner"], "deny": []}  # No entry: the uploader alone.
    assert held["inherit"] is True
    assert footnote.json("acl", document) == held


def test_entries_are_added_and_taken_away_and_hold_at_once(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "tea.txt")
    assert footnote.json("search", "tea", user="rita")["hits"] == []

    held = footnote.json("acl", "tea.txt", "--allow", "group:staff", "--allow", "user:owner", "--deny", "user:ada")
    assert held["own"] == {"allow": ["group:staff", "user:owner"], "deny": ["user:ada"]}
    assert footnote.finds("tea", "rita")
    assert footnote.json("search", "tea", user="ada")["hits"] == []  # Deny beats allow.

    held = footnote.json("acl", "tea.txt", "--remove", "user:ada")
    assert held["own"]["deny"] == []
    assert footnote.finds("tea", "ada")


def test_a_folders_entries_hold_for_what_is_in_it_unless_it_does_not_inherit(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "drinks/tea.txt")

    held = footnote.json("acl", "--source", "shelf", "--folder", "drinks", "--allow", "user:nora")
    assert held["own"]["allow"] == ["user:nora"]
    inherited = footnote.json("acl", "drinks/tea.txt")["inherited"]
    assert [(entry["principal"], entry["effect"], entry["folder"]) for entry in inherited] == [
        ("user:nora", "allow", "drinks")
    ]
    assert footnote.finds("tea", "nora")

    assert footnote.json("acl", "drinks/tea.txt", "--no-inherit", "--allow", "user:owner")["inherit"] is False
    assert footnote.json("search", "tea", user="nora")["hits"] == []
    assert footnote.json("acl", "drinks/tea.txt", "--inherit")["inherit"] is True
    assert footnote.finds("tea", "nora")


def test_people_read_it_as_three_lines(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "drinks/tea.txt", allow=["group:staff"])
    footnote("acl", "--source", "shelf", "--folder", "drinks", "--deny", "user:nora")

    assert footnote("acl", "drinks/tea.txt").out.splitlines() == [
        "own        allow group:staff",
        "inherited  deny user:nora (folder drinks)",
        "effective  allow group:staff, deny user:nora",
    ]
    footnote("acl", "drinks/tea.txt", "--no-inherit")
    assert "inherited  nothing (inherit is off)" in footnote("acl", "drinks/tea.txt").out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tea.txt", "--source", "shelf"],
        ["--source", "shelf", "--inherit"],
        ["tea.txt", "--folder", "drinks"],
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(footnote: CommandLine, arguments: list[str]) -> None:
    assert footnote("acl", *arguments).code == 2


def test_a_principal_that_is_none_changes_nothing(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "tea.txt")
    before = footnote.json("acl", "tea.txt")

    done = footnote("acl", "tea.txt", "--allow", "group:staff", "--deny", "everybody", "--json")

    assert done.code == 1
    assert done.json["error"]["code"] == "invalid_input"
    assert footnote.json("acl", "tea.txt") == before


def test_a_source_that_does_not_exist_is_not_found(footnote: CommandLine, tmp_path: Path) -> None:
    done = footnote("acl", "--source", str(tmp_path), "--json")

    assert done.code == 1
    assert done.json["error"]["code"] == "not_found"
