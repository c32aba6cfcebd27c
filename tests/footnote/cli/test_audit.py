from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from core.db.tables import StageRow
from tests.footnote.served import CommandLine
from tests.ingestion.audits import strangers
from tests.ingestion.works import TENANT, story

pytestmark = pytest.mark.slow  # each against a real installation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "tea.txt").write_text(story("tea"))
    return folder


def test_audit_waits_and_tells_what_it_compared(footnote: CommandLine, folder: Path) -> None:
    report = footnote.json("ingest", str(folder))
    found = footnote.json("audit")["audit"]
    assert found["finished_at"] is not None
    assert found["documents"] == 1
    assert found["points"] == report["documents"][0]["chunks"]
    assert (found["points_removed"], found["documents_refilled"], found["files_missing"]) == (0, 0, 0)
    last = footnote.json("audit", "--last")["audit"]
    assert last["finished_at"] >= found["finished_at"]


def test_audit_puts_back_what_is_lost_and_names_files_that_only_a_backup_has(
    footnote: CommandLine, folder: Path
) -> None:
    (status,) = footnote.json("ingest", str(folder))["documents"]
    house = footnote.branch
    (lost, *_) = house.blobs.list(TENANT)
    assert house.blobs.delete(TENANT, lost.hash)
    points = len(list(house.index.stored()))
    point = next(house.index.stored())
    house.index.delete_chunks(TENANT, point.document, [point.chunk])

    done = footnote("audit", "--json")
    assert done.code == 1
    found = done.json["audit"]
    assert (found["documents_refilled"], found["files_missing"]) == (1, 1)
    assert [one["document"] for one in found["missing"]] == [status["document"]]
    assert len(list(house.index.stored())) == points
    text = footnote("audit", "--last")
    assert text.code == 1
    assert f"document {status['document']}" in text.out


def test_audit_says_what_to_do_about_points_of_another_installation(footnote: CommandLine, folder: Path) -> None:
    footnote.json("ingest", str(folder))
    index = footnote.branch.index
    theirs = strangers(index, 100)
    done = footnote("audit")
    assert done.code == 1
    assert "100 points, more than half" in done.out
    assert "FOOTNOTE_QDRANT_PREFIX" in done.out
    assert "agree" not in done.out
    assert theirs <= {one.document for one in index.stored()}
    assert footnote("audit", "--last", "--json").json["audit"]["foreign"] == 100


def test_only_the_operator_may_ask_for_an_audit(footnote: CommandLine) -> None:
    done = footnote("audit", "--json", user="ed")
    assert done.code == 1
    assert done.json["error"]["code"] == "forbidden"
    assert footnote("audit", "--no-wait").code == 0


def test_audit_does_not_wait_for_ever_for_what_it_put_back(
    footnote: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    footnote.json("ingest", str(folder))
    house = footnote.branch
    monkeypatch.setattr("footnote.cli.audit.REFILL_SECONDS", 0.3)
    monkeypatch.setattr(house.loop, "run_once", lambda: 0)  # Whoever writes the index stands still.
    point = next(house.index.stored())
    house.index.delete_chunks(TENANT, point.document, [point.chunk])
    done = footnote("audit")
    assert done.code == 0
    assert "1 documents put back" in done.out
    assert "still on their way back" in done.err


def test_audit_does_not_wait_for_a_document_that_failed_for_good(footnote: CommandLine, folder: Path) -> None:
    report = footnote.json("ingest", str(folder))
    house = footnote.branch
    with house.database.transaction() as session:
        of_document = StageRow.document_id == UUID(report["documents"][0]["document"])
        for name, state in (("embed", "failed"), ("index", "waiting")):
            stage = update(StageRow).where(of_document, StageRow.name == name)
            session.execute(stage.values(state=state, attempt=99, refilled_at=1))
    with footnote.client() as client:
        assert client.call("GET", "/v1/status")["refilling"] == 0
    assert footnote("audit").code == 0  # It also tries the document again.
    (status,) = footnote.json("status", "tea.txt")["documents"]
    assert status["state"] == "searchable"
