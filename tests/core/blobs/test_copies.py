"""Local copies are private, bounded, and gone when they are not used any more."""

import errno
import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from core.blobs.copies import LocalCopies
from core.errors import StorageFull
from core.ids import TenantId

ALPHA, BETA = TenantId("alpha"), TenantId("../beta")


def _copy(copies: LocalCopies, content: bytes, *, tenant: TenantId = ALPHA, age: float = 0.0) -> str:
    name = sha256(content).hexdigest()
    with copies.scratch() as scratch:
        scratch.write(content)
        path = copies.keep(tenant, name, scratch)
    then = time.time() - age
    os.utime(path, (then, then))
    return name


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_copy_is_found_again_by_its_tenant_alone(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, max_bytes=100)
    name = _copy(copies, b"content", tenant=BETA)

    path = copies.find(BETA, name)
    assert path is not None
    assert path.read_bytes() == b"content"
    assert path.resolve().is_relative_to(tmp_path.resolve())
    assert copies.find(ALPHA, name) is None
    copies.forget(BETA, name)
    assert copies.find(BETA, name) is None


def test_nobody_else_on_this_machine_can_read_a_copy(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    _copy(LocalCopies(tmp_path, max_bytes=100), b"content")

    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in _files(tmp_path)] == [0o600]


def test_what_was_used_least_lately_makes_room(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, max_bytes=100)
    old, older, used = (_copy(copies, bytes([n]) * 40, age=age) for n, age in ((1, 300), (2, 900), (3, 1_800)))
    assert copies.find(ALPHA, used) is not None

    new = _copy(copies, b"4" * 40)

    assert {file.name for file in _files(tmp_path)} == {used, new}
    assert copies.find(ALPHA, old) is None
    assert copies.find(ALPHA, older) is None


def test_what_somebody_may_be_about_to_open_stays_although_it_is_too_much(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, max_bytes=10)
    names = {_copy(copies, bytes([number]) * 40) for number in range(3)}

    assert {file.name for file in _files(tmp_path)} == names


def test_an_hour_after_its_last_use_a_copy_goes_with_the_next_sweep(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, max_bytes=1_000)
    young = _copy(copies, b"young", age=1_000)
    _copy(copies, b"old", age=4_000)

    assert copies.sweep(min_age_seconds=3_600) == 1
    assert {file.name for file in _files(tmp_path)} == {young}


def test_a_scratch_file_that_was_not_kept_leaves_nothing(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, max_bytes=100)
    with copies.scratch() as scratch:
        scratch.write(b"half")
    with pytest.raises(StorageFull), copies.scratch():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert _files(tmp_path) == []


def test_sweep_removes_what_a_killed_process_was_writing(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, max_bytes=100)
    for name, age in (("old", 7_200), ("young", 10)):
        file = tmp_path / ".tmp" / name
        file.write_bytes(b"half")
        os.utime(file, (time.time() - age, time.time() - age))

    assert copies.sweep(min_age_seconds=3_600) == 1
    assert [file.name for file in _files(tmp_path)] == ["young"]
