import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import StorageFull
from footnote.client import Client, Problem
from footnote.uploading import Access, follow, summary, upload
from footnote.walking import FoundFile, walk
from tests.footnote.served import Branch, CommandLine, served
from tests.ingestion.works import story


class Counted:
    """What a progress bar is told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def __call__(self, count: int) -> None:
        self.told.append(count)


def _files(folder: Path, count: int) -> list[FoundFile]:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03}.txt").write_text(story(f"topic {number}", 1))
    return list(walk(folder, "files"))


def _take_in(client: Client, files: list[FoundFile]) -> list[dict[str, object]]:
    return upload(client, files, Access(), advanced=Counted())


def test_files_come_back_in_their_order_and_are_counted(footnote: CommandLine, tmp_path: Path) -> None:
    files = _files(tmp_path / "files", 12)
    advanced = Counted()
    with footnote.client() as client:
        statuses = upload(client, files, Access(), advanced=advanced)

    assert [status["name"] for status in statuses] == [file.name for file in files]
    assert {status["state"] for status in statuses} <= {"queued", "leased", "searchable"}
    assert sum(advanced.told) == len(files)


def test_files_are_followed_to_their_end_and_counted(footnote: CommandLine, tmp_path: Path) -> None:
    files = _files(tmp_path / "files", 6)
    files[2].path.write_text("!corrupt page 1")
    footnote.branch.closed = True
    advanced = Counted()
    with footnote.client() as client:
        statuses = _take_in(client, files)
        footnote.branch.closed = False
        ended = follow(client, statuses, advanced=advanced)

    assert [status["name"] for status in ended] == [file.name for file in files]
    assert [status["state"] for status in ended] == ["searchable"] * 2 + ["failed"] + ["searchable"] * 3
    assert ended[2]["reason"] == "corrupt"
    assert sum(advanced.told) == len(files)


@pytest.mark.slow
def test_many_files_are_followed_by_pages(
    footnote: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("footnote.uploading.PAGE", 4)
    files = _files(tmp_path / "files", 6)
    footnote.branch.closed = True
    asked: list[str] = []
    with footnote.client() as client:
        statuses = _take_in(client, files)
        client.http.event_hooks = {"request": [lambda request: asked.append(request.url.path)]}
        footnote.branch.closed = False
        ended = follow(client, statuses, advanced=Counted())

    assert {status["state"] for status in ended} == {"searchable"}
    assert [status["name"] for status in ended] == [file.name for file in files]
    assert "/v1/documents" in asked


def test_a_document_that_somebody_deletes_meanwhile_ends_the_wait(footnote: CommandLine, tmp_path: Path) -> None:
    files = _files(tmp_path / "files", 2)
    footnote.branch.closed = True
    with footnote.client() as client:
        statuses = _take_in(client, files)
        client.call("DELETE", f"/v1/documents/{statuses[0]['document']}")
        footnote.branch.closed = False
        ended = follow(client, statuses, advanced=Counted())

    assert [status["state"] for status in ended] == ["deleted", "searchable"]


def test_a_file_that_goes_away_before_it_is_sent_is_told(footnote: CommandLine, tmp_path: Path) -> None:
    files = _files(tmp_path / "files", 3)
    files[1].path.unlink()
    with footnote.client() as client:
        statuses = _take_in(client, files)

    assert (statuses[1]["state"], statuses[1]["reason"], statuses[1]["document"]) == ("failed", "unreadable", None)
    assert "No such file" in str(statuses[1]["detail"])
    assert {statuses[0]["state"], statuses[2]["state"]} <= {"queued", "leased", "searchable"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_told(footnote: CommandLine, tmp_path: Path) -> None:
    files = _files(tmp_path / "files", 1)
    files[0].path.chmod(0)
    with footnote.client() as client:
        (status,) = _take_in(client, list(walk(tmp_path / "files", "files")))

    assert (status["state"], status["reason"]) == ("failed", "unreadable")


def test_a_file_that_is_too_large_is_told_and_the_others_are_taken_in(branch: Branch, tmp_path: Path) -> None:
    smaller = branch.settings.model_copy(update={"max_upload_bytes": 1_000})
    branch.services = replace(branch.services, settings=smaller)
    files = _files(tmp_path / "files", 3)
    files[0].path.write_text("x" * 2_000)
    with served(branch) as url, closing(Client(url, branch.secrets["owner"])) as client:
        statuses = _take_in(client, files)

    assert (statuses[0]["state"], statuses[0]["reason"]) == ("failed", "too_large")
    assert {status["state"] for status in statuses[1:]} <= {"queued", "leased", "searchable"}


def test_a_server_that_takes_nothing_more_ends_the_upload(footnote: CommandLine, tmp_path: Path) -> None:
    files = _files(tmp_path / "files", 2)
    _full(footnote.branch)
    with footnote.client() as client, pytest.raises(Problem) as caught:
        _take_in(client, files)

    assert caught.value.code == "storage_full"


def _full(branch: Branch) -> None:
    def put(*_: object, **__: object) -> None:
        raise StorageFull("The disk is full: nothing was accepted.")

    branch.blobs.put = put  # type: ignore[assignment,method-assign]


def test_a_key_that_opens_nothing_ends_the_upload(footnote: CommandLine, tmp_path: Path) -> None:
    files = _files(tmp_path / "files", 2)
    with closing(Client(footnote.url, "fn_nothing")) as client, pytest.raises(Problem) as caught:
        _take_in(client, files)

    assert caught.value.code == "unauthenticated"


def test_a_summary_counts_states() -> None:
    statuses = [{"state": "failed"}, {"state": "searchable"}, {"state": "failed"}]

    assert summary(statuses) == {"documents": statuses, "totals": {"failed": 2, "searchable": 1}}
    assert summary([]) == {"documents": [], "totals": {}}
