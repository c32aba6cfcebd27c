import io
import os
import sys
from pathlib import Path
from uuid import UUID

import pytest

from tests.footnote.served import CommandLine
from tests.ingestion.works import story

pytestmark = pytest.mark.slow  # each against a real installation

KEYS = {
    "document",
    "name",
    "source",
    "parent",
    "state",
    "stage",
    "reason",
    "detail",
    "pages",
    "pages_lost",
    "chunks",
    "version",
    "searchable_version",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    (folder / "tea.txt").write_text(story("tea"))
    (folder / "deep" / "coffee.txt").write_text(story("coffee"))
    return folder


def test_a_folder_is_taken_in_and_told_as_designed(footnote: CommandLine, folder: Path) -> None:
    report = footnote.json("ingest", str(folder))

    assert set(report) == {"documents", "totals"}
    assert report["totals"] == {"searchable": 2}
    assert [status["name"] for status in report["documents"]] == ["tea.txt", "deep/coffee.txt"]
    for status in report["documents"]:
        assert set(status) == KEYS
        assert status["source"] == str(folder)
        assert status["state"] == "searchable"
        assert status["version"] == status["searchable_version"]
        assert UUID(status["document"])
        assert status["chunks"] > 0
        assert (status["stage"], status["reason"], status["detail"], status["parent"]) == (None, None, None, None)
        assert status["pages_lost"] == []


def test_taking_the_same_folder_in_again_changes_nothing(footnote: CommandLine, folder: Path) -> None:
    first = footnote.json("ingest", str(folder))
    again = footnote.json("ingest", str(folder))

    assert again == first
    assert len(footnote.branch.parser.parsed) == 2


def test_what_cannot_be_taken_in_is_listed_beside_what_can(footnote: CommandLine, folder: Path) -> None:
    (folder / ".hidden").write_text(story("secrets"))
    (folder / "empty.txt").touch()
    (folder / "picture.bin").write_text("!unsupported a picture")
    (folder / "link.txt").symlink_to(folder / "tea.txt")
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe")

    done = footnote("ingest", str(folder), "--json")

    assert done.code == 1
    outcomes = {status["name"]: (status["state"], status["reason"]) for status in done.json["documents"]}
    assert outcomes == {
        ".hidden": ("searchable", None),
        "tea.txt": ("searchable", None),
        "deep/coffee.txt": ("searchable", None),
        "empty.txt": ("failed", "no_text"),  # The sandboxed parser, which this is not, calls it empty.
        "picture.bin": ("failed", "unsupported"),
        "link.txt": ("failed", "symlink"),
        "round": ("failed", "symlink"),
        "pipe": ("failed", "not_a_file"),
    }
    for status in done.json["documents"]:
        assert set(status) == KEYS
        assert bool(status["detail"]) == (status["state"] == "failed")
    assert done.json["totals"] == {"searchable": 3, "failed": 5}


def test_symbolic_links_alone_are_no_failure(footnote: CommandLine, folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder / "tea.txt")

    assert footnote("ingest", str(folder)).code == 0


def test_a_file_whose_name_another_has_taken_is_told_and_replaces_nothing(footnote: CommandLine, folder: Path) -> None:
    other = folder.with_name("more")
    other.mkdir()
    (other / "tea.txt").write_text(story("coal"))

    done = footnote("ingest", str(folder), str(other), "--source", "S", "--json")

    assert done.code == 1
    *taken, refused = done.json["documents"]
    assert {status["name"]: status["state"] for status in taken} == {
        "tea.txt": "searchable",
        "deep/coffee.txt": "searchable",
    }
    assert set(refused) == KEYS
    assert (refused["name"], refused["state"], refused["reason"]) == ("tea.txt", "failed", "duplicate_name")
    assert "Rename" in refused["detail"]
    assert f"{other / 'tea.txt'} has the name of {folder / 'tea.txt'}" in refused["detail"]
    assert len(footnote.branch.parser.parsed) == 2
    assert footnote.json("search", "tea")["hits"]


def test_a_folder_that_is_named_twice_is_taken_in_once(footnote: CommandLine, folder: Path) -> None:
    report = footnote.json("ingest", str(folder), f"{folder}/../{folder.name}", str(folder / "tea.txt"))

    assert report["totals"] == {"searchable": 2}


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_names_that_are_no_text_are_listed_and_stop_nothing(footnote: CommandLine, folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text(story("cafés"))
    odd = folder / os.fsdecode(b"f\xf6lder")
    odd.mkdir()
    (odd / "inside.txt").write_text(story("folders"))
    (folder / "back\\slash\n.txt").write_text(story("slashes"))

    done = footnote("ingest", str(folder), "--json")

    assert done.code == 1
    states = {status["name"]: status["state"] for status in done.json["documents"]}
    assert len(states) == 5
    assert states["tea.txt"] == states["deep/coffee.txt"] == "searchable"
    assert states["caf\ufffd.txt"] == states["f\ufffdlder/inside.txt"] == "failed"
    assert footnote("ingest", str(folder)).code == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_a_folder_whose_own_name_is_no_text_is_told_in_a_sentence(footnote: CommandLine, folder: Path) -> None:
    odd = folder / os.fsdecode(b"f\xf6lder")
    odd.mkdir()
    (odd / "inside.txt").write_text(story("folders"))

    done = footnote("ingest", str(odd), "--json")
    assert done.code == 1
    assert done.json["documents"][0]["state"] == "failed"

    named = footnote.json("ingest", str(odd), "--source", "named")
    assert named["totals"] == {"searchable": 1}


def test_a_failed_document_is_told_to_people_with_its_reason(footnote: CommandLine, folder: Path) -> None:
    (folder / "bad.txt").write_text("!encrypted")

    done = footnote("ingest", str(folder))

    assert done.code == 1
    assert "bad.txt" in done.out
    assert "encrypted: The file is protected by a password." in done.out
    assert "1 failed, 2 searchable" in done.out
    assert done.err == ""


def test_no_wait_returns_when_everything_is_accepted(footnote: CommandLine, folder: Path) -> None:
    footnote.branch.closed = True

    report = footnote.json("ingest", str(folder), "--no-wait")

    assert report["totals"] == {"queued": 2}
    assert {status["stage"] for status in report["documents"]} == {"parse"}


def test_readers_of_what_is_taken_in_are_those_named(footnote: CommandLine, folder: Path) -> None:
    footnote.json("ingest", str(folder), "--allow", "user:nora", "--allow", "group:staff", "--deny", "user:rita")

    assert {status["name"] for status in footnote.json("status", user="nora")["documents"]} == {
        "tea.txt",
        "deep/coffee.txt",
    }
    assert len(footnote.json("status", user="ada")["documents"]) == 2
    assert footnote.json("status", user="rita")["documents"] == []


def test_a_principal_that_is_none_is_refused_for_every_file(footnote: CommandLine, folder: Path) -> None:
    done = footnote("ingest", str(folder), "--allow", "nora", "--json")

    assert done.code == 1
    assert footnote.json("status")["documents"] == []


def test_somebody_who_may_only_read_takes_nothing_in(footnote: CommandLine, folder: Path) -> None:
    done = footnote("ingest", str(folder), "--json", user="rita")

    assert done.code == 1
    assert done.json["error"]["code"] == "forbidden"


def test_a_name_that_somebody_else_has_stops_no_other_file(footnote: CommandLine, folder: Path) -> None:
    footnote.json("ingest", str(folder / "tea.txt"), "--source", "shared", user="ursula")

    done = footnote("ingest", str(folder), "--source", "shared", "--json", user="ed")

    assert done.code == 1
    outcomes = {status["name"]: (status["state"], status["reason"]) for status in done.json["documents"]}
    assert outcomes == {"tea.txt": ("failed", "conflict"), "deep/coffee.txt": ("searchable", None)}


def test_a_path_that_does_not_exist_is_wrong_usage(footnote: CommandLine) -> None:
    assert footnote("ingest", "nowhere").code == 2
    assert footnote("ingest").code == 2


def test_progress_is_shown_on_a_terminal_only(
    footnote: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert footnote("ingest", str(folder)).err == ""

    (folder / "new.txt").write_text(story("news"))
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    done = footnote("ingest", str(folder), "--json")

    assert done.code == 0
    assert "Uploading" in screen.getvalue()
    assert done.json["totals"] == {"searchable": 3}  # The bar is on stderr: stdout is one JSON object.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_status_is_of_all_of_one_source_of_one_state_or_of_one_document(footnote: CommandLine, folder: Path) -> None:
    (folder / "bad.txt").write_text("!corrupt")
    footnote("ingest", str(folder))
    footnote.json("ingest", str(folder / "tea.txt"), "--source", "other")

    everything = footnote.json("status")
    assert everything["totals"] == {"searchable": 3, "failed": 1}
    assert len(footnote.json("status", "--source", "other")["documents"]) == 1
    (failed,) = footnote.json("status", "--state", "failed")["documents"]
    assert (failed["name"], failed["reason"]) == ("bad.txt", "corrupt")
    assert footnote.json("status", failed["document"])["documents"] == [failed]
    assert footnote.json("status", "bad.txt")["documents"] == [failed]
    assert set(failed) == KEYS


def test_status_pages_through_more_documents_than_one_answer_holds(
    footnote: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("footnote.uploading.PAGE", 1)
    names = [f"{number}.txt" for number in range(3)]
    for name in names:
        footnote.take_in(story(name), name)

    assert sorted(status["name"] for status in footnote.json("status")["documents"]) == names


def test_status_of_nothing_is_a_sentence_and_an_empty_report(footnote: CommandLine) -> None:
    assert footnote("status").out == "No documents.\n"
    assert footnote.json("status") == {"documents": [], "totals": {}}


def test_a_document_that_does_not_exist_and_one_that_is_hidden_answer_alike(footnote: CommandLine) -> None:
    hidden = footnote.take_in(story("secrets"), "secret.txt")

    for command in ("status", "delete", "acl"):
        for one, other in ((hidden, str(UUID(int=1))), ("secret.txt", "none.txt")):
            assert _refusal(footnote, command, one) == _refusal(footnote, command, other)


def _refusal(footnote: CommandLine, command: str, document: str) -> dict[str, str]:
    done = footnote(command, document, "--json", user="ed")
    assert done.code == 1
    problem = {key: str(value).replace(document, "X") for key, value in done.json["error"].items()}
    assert problem["code"] == "not_found"
    problem.pop("request_id", None)
    return problem


def test_a_name_in_several_sources_is_asked_for_by_id(footnote: CommandLine, folder: Path) -> None:
    for source in ("one", "two"):
        footnote.json("ingest", str(folder / "tea.txt"), "--source", source)

    done = footnote("status", "tea.txt", "--json")

    assert done.code == 1
    assert done.json["error"]["code"] == "conflict"
    ids = [status["document"] for status in footnote.json("status")["documents"]]
    assert all(one in done.json["error"]["detail"] for one in ids)


def test_a_deleted_document_is_gone_at_once_and_its_receipt_says_so(footnote: CommandLine) -> None:
    document = footnote.take_in(story("tea"), "tea.txt")
    assert footnote.json("search", "tea")["hits"]

    receipt = footnote.json("delete", "tea.txt")

    assert receipt["document"] == document
    assert receipt["state"] == "deleted"
    assert receipt["stores"]
    assert footnote.json("search", "tea")["hits"] == []
    assert footnote.json("status")["documents"] == []
    (status,) = footnote.json("status", document)["documents"]
    assert (status["state"], status["searchable_version"]) == ("deleted", None)
    assert footnote("status", "tea.txt").code == 1


def test_a_document_with_pages_lost_is_searchable_with_a_warning_however_many_there_are(
    footnote: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(25):
        (folder / f"{number}.txt").write_text(story(f"topic {number}"))
    (folder / "scan.txt").write_text("lossy " + story("scans"))

    for done in (footnote("ingest", str(folder)), footnote("status")):
        assert done.code == 0
        lines = done.out.splitlines()
        assert [line for line in lines if "scan.txt" in line and "pages lost: 2" in line]
        assert not [line for line in lines if "7.txt" in line]
        assert lines[-1].startswith("Warning: 1 of the searchable ones")
