"""The Qdrant adapter over TLS, against a server with a certificate that only the test's own authority has signed."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import IndexUnavailable, InvalidInput
from core.ids import IndexId
from core.settings import Settings
from footnote.topology.servers import free_port
from retrieval.factory import open_index
from retrieval.index.qdrant import QdrantIndex
from retrieval.index.qdrant_connection import connect
from tests.e2e.conftest import FOOTNOTE, clean_environment
from tests.retrieval.corpora import DIM, document, point
from tests.retrieval.index.index_process import IndexProcess

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
NAME = IndexId("0123456789abcdef")


def _authority(folder: Path, name: str) -> Path:
    """Make an authority of one's own; return its certificate, beside which its key lies."""
    certificate = folder / f"{name}.pem"
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", certificate),
    )
    return certificate


def _server_certificate(folder: Path, authority: Path) -> tuple[Path, Path]:
    key, request, certificate = (folder / f"server.{kind}" for kind in ("key", "csr", "pem"))
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", "/CN=index", "-keyout", key, "-out", request),
    )
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl(
        *("x509", "-req", "-days", "2", "-in", request, "-CA", authority, "-CAkey", authority.with_suffix(".key")),
        *("-CAcreateserial", "-extfile", extensions, "-out", certificate),
    )
    return certificate, key


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Path, Path], Path]:
    """The authority, the server's certificate and key, and an authority that nobody trusts."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = _authority(folder, "authority")
    return authority, _server_certificate(folder, authority), _authority(folder, "stranger")


@pytest.fixture(scope="module")
def server(
    certificates: tuple[Path, tuple[Path, Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IndexProcess]:
    process = IndexProcess(tmp_path_factory.mktemp("index") / "data", key="secret", tls=certificates[1]).start()
    yield process
    assert process.end(signal.SIGTERM) == 0


@needs_openssl
@pytest.mark.slow
def test_an_index_over_tls_is_used_by_whoever_trusts_its_authority(
    server: IndexProcess, certificates: tuple[Path, tuple[Path, Path], Path], tmp_path: Path
) -> None:
    settings = Settings(
        qdrant_url=server.url,
        qdrant_api_key="secret",  # type: ignore[arg-type]  # read as a setting is
        qdrant_ca_file=certificates[0],
    )
    index = open_index(settings, tmp_path, NAME, DIM)
    assert isinstance(index, QdrantIndex)
    index.upsert([point("p", of="d")])

    assert [place.document for place in index.stored()] == [document("d")]
    index.close()


@needs_openssl
@pytest.mark.slow
def test_an_index_whose_authority_is_not_trusted_is_not_spoken_to(
    server: IndexProcess, certificates: tuple[Path, tuple[Path, Path], Path]
) -> None:
    for ca_file in (None, certificates[2]):
        with pytest.raises(IndexUnavailable):
            connect(server.url, api_key="secret", index_id=NAME, dim=DIM, ca_file=ca_file)


@pytest.mark.slow
@needs_openssl
def test_a_certificate_without_its_key_starts_nothing(
    certificates: tuple[Path, tuple[Path, Path], Path], tmp_path: Path
) -> None:
    authority, (certificate, key), _ = certificates
    for options, status in (
        (["--tls-cert", certificate], 2),
        (["--tls-cert", certificate, "--tls-key", authority.with_suffix(".key")], 1),
        (["--tls-cert", key, "--tls-key", certificate], 1),
    ):
        done = subprocess.run(
            [*FOOTNOTE, "index", "--data", str(tmp_path / "data"), "--port", "0", *map(str, options)],
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        assert "key" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="FOOTNOTE_QDRANT_CA_FILE"):
        connect("https://127.0.0.1:1", api_key=None, index_id=NAME, dim=DIM, ca_file=tmp_path / "none.pem")


def test_a_server_that_is_not_there_is_unavailable_over_grpc_as_it_is_over_rest() -> None:
    for grpc_port in (None, free_port()):
        with pytest.raises(IndexUnavailable):
            connect(f"http://127.0.0.1:{free_port()}", api_key="secret", index_id=NAME, dim=DIM, grpc_port=grpc_port)
