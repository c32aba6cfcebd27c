"""From a folder of real files to a cited answer, as a user does it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import SAMPLES, Server, clean_environment, footnote, footnote_json

pytestmark = pytest.mark.slow

NO_HEAVY_IMPORTS = """
import sys
from pathlib import Path
import httpx
from core.settings import Settings
from footnote.datadir import DataDirectory
from footnote.serving import serving
data = Path(sys.argv[1])
with serving(Settings(data=data)) as local:
    key = DataDirectory(data).owner_key()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=local.url, headers=headers, trust_env=False, timeout=60) as http:
        http.post("/v1/search", json={"query": "travel"}).raise_for_status()
        http.post("/v1/chat", json={"question": "How is travel paid?"}).raise_for_status()
Path(sys.argv[2]).write_text(" ".join(sorted({"torch", "transformers", "unstructured", "spacy"} & set(sys.modules))))
"""


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("first-light") / "data"
    imported = footnote("directory", "import", str(SAMPLES / "directory.json"), data=data)
    assert imported.returncode == 0, imported.stderr
    report = footnote_json("ingest", str(SAMPLES / "documents"), data=data)
    assert {status["state"] for status in report["documents"]} == {"searchable"}
    files = [path for path in (SAMPLES / "documents").rglob("*") if path.is_file()]
    assert len(report["documents"]) == len(files)
    return data


def test_a_folder_is_ingested_and_asked_without_a_running_server(ingested: Path) -> None:
    question = (SAMPLES / "demo_questions.txt").read_text().splitlines()[0]

    answer = footnote_json("ask", question, data=ingested)

    assert not answer["abstained"]
    assert answer["citations"]
    for citation in answer["citations"]:
        assert citation["quote"]
        assert f"[{citation['n']}]" in answer["answer"]


def test_ingesting_again_changes_nothing(ingested: Path) -> None:
    before = footnote_json("status", data=ingested)
    after = footnote_json("ingest", str(SAMPLES / "documents"), data=ingested)

    def versions(report: dict[str, list[dict[str, str]]]) -> dict[str, str]:
        return {status["document"]: status["version"] for status in report["documents"]}

    assert versions(after) == versions(before)


def test_restricted_documents_are_found_by_those_who_may_read_them_and_nobody_else(ingested: Path) -> None:
    def names(principal: str) -> set[str]:
        hits = footnote_json("search", "board minutes acquisition offer", "--as", principal, data=ingested)["hits"]
        return {hit["name"] for hit in hits}

    assert any(name.startswith("board/") for name in names("user:carol"))
    assert not any(name.startswith(("board/", "hr-restricted/")) for name in names("user:alice"))
    assert names("user:erin") == set()  # suspended


def test_a_failed_document_ends_the_command_with_1_and_a_reason(ingested: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.pdf").touch()

    done = footnote("ingest", str(tmp_path), "--json", data=ingested)

    assert done.returncode == 1
    (status,) = json.loads(done.stdout)["documents"]
    assert (status["state"], status["reason"]) == ("failed", "empty")
    assert status["detail"]


def test_the_serving_process_loads_neither_torch_nor_parsers(ingested: Path, tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"
    done = subprocess.run(
        [sys.executable, "-P", "-c", NO_HEAVY_IMPORTS, str(ingested), str(loaded)],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert loaded.read_text() == ""


def test_a_new_version_replaces_the_old_one_and_deleting_removes_it(server: Server, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("The quarterly flamingo census counted forty birds.")
    first = footnote_json("ingest", str(note), data=server.data)["documents"][0]
    note.write_text("The quarterly flamingo census counted ninety birds.")
    second = footnote_json("ingest", str(note), data=server.data)["documents"][0]

    assert first["document"] == second["document"]
    assert first["version"] != second["version"] == second["searchable_version"]
    texts = [hit["text"] for hit in footnote_json("search", "flamingo census", data=server.data)["hits"]]
    assert len(texts) == 1
    assert "ninety" in texts[0]

    footnote_json("delete", "note.txt", data=server.data)

    assert footnote_json("search", "flamingo census", data=server.data)["hits"] == []
    assert server.http.get(f"/v1/documents/{first['document']}/text").status_code == 404


def test_an_index_is_never_served_with_another_model_than_it_was_made_with(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "note.txt").write_text("The flamingo census counted forty birds.")
    made = footnote("ingest", str(tmp_path / "note.txt"), data=data, FOOTNOTE_EMBEDDER="hashing:64")
    assert made.returncode == 0, made.stderr

    other = footnote("search", "census", "--json", data=data, FOOTNOTE_EMBEDDER="hashing:32")
    same = footnote("search", "census", "--json", data=data, FOOTNOTE_EMBEDDER="hashing:64")

    assert other.returncode == 1
    assert json.loads(other.stdout)["error"]["code"] == "conflict"
    assert len(json.loads(same.stdout)["hits"]) == 1


def test_a_start_that_was_killed_before_its_commit_does_not_lock_the_owner_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "owner.key").write_text("fn_left_behind\n")

    done = footnote("status", data=data, FOOTNOTE_EMBEDDER="hashing:64")

    assert done.returncode == 0, done.stderr
    assert (data / "owner.key").read_text() != "fn_left_behind\n"
