import os
from pathlib import Path

from core.domain import Reason
from footnote.walking import walk


def test_every_regular_file_of_a_folder_is_found_under_its_relative_name(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("z.txt", "a/.hidden", "a/b/empty.pdf"):
        (tmp_path / name).touch()

    found = list(walk(tmp_path, None))

    assert [file.name for file in found] == ["z.txt", "a/.hidden", "a/b/empty.pdf"]
    assert {file.source for file in found} == {str(tmp_path)}
    assert all(file.refused is None for file in found)


def test_a_single_file_has_its_base_name_and_its_folder_as_source(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").touch()

    (found,) = walk(tmp_path / "report.pdf", None)

    assert (found.name, found.source) == ("report.pdf", str(tmp_path))


def test_symbolic_links_are_listed_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").touch()
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "folder-link").symlink_to(outside)
    (inside / "file-link").symlink_to(outside / "secret.txt")
    (inside / "loop").symlink_to(inside)

    found = {file.name: file.refused for file in walk(inside, None)}

    assert found == {"folder-link": Reason.SYMLINK, "file-link": Reason.SYMLINK, "loop": Reason.SYMLINK}


def test_what_is_neither_file_nor_folder_is_listed_with_a_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    (found,) = walk(tmp_path, "mine")

    assert (found.name, found.source, found.refused) == ("pipe", "mine", Reason.NOT_A_FILE)
