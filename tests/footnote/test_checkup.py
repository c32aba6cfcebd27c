from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from core.errors import ModelUnavailable
from footnote.checkup import Check, examine
from footnote.cli.options import Globals
from retrieval.embedding.hashing import HashingEmbedder
from tests.footnote.served import Branch, CommandLine, served


@pytest.fixture(autouse=True)
def _small_model_and_any_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_EMBEDDER", "hashing:32")
    monkeypatch.setattr("footnote.checkup.LEAST_FREE_BYTES", 0)  # Nor need the disk of the tests be that empty.


@pytest.fixture
def url(branch: Branch) -> Iterator[str]:
    """A branch whose parsers are confined."""

    def facts() -> Mapping[str, object]:
        return {"version": "0", "sandbox_layers": ["rlimits", "seccomp"]}

    branch.services = replace(branch.services, doctor=facts)
    with served(branch) as address:
        yield address


def _examined(footnote: CommandLine, options: Globals | None = None) -> dict[str, Check]:
    footnote.patch.setenv("FOOTNOTE_URL", footnote.url)
    footnote.patch.setenv("FOOTNOTE_API_KEY", footnote.branch.secrets["owner"])
    return {check.name: check for check in examine(options or Globals())}


def test_everything_is_looked_at_and_well(footnote: CommandLine) -> None:
    checks = _examined(footnote)

    assert list(checks) == ["python", "sqlite", "disk", "model", "server", "parser sandbox", "documents"]
    assert all(check.ok for check in checks.values()), checks
    assert checks["model"].finding == "hashing:32@1 (float32 on cpu)"
    assert footnote.url in checks["server"].finding
    assert checks["parser sandbox"].finding == "rlimits, seccomp"


def test_the_command_prints_the_same_and_ends_well(footnote: CommandLine) -> None:
    report = footnote.json("doctor")

    assert set(report) == {"ok", "checks"}
    assert report["ok"] is True
    assert {frozenset(check) for check in report["checks"]} == {frozenset({"name", "ok", "finding", "remedy"})}
    assert "ok   model: hashing:32" in footnote("doctor").out


def test_what_is_wrong_is_told_with_its_remedy_and_ends_with_1(footnote: CommandLine) -> None:
    footnote.patch.setenv("FOOTNOTE_EMBEDDER", f"openvino:{'x' * 20}")
    footnote.patch.setenv("FOOTNOTE_CACHE", "/nonexistent")

    done = footnote("doctor", "--json")
    assert done.code == 1
    assert done.json["ok"] is False
    (wrong,) = [check for check in done.json["checks"] if not check["ok"]]
    assert wrong["name"] == "model"
    assert "make setup" in wrong["remedy"]
    told = footnote("doctor")
    assert told.code == 1
    assert "FAIL model" in told.out
    assert "make setup" in told.out


def test_a_model_that_cannot_be_loaded_is_told_and_the_other_checks_go_on(
    footnote: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_embedder: HashingEmbedder, _text: str) -> NoReturn:
        raise ModelUnavailable("The converted model cannot be loaded.")

    footnote("doctor")  # The installation is started with the model.
    monkeypatch.setattr(HashingEmbedder, "embed_query", broken)
    checks = {check["name"]: check["ok"] for check in footnote("doctor", "--json").json["checks"]}
    assert checks["model"] is False
    assert checks["server"] is True


def test_a_disk_that_is_nearly_full_is_told(footnote: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("footnote.checkup.LEAST_FREE_BYTES", 1 << 62)

    assert not _examined(footnote)["disk"].ok


def test_the_disk_of_a_data_directory_that_is_not_there_yet_is_its_folders(
    footnote: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTNOTE_DATA", str(tmp_path / "not" / "yet"))

    assert _examined(footnote)["disk"].ok
    assert not (tmp_path / "not").exists()


def test_a_server_that_does_not_let_us_in_is_told(footnote: CommandLine) -> None:
    footnote.branch.secrets["owner"] = "fn_nothing"

    checks = _examined(footnote)

    assert not checks["server"].ok
    assert checks["server"].remedy
    assert "documents" not in checks
