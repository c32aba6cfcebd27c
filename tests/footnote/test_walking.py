import os
import sys
import unicodedata
from pathlib import Path

import pytest

from core.domain import Reason
from footnote.walking import FoundFile, distinct, walk


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


def _all(*paths: Path, source: str | None = "S") -> list[FoundFile]:
    return list(distinct(file for path in paths for file in walk(path, source)))


def _folders(root: Path, *names: str) -> list[Path]:
    for name in names:
        (root / name).mkdir()
        (root / name / "x.txt").write_text(name)
    return [root / name for name in names]


def test_of_files_with_one_name_in_one_source_the_first_keeps_it_and_the_others_are_refused(tmp_path: Path) -> None:
    one, other, third = _folders(tmp_path, "A", "B", "C")

    found = _all(one, other, third)

    assert [(file.path.parent, file.name, file.refused) for file in found] == [
        (one, "x.txt", None),
        (other, "x.txt", Reason.DUPLICATE_NAME),
        (third, "x.txt", Reason.DUPLICATE_NAME),
    ]
    assert found[2].seen == f"{third / 'x.txt'} has the name of {one / 'x.txt'}"


def test_one_name_in_sources_of_their_own_is_no_collision(tmp_path: Path) -> None:
    assert [file.refused for file in _all(*_folders(tmp_path, "A", "B"), source=None)] == [None, None]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems hold one of the two")
def test_names_that_are_one_name_to_the_server_collide(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        (tmp_path / unicodedata.normalize(form, "café.txt")).write_text(form)

    assert sorted(str(file.refused) for file in _all(tmp_path)) == ["None", "duplicate_name"]


def test_a_path_that_is_given_twice_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder,) = _folders(tmp_path, "A")
    (folder / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)

    found = _all(folder, folder, Path("A"), Path("A/../A"), folder / "x.txt")

    assert [(file.name, file.refused) for file in found] == [("link", Reason.SYMLINK), ("x.txt", None)]


def test_what_is_only_listed_takes_no_name(tmp_path: Path) -> None:
    one, other = _folders(tmp_path, "A", "B")
    (one / "x.txt").unlink()
    (one / "x.txt").symlink_to(other)

    assert [file.refused for file in _all(one, other)] == [Reason.SYMLINK, None]
