"""Stored bytes, by the SHA-256 of their content, each tenant's apart: deduplication never crosses tenants."""

from core.blobs.directory import DirectoryBlobs
from core.blobs.opening import folder_of_blobs, open_blobs, place_of_blobs, sweep_copies
from core.blobs.port import BlobStore, StoredBlob

__all__ = [
    "BlobStore",
    "DirectoryBlobs",
    "StoredBlob",
    "folder_of_blobs",
    "open_blobs",
    "place_of_blobs",
    "sweep_copies",
]
