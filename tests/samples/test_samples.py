import json
from pathlib import Path
from typing import Any

import pytest

from tests.samples.texts import READERS, html_tags, pages_of

SAMPLES = Path(__file__).parents[2] / "samples"
DOCUMENTS = SAMPLES / "documents"
NAMES = sorted(path.relative_to(DOCUMENTS).as_posix() for path in DOCUMENTS.rglob("*") if path.is_file())
GOLDEN: list[dict[str, Any]] = [json.loads(line) for line in (SAMPLES / "golden.jsonl").read_text("utf-8").splitlines()]
DIRECTORY: dict[str, Any] = json.loads((SAMPLES / "directory.json").read_text("utf-8"))


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_there_are_about_ten_documents_in_at_least_five_formats_under_one_megabyte() -> None:
    assert 10 <= len(NAMES) <= 12
    assert len({Path(name).suffix for name in NAMES}) >= 5
    assert {Path(name).suffix for name in NAMES} <= READERS.keys()
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_every_document_has_text(name: str) -> None:
    assert len(" ".join(pages_of(DOCUMENTS / name))) > 300


def test_the_golden_set_has_twenty_questions_with_distinct_ids() -> None:
    assert len(GOLDEN) == 20
    assert len({case["id"] for case in GOLDEN}) == 20
    assert all(case.keys() <= {"id", "question", "answer", "as", "answerable", "relevant", "tags"} for case in GOLDEN)


def test_three_or_four_questions_cannot_be_answered_and_name_no_evidence() -> None:
    refused = [case for case in GOLDEN if not case.get("answerable", True)]
    assert 3 <= len(refused) <= 4
    assert all(not case["relevant"] and "answer" not in case for case in refused)
    assert all(case["relevant"] and case["answer"] for case in GOLDEN if case not in refused)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["id"])
def test_every_quote_stands_word_for_word_in_its_document_on_its_page(case: dict[str, Any]) -> None:
    for evidence in case["relevant"]:
        pages = pages_of(DOCUMENTS / evidence["document"])
        where = [pages[evidence["page"] - 1]] if "page" in evidence else pages
        assert any(squeezed(evidence["quote"]) in squeezed(page) for page in where)


def test_the_directory_has_exactly_the_promised_shape_and_names_only_what_exists() -> None:
    assert DIRECTORY.keys() == {"users", "groups", "suspended", "folders"}
    users, groups = set(DIRECTORY["users"]), set(DIRECTORY["groups"])
    assert set(DIRECTORY["suspended"]) <= users
    assert all(set(memberships) <= groups for memberships in DIRECTORY["users"].values())
    for group in DIRECTORY["groups"].values():
        assert group.keys() == {"members", "subgroups"}
        assert set(group["members"]) <= users
        assert set(group["subgroups"]) <= groups
    principals = {"*", *(f"user:{user}" for user in users), *(f"group:{group}" for group in groups)}
    for entries in DIRECTORY["folders"].values():
        assert entries.keys() == {"allow", "deny"}
        assert {*entries["allow"], *entries["deny"]} <= principals


def test_both_ways_of_telling_memberships_agree() -> None:
    told_by_users = {(user, group) for user, groups in DIRECTORY["users"].items() for group in groups}
    told_by_groups = {(user, name) for name, group in DIRECTORY["groups"].items() for user in group["members"]}
    assert told_by_users == told_by_groups


def test_every_folder_of_the_documents_has_entries_and_two_are_restricted() -> None:
    folders = {name.partition("/")[0] for name in NAMES}
    assert folders == set(DIRECTORY["folders"])
    assert {folder for folder, entries in DIRECTORY["folders"].items() if "*" not in entries["allow"]} == {
        "hr-restricted",
        "board",
    }


def test_the_demo_asks_three_questions_of_the_golden_set() -> None:
    questions = (SAMPLES / "demo_questions.txt").read_text("utf-8").splitlines()
    assert len(questions) == 3
    assert set(questions) <= {case["question"] for case in GOLDEN}


def test_web_pages_and_their_sources_carry_no_scripts_and_nothing_from_elsewhere() -> None:
    for path in [*DOCUMENTS.rglob("*.html"), *(SAMPLES / "sources").rglob("*.html")]:
        assert not html_tags(path) & {"script", "iframe", "object", "embed", "link", "img"}
        assert "http" not in path.read_text("utf-8")


def test_the_hostile_text_contradicts_the_true_refund_limit_and_points_an_image_elsewhere() -> None:
    hostile = (DOCUMENTS / "suppliers/returns-note-gorsedale.txt").read_text("utf-8")
    assert "9999" in hostile
    assert "](https://collect.gorsedale.example/" in hostile
    assert "500 euros" not in hostile
