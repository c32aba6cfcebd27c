"""The settings say where blobs are; what they cannot mean is said at once."""

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.blobs import DirectoryBlobs, open_blobs, place_of_blobs
from core.blobs.s3 import S3Blobs
from core.errors import InvalidInput
from core.settings import Settings
from tests.e2e.conftest import clean_environment

S3 = "s3://footnote/files"
KEYS = {"s3_access_key": "someone", "s3_secret_key": SecretStr("something")}


def test_blobs_are_in_the_data_directory_unless_the_settings_name_a_folder(tmp_path: Path) -> None:
    own = open_blobs(Settings(), tmp_path / "data")
    shared = open_blobs(Settings(blobs=str(tmp_path / "shared")), tmp_path / "data")

    assert isinstance(own, DirectoryBlobs)
    assert isinstance(shared, DirectoryBlobs)
    assert (tmp_path / "data" / "blobs").is_dir()
    assert (tmp_path / "shared").is_dir()


def test_an_s3_url_is_a_bucket_and_local_copies_are_private(tmp_path: Path) -> None:
    settings = Settings(blobs=S3, **KEYS)  # type: ignore[arg-type]  # of two types

    assert isinstance(open_blobs(settings, tmp_path), S3Blobs)
    assert (tmp_path / "blob-copies").stat().st_mode & 0o777 == 0o700
    assert place_of_blobs(settings, tmp_path) == S3


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"blobs": "s3://"}, "FOOTNOTE_BLOBS"),
        ({"blobs": "s3://Bucket/x"}, "FOOTNOTE_BLOBS"),
        ({"blobs": "s3://bucket/a/../b"}, "FOOTNOTE_BLOBS"),
        ({"blobs": S3, "s3_endpoint": "storage.example.org"}, "FOOTNOTE_S3_ENDPOINT"),
        ({"blobs": S3, "s3_access_key": "someone"}, "FOOTNOTE_S3_SECRET_KEY"),
        ({"blobs": S3, "s3_ca_file": "/no/such/file"}, "FOOTNOTE_S3_CA_FILE"),
    ],
)
def test_what_names_no_bucket_is_refused_with_the_settings_name(
    tmp_path: Path, values: dict[str, str], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        open_blobs(Settings.model_validate(values), tmp_path)


def test_without_s3_its_client_is_not_loaded(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys; from pathlib import Path; from core.blobs import open_blobs; from core.settings import Settings;"
        f"open_blobs(Settings(), Path({str(tmp_path)!r})); sys.exit('obstore' in sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True, env=clean_environment(), cwd=tmp_path)
