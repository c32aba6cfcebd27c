import random
import socket

import pytest

from core.errors import Unavailable
from footnote.topology.servers import free_port


def test_a_port_is_free_and_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        mine, another = free_port(), free_port()
        drawn = [taken.getsockname()[1], mine, another]
        monkeypatch.setattr(random, "sample", lambda *_, **__: drawn)
        with pytest.raises(Unavailable):
            free_port()
    assert mine != another
    assert free_port() == drawn[0]  # Nobody listens there now.
    with pytest.raises(Unavailable):
        free_port()
