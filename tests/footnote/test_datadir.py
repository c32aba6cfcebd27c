import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import DataDirectoryInUse, StorageFull
from footnote.datadir import DataDirectory

HOLD = """
import sys
from pathlib import Path
from footnote.datadir import DataDirectory
with DataDirectory(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_holds_a_directory_until_it_dies(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataDirectoryInUse), directory.held():
            pass
        holder.kill()
    with directory.held():
        pass


def test_the_owners_key_is_the_secret_and_a_newline_and_readable_by_nobody_else(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.create()
    directory.write_owner_key("fn_secret")

    assert (tmp_path / "owner.key").read_text() == "fn_secret\n"
    assert stat.S_IMODE((tmp_path / "owner.key").stat().st_mode) == 0o600
    assert directory.owner_key() == "fn_secret"
    assert [path.name for path in tmp_path.rglob("*") if "key" in path.name] == ["owner.key"]


def test_a_server_that_died_is_not_announced_any_more(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.create()
    assert directory.server() is None
    with directory.held():
        directory.announce("http://127.0.0.1:1")
        server = directory.server()
        assert server is not None
        assert server.pid == os.getpid()
        (tmp_path / "server.json").write_text("{")
        assert directory.server() is None
        directory.announce("http://127.0.0.1:1")

    assert (tmp_path / "server.json").exists()
    assert directory.server() is None
    with directory.held():
        assert not (tmp_path / "server.json").exists()


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFull, match="cannot be made"):
        DataDirectory(tmp_path / "file" / "data").create()
