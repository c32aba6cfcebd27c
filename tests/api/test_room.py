"""Uploads are turned away while there is still room for the work in hand."""

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from os import geteuid
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from api.errors import render
from api.room import Room, room_for
from core.db.session import Database
from core.errors import FootnoteError, IndexUnavailable, NotFound, StorageFull, Unavailable
from tests.api.conftest import BASE_URL
from tests.api.house import House

MEGABYTE = 1_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 64 MB, where we may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if sys.platform != "linux" or geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _room(disk: Path, tmp_path: Path, floor: int) -> Room:
    """A room that receives and keeps on the disk; the catalogue is elsewhere."""
    return Room(receiving=disk / "not" / "there" / "yet", keeping=disk, catalogue=tmp_path, floor=floor)


async def _admit(room: Room, declared: int | None) -> None:
    async with room.admitted(declared):
        pass


def test_a_real_disk_that_is_nearly_full_takes_no_upload_and_takes_it_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    room = _room(small_disk, tmp_path, 20 * MEGABYTE)
    asyncio.run(_admit(room, 20 * MEGABYTE))
    (small_disk / "big").write_bytes(b"x" * 50 * MEGABYTE)
    with pytest.raises(StorageFull, match="20,000,000 are kept"):
        asyncio.run(_admit(room, 0))
    asyncio.run(_admit(_room(small_disk, tmp_path, 0), 40 * MEGABYTE))  # whoever turned it off
    (small_disk / "big").unlink()
    asyncio.run(_admit(room, 20 * MEGABYTE))


def test_bytes_that_are_received_and_kept_on_one_disk_count_twice(small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match="60,000,000"):
        asyncio.run(_admit(_room(small_disk, tmp_path, 20 * MEGABYTE), 30 * MEGABYTE))
    apart = Room(receiving=tmp_path, keeping=small_disk, catalogue=tmp_path, floor=20 * MEGABYTE)
    asyncio.run(_admit(apart, 30 * MEGABYTE))


def test_what_is_promised_to_uploads_under_way_is_promised_to_nobody_else(small_disk: Path, tmp_path: Path) -> None:
    room = _room(small_disk, tmp_path, 20 * MEGABYTE)

    async def at_once() -> None:
        async with room.admitted(15 * MEGABYTE):
            with pytest.raises(StorageFull):
                await _admit(room, 15 * MEGABYTE)
        await _admit(room, 15 * MEGABYTE)  # The first has ended.

    asyncio.run(at_once())


def test_an_upload_that_does_not_say_how_long_it_is_ends_before_the_floor(small_disk: Path, tmp_path: Path) -> None:
    room = _room(small_disk, tmp_path, 20 * MEGABYTE)
    spooled = small_disk / "spooled"

    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(MEGABYTE), "more_body": True}

    async def upload() -> None:
        async with room.admitted(None) as admission:
            following = admission.counted(receive)
            with spooled.open("wb") as file:
                while True:
                    file.write((await following())["body"])
                    file.flush()

    with pytest.raises(StorageFull):
        asyncio.run(upload())
    assert MEGABYTE < spooled.stat().st_size <= 22 * MEGABYTE  # Kept too, it would have left the floor.
    assert shutil.disk_usage(small_disk).free - spooled.stat().st_size >= 20 * MEGABYTE - 4096
    spooled.unlink()
    asyncio.run(_admit(room, 20 * MEGABYTE))  # What was promised to it is free again.


def test_the_disks_are_not_asked_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    usage = shutil.disk_usage

    def noted(place: Path) -> object:
        asked.append(threading.get_ident())
        return usage(place)

    monkeypatch.setattr(shutil, "disk_usage", noted)
    asyncio.run(_admit(_room(tmp_path, tmp_path, 1), None))
    assert asked
    assert threading.get_ident() not in asked


def test_bytes_go_to_the_temporary_folder_and_to_the_blobs(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    assert room_for(tmp_path, None, 1) is room_for(tmp_path, None, 1) is not room_for(tmp_path, blobs, 1)
    assert (room_for(tmp_path, None, 1)._keeping, room_for(tmp_path, blobs, 1)._keeping) == (tmp_path, blobs)


@pytest.fixture
def gigabyte_free(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let every disk say that it has so many bytes free: on real ones they come and go while a test runs."""
    usage = shutil.disk_usage("/")._replace(free=1_000 * MEGABYTE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    return usage.free


def test_an_upload_is_refused_before_its_body_is_read(
    sqlite_database: Database, tmp_path: Path, gigabyte_free: int
) -> None:
    house = House(sqlite_database, tmp_path, min_free_bytes=gigabyte_free + 1)
    asked: list[str] = []

    async def receive() -> Message:
        asked.append("more")
        return {"type": "http.request", "body": b"x" * MEGABYTE, "more_body": True}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = house.bearer("ed") | {"Content-Type": "multipart/form-data; boundary=b", "Host": "127.0.0.1"}
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/documents",
        "raw_path": b"/v1/documents",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(house.app()(scope, receive, send))
    assert sent[0]["status"] == 507
    assert (b"retry-after", b"60") in sent[0]["headers"]
    assert asked == []


def test_who_may_not_upload_learns_nothing_of_the_disk_and_questions_go_on(
    sqlite_database: Database, tmp_path: Path
) -> None:
    house = House(sqlite_database, tmp_path, min_free_bytes=10**18)
    with TestClient(house.app(), base_url=BASE_URL) as client:
        refused = client.post("/v1/documents", files={"file": ("a.txt", b"text")}, headers=house.bearer("ed"))
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
        assert client.get("/v1/documents", headers=house.bearer("ed")).json()["documents"] == []
        assert client.post("/v1/documents", content=b"", headers=house.bearer("rita")).status_code == 403
        assert client.post("/v1/documents", content=b"").status_code == 401
        assert client.post("/v1/search", json={"query": "holiday"}, headers=house.bearer("ed")).status_code == 200


def test_an_upload_that_would_not_leave_enough_is_refused_by_its_length(
    sqlite_database: Database, tmp_path: Path, gigabyte_free: int
) -> None:
    floor = gigabyte_free - 500 * MEGABYTE
    house = House(sqlite_database, tmp_path, min_free_bytes=floor, max_upload_bytes=10**15)
    with TestClient(house.app(), base_url=BASE_URL) as client:
        small = client.post("/v1/documents", files={"file": ("a.txt", b"text")}, headers=house.bearer("ed"))
        assert small.status_code == 202
        headers = house.bearer("ed") | {
            "Content-Length": str(10**12),
            "Content-Type": "multipart/form-data; boundary=b",
        }
        assert client.post("/v1/documents", content=b"", headers=headers).status_code == 507


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unavailable("Away."), "5"),
        (IndexUnavailable("Away.", retry_after=17.2), "18"),
        (IndexUnavailable("Away.", retry_after=0.0), "1"),
        (StorageFull("Full."), "60"),
        (NotFound("None."), None),
        (FootnoteError("Broken."), None),
    ],
)
def test_an_answer_that_may_be_other_later_says_when(error: FootnoteError, seconds: str | None) -> None:
    assert render(error, "-").headers.get("retry-after") == seconds
