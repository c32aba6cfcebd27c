import stat
from pathlib import Path

from footnote.topology.distributed import _worker


def test_what_killed_workers_left_in_their_temporary_folder_is_gone_at_the_next_start(tmp_path: Path) -> None:
    given = {"PATH": "/bin", "TMPDIR": "/elsewhere"}
    for _ in range(2):
        program = _worker("worker-embed", "embed", tmp_path, given)
        folder = Path(program.environment["TMPDIR"])
        assert folder.is_relative_to(tmp_path / "worker-embed")
        assert not list(folder.iterdir())
        (folder / "pymp-left").mkdir()

    assert program.environment["PATH"] == "/bin"
    assert given["TMPDIR"] == "/elsewhere"
    for private in (folder, tmp_path / "worker-embed"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
