"""The private folder of a parser that may do in it what it likes."""

import os
from pathlib import Path

import pytest

from ingestion.sandbox.scratch import DEEPEST, Scratch, TooMuch

NOTHING = (0, 0)


def _check(scratch: Scratch, *, given: tuple[int, int] = NOTHING) -> None:
    scratch.check(os.getpid(), given, max_bytes=100_000, max_files=20)


def _dig(folder: Path, depth: int) -> None:
    place = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("down", dir_fd=place)
        os.close(os.open("file", os.O_CREAT, dir_fd=place))
        inner = os.open("down", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)


def test_a_folder_is_removed_however_deep_it_is_and_links_are_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("x")
    scratch = Scratch(root, None)
    (scratch.path / "link").symlink_to(outside)
    (scratch.path / "0").mkdir()
    (scratch.path / "0" / "shut").mkdir(mode=0)
    _dig(scratch.path, 3_000)
    scratch.remove()
    assert list(root.iterdir()) == []
    assert [path.name for path in outside.iterdir()] == ["kept"]


def test_a_folder_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, None)
    scratch.path.rmdir()
    scratch.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_an_ordinary_parser_needs_is_not_too_much(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, None)
    for number in range(3):
        (scratch.path / f"{number}").mkdir()
        (scratch.path / f"{number}" / "file").write_bytes(bytes(5_000))
    _check(scratch)
    scratch.remove()


def test_too_much_is_told_of_bytes_of_files_and_of_folders(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, None)
    file = scratch.path / "file"
    file.write_bytes(bytes(100_001))
    with pytest.raises(TooMuch, match="100,000 bytes"):
        _check(scratch)
    file.unlink()
    for number in range(21):
        (scratch.path / f"{number}").touch()
    with pytest.raises(TooMuch, match="20 temporary files"):
        _check(scratch)
    for number in range(21):
        (scratch.path / f"{number}").unlink()
    deep = scratch.path.joinpath(*"d" * DEEPEST)
    deep.mkdir(parents=True)
    with pytest.raises(TooMuch, match="folders in each other"):
        scratch.check(os.getpid(), NOTHING, max_bytes=1 << 30, max_files=1_000)
    scratch.remove()


def test_open_files_without_a_name_count_once_and_what_was_given_does_not(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, None)
    with (scratch.path / "file").open("wb", buffering=0) as file:
        (scratch.path / "file").unlink()
        file.write(bytes(60_000))
        again = os.dup(file.fileno())
        facts = os.fstat(again)
        _check(scratch)
        file.write(bytes(60_000))
        with pytest.raises(TooMuch):
            _check(scratch)
        _check(scratch, given=(facts.st_dev, facts.st_ino))
        os.close(again)
    scratch.remove()
