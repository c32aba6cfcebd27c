"""`footnote deadletters`: what failed, why, and trying it again."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.footnote.served import POLL_SECONDS, CommandLine
from tests.ingestion.works import story

pytestmark = pytest.mark.slow  # each against a real installation


@pytest.fixture
def broken(footnote: CommandLine, tmp_path: Path) -> Iterator[Path]:
    """A folder that was taken in: two files fail, one does not."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "bad.txt").write_text("!corrupt@3 as it seems")
    (folder / "worse.txt").write_text("!parser_crashed killed by SIGSEGV")
    (folder / "tea.txt").write_text(story("tea"))
    assert footnote("ingest", str(folder), "--source", "shelf").code == 1
    yield folder
    footnote.branch.parser.mended = True


def names(footnote: CommandLine, *options: str, user: str = "owner") -> list[str]:
    return [letter["name"] for letter in footnote.json("deadletters", "list", *options, user=user)["deadletters"]]


def wait_until_searchable(footnote: CommandLine, count: int) -> None:
    deadline = time.monotonic() + 60
    while (totals := footnote.json("status")["totals"]) != {"searchable": count}:
        assert time.monotonic() < deadline, totals
        time.sleep(POLL_SECONDS)


def test_without_more_it_lists_what_failed_and_why(footnote: CommandLine, broken: Path) -> None:
    bare, listed = footnote("deadletters"), footnote("deadletters", "list")
    assert (bare.code, bare.out) == (0, listed.out)
    assert "bad.txt" in bare.out
    assert "corrupt" in bare.out
    assert "page 3" in bare.out
    assert "tea.txt" not in bare.out
    assert footnote.json("deadletters") == footnote.json("deadletters", "list")
    assert sorted(names(footnote)) == ["bad.txt", "worse.txt"]
    assert broken.is_dir()


@pytest.mark.usefixtures("broken")
def test_a_list_is_narrowed_by_its_options(footnote: CommandLine) -> None:
    assert names(footnote, "--reason", "parser_crashed") == ["worse.txt"]
    assert names(footnote, "--stage", "embed") == []
    assert len(names(footnote, "--source", "shelf")) == 2
    assert names(footnote, "--source", "elsewhere") == []
    assert len(names(footnote, "--since", "2020-01-01")) == 2
    assert names(footnote, "--since", "2100-01-01T12:00:00") == []
    assert footnote("deadletters", "list", "--reason", "nonsense").code == 2


@pytest.mark.usefixtures("footnote")
def test_nothing_that_failed_is_said_to_be_nothing(footnote: CommandLine) -> None:
    assert footnote("deadletters").out == "No dead letters.\n"
    assert footnote.json("deadletters") == {"deadletters": []}
    done = footnote("deadletters", "replay", "--all")
    assert (done.code, done.out) == (0, "There is nothing to replay; nothing was changed.\n")


@pytest.mark.usefixtures("broken")
def test_one_is_shown_by_name_or_id_with_page_and_log(footnote: CommandLine) -> None:
    letter = footnote.json("deadletters", "show", "bad.txt")
    assert footnote.json("deadletters", "show", letter["document"]) == letter
    assert (letter["reason"], letter["page"], letter["excerpt"]) == ("corrupt", 3, "  a.parser, line 1, in parse")
    shown = footnote("deadletters", "show", "bad.txt").out
    for said in ("bad.txt", "The file is damaged", "(as it seems)", "page       3", "a.parser, line 1", "at attempt 1"):
        assert said in shown


@pytest.mark.usefixtures("broken")
def test_what_is_none_or_not_ones_own_is_not_found(footnote: CommandLine) -> None:
    letter = footnote.json("deadletters", "show", "bad.txt")
    for command in ("show", "replay"):
        assert footnote("deadletters", command, "nowhere.txt").code == 1
        done = footnote("deadletters", command, letter["document"], "--json", user="ed")
        assert (done.code, done.json["error"]["code"]) == (1, "not_found")
    assert footnote("deadletters", "show", "tea.txt").code == 1
    assert names(footnote, user="ed") == []
    assert footnote.json("deadletters", "replay", "--all", user="ed") == {"replayed": 0, "left": 0}
    assert footnote("deadletters", "replay", "--all", user="nora").code == 1


@pytest.mark.usefixtures("broken")
def test_one_is_replayed_and_becomes_searchable(footnote: CommandLine) -> None:
    footnote.branch.parser.mended = True
    assert footnote.json("deadletters", "replay", "bad.txt") == {"replayed": 1, "left": 0}
    assert names(footnote) == ["worse.txt"]
    again = footnote("deadletters", "replay", "bad.txt")
    assert (again.code, again.out) == (0, "There is nothing to replay; nothing was changed.\n")


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    ("options", "count"), [(["--all"], 2), (["--source", "shelf"], 2), (["--reason", "corrupt", "--stage", "parse"], 1)]
)
def test_many_are_replayed_at_once(footnote: CommandLine, options: list[str], count: int) -> None:
    footnote.branch.parser.mended = True
    assert footnote.json("deadletters", "replay", *options) == {"replayed": count, "left": 0}
    assert len(names(footnote)) == 2 - count
    footnote("deadletters", "replay", "--all")
    wait_until_searchable(footnote, 3)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    "options", [[], ["--all", "--reason", "corrupt"], ["bad.txt", "--all"], ["bad.txt", "--stage", "parse"]]
)
def test_what_to_replay_is_said_once_and_clearly(footnote: CommandLine, options: list[str]) -> None:
    assert footnote("deadletters", "replay", *options).code == 2
    assert len(names(footnote)) == 2
