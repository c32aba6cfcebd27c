import stat

from footnote.topology.distributed import temporary_folder


def test_what_killed_workers_leave_in_their_temporary_folder_is_gone_in_the_end() -> None:
    with temporary_folder() as folder:
        (folder / "pymp-left").mkdir()

    assert not folder.exists()


def test_a_confined_parser_gets_through_to_the_temporary_folder_and_sees_nothing_else_in_it() -> None:
    with temporary_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o711
        assert all(above.stat().st_mode & stat.S_IXOTH for above in folder.parents)
