"""What the fork server does where the machine has no process, memory or disk to spare."""

import errno
import os
import socket
from pathlib import Path

import pytest

from core.errors import Unavailable
from ingestion.sandbox import ParserLimits
from ingestion.sandbox.client import ForkServerClient
from ingestion.sandbox.confinement import Layers
from ingestion.sandbox.messages import MAX_PACKET, Report
from ingestion.sandbox.server import ForkServer

NO_LAYERS = Layers(seccomp=False, landlock=False, network_namespace=False, unprivileged_user=False)


def refused_with(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Let a server take one request on a machine that refuses to fork; return what it tells."""

    def refuse() -> int:
        raise OSError(number, os.strerror(number))

    client = ForkServerClient("none", ParserLimits(), processes=1)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    source, output = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    with near, far, mine, theirs:
        socket.send_fds(near, [client._request({}).to_bytes()], [source, output, theirs.fileno()])
        os.close(source)
        os.close(output)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", refuse)
            assert ForkServer(far, lambda _task, _data: b"", NO_LAYERS, folder)._accept()
        report = Report.from_bytes(mine.recv(MAX_PACKET))
        with pytest.raises(Unavailable, match=os.strerror(number)):
            client._judge(b"", report)
    return report


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_machine_without_room_for_a_process_is_told_and_no_document_is_blamed(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = refused_with(number, tmp_path, monkeypatch)
    assert (report.not_started, report.reason) == (True, None)
    assert not list(tmp_path.iterdir())  # Nothing is left behind.


def test_what_does_not_come_back_by_itself_ends_the_server_so_that_a_new_one_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="denied"):
        refused_with(errno.EACCES, tmp_path, monkeypatch)
