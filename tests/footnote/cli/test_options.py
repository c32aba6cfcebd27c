import json
import os
from pathlib import Path

import pytest

from footnote.cli.options import Globals
from footnote.datadir import DataDirectory
from tests.footnote.served import CommandLine, run_main
from tests.ingestion.works import story


@pytest.fixture
def data(footnote: CommandLine, tmp_path: Path) -> Path:
    """A data directory that the branch's server seems to hold."""
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    directory.write_owner_key(footnote.branch.secrets["owner"])
    return directory.path


def test_what_is_named_later_wins_and_what_is_not_named_stays() -> None:
    above = Globals(data=Path("a"), read_as="user:ann", json=True)

    assert above.merged(Globals()) == above
    assert above.merged(Globals(data=Path("b"), read_as="user:bob")) == Globals(
        data=Path("b"), read_as="user:bob", json=True
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "user", "list"],
        ["user", "--json", "list"],
        ["user", "list", "--json"],
        ["--json", "user", "--json", "list", "--json"],
    ],
)
def test_global_options_are_taken_before_between_and_after(footnote: CommandLine, arguments: list[str]) -> None:
    done = footnote(*arguments)

    assert done.code == 0
    assert set(done.json) == {"users"}


@pytest.mark.parametrize("place", ["before", "after", "both"])
def test_the_data_directory_is_taken_before_or_after_and_beats_the_address(
    footnote: CommandLine, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    footnote.take_in(story("tea"), "tea.txt")
    monkeypatch.setenv("FOOTNOTE_URL", "http://127.0.0.1:9")
    directory = DataDirectory(data)
    first = ["--data", str(data if place == "before" else data / "other")] if place != "after" else []
    last = ["--data", str(data)] if place != "before" else []
    with directory.held():
        directory.announce(footnote.url)
        code = run_main(monkeypatch, [*first, "status", "--json", *last])

    assert code == 0
    assert json.loads(capsys.readouterr().out)["totals"] == {"searchable": 1}


def test_the_data_directory_of_the_environment_is_the_default(
    footnote: CommandLine, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FOOTNOTE_URL", raising=False)
    monkeypatch.setenv("FOOTNOTE_DATA", str(data))
    directory = DataDirectory(data)
    with directory.held():
        directory.announce(footnote.url)
        assert run_main(monkeypatch, ["status"]) == 0
    assert capsys.readouterr().out == "No documents.\n"


def test_a_data_directory_that_is_a_file_is_wrong_usage(footnote: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert footnote("status", "--data", str(tmp_path / "file")).code == 2


def test_reading_as_is_taken_before_and_after_the_command(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "tea.txt", allow=["user:nora"])

    for arguments in (["--as", "user:rita", "status"], ["status", "--as", "user:rita"]):
        assert footnote.json(*arguments)["documents"] == []
    for arguments in (["--as", "user:nora", "status"], ["--as", "user:rita", "status", "--as", "user:nora"]):
        assert len(footnote.json(*arguments)["documents"]) == 1


def test_names_that_are_not_ascii_can_be_read_as(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "tea.txt", allow=["user:zoé", "group:行政"])

    for name in ("user:zoé", "group:行政"):
        assert len(footnote.json("status", "--as", name)["documents"]) == 1


def test_a_principal_that_is_none_is_a_problem(footnote: CommandLine) -> None:
    done = footnote("status", "--as", "nora", "--json")

    assert done.code == 1
    assert done.json["error"]["code"] == "invalid_input"


def test_a_key_that_opens_nothing_is_a_problem_document_on_stdout(footnote: CommandLine) -> None:
    footnote.branch.secrets["thief"] = "fn_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

    done = footnote("status", "--json", user="thief")

    assert done.code == 1
    assert done.err == ""
    assert set(done.json) == {"error"}
    assert {"title", "status", "code", "detail"} <= set(done.json["error"])
    assert done.json["error"]["code"] == "unauthenticated"


def test_without_json_the_error_is_a_sentence_on_stderr(footnote: CommandLine) -> None:
    done = footnote("status", "none.txt")

    assert (done.code, done.out) == (1, "")
    assert done.err == "footnote: There is no document 'none.txt'; `footnote status` lists them.\n"


def test_a_server_that_does_not_answer_is_told(
    footnote: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("footnote.client.READY_SECONDS", 0.2)
    monkeypatch.setenv("FOOTNOTE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("FOOTNOTE_API_KEY", footnote.branch.secrets["owner"])

    assert run_main(monkeypatch, ["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unavailable"


def test_a_setting_that_is_none_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOOTNOTE_CHUNK_TOKENS", "plenty")

    assert run_main(monkeypatch, ["status", "--json"]) == 1
    captured = capsys.readouterr()
    assert "FOOTNOTE_CHUNK_TOKENS" in json.loads(captured.out)["error"]["detail"]
    assert captured.err == ""
    assert not (tmp_path / ".footnote").exists()


def test_a_bug_is_a_traceback_and_with_json_still_one_object(
    footnote: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("footnote.uploading.listed", broken)
    monkeypatch.setenv("FOOTNOTE_URL", footnote.url)
    monkeypatch.setenv("FOOTNOTE_API_KEY", footnote.branch.secrets["owner"])
    with pytest.raises(ZeroDivisionError):
        run_main(monkeypatch, ["status", "--json"])

    assert json.loads(capsys.readouterr().out)["error"]["code"] == "internal"


def test_settings_come_from_a_file_too(
    footnote: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text(
        f"FOOTNOTE_URL={footnote.url}\nFOOTNOTE_API_KEY={footnote.branch.secrets['owner']}\n"
    )

    assert run_main(monkeypatch, ["status"]) == 0
    assert capsys.readouterr().out == "No documents.\n"
