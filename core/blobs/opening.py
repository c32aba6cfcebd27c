"""Settings to blob store: the one place that every process gets its blobs from."""

from pathlib import Path

from core.blobs.copies import KEPT_SECONDS, LocalCopies
from core.blobs.directory import DirectoryBlobs
from core.blobs.port import BlobStore
from core.settings import Settings

SERVICE = "s3://"
COPIES = "blob-copies"  # In the data directory, of what lies with a service.


def open_blobs(settings: Settings, data: Path) -> BlobStore:
    """Return the blobs that the settings name, by default those in the data directory.

    :raises InvalidInput: the settings name nothing that there could be.
    """
    if settings.blobs is not None and settings.blobs.startswith(SERVICE):
        from core.blobs.s3 import connect  # noqa: PLC0415 - loads the client

        return connect(settings, data / COPIES)
    return DirectoryBlobs(folder_of_blobs(settings) or data / "blobs")


def folder_of_blobs(settings: Settings) -> Path | None:
    """Return the folder that the settings name; None where they name none, or a service."""
    if settings.blobs is None or settings.blobs.startswith(SERVICE):
        return None
    return Path(settings.blobs)


def place_of_blobs(settings: Settings, data: Path) -> str:
    """Return where the blobs are, as a person would look for them."""
    return str(data) if settings.blobs is None else settings.blobs


def sweep_copies(data: Path, *, max_bytes: int) -> int:
    """Remove the data directory's local copies that nobody used lately, without asking a service; return how many."""
    folder = data / COPIES
    if not folder.is_dir():
        return 0
    return LocalCopies(folder, max_bytes=max_bytes).sweep(min_age_seconds=KEPT_SECONDS)
