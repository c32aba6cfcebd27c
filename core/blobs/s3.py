"""Blobs with a service that speaks S3: Amazon's, MinIO, Ceph, Swift, R2 and others."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store

from core.blobs.copies import LocalCopies
from core.blobs.files import copy_hashed, folder_name
from core.blobs.port import GONE, HASH, PLAIN_TENANT, StoredBlob
from core.errors import FootnoteError, InvalidInput, NotFound, StorageFull, Unavailable
from core.ids import TenantId
from core.settings import Settings

log = structlog.get_logger()

ANSWER_SECONDS = 30.0  # One request, with the piece of content in it; a service that has stalled is given up then.
CONNECT_SECONDS = 5.0
RETRIES = 2
FRESH_SECONDS = 900.0  # `keep` writes nothing while the content is as new as this; collecting waits for an hour.
_PIECE = 8 << 20
_AT_ONCE = 2  # Pieces of one upload that are in memory together.
_LISTED_AT_ONCE = 1_000
_TRIES = 3  # For content whose objects are replaced while it is read.
_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[A-Za-z0-9._/-]*))?")
_OBJECT = re.compile(r"(?P<hash>[0-9a-f]{64})/(?P<stamp>[0-9a-f]{16}-[0-9a-f]{32})")
_NO_BUCKET = "NoSuchBucket"
_REFUSED = re.compile(r"status code: 40[13]|AccessDenied|SignatureDoesNotMatch|InvalidAccessKeyId")
_NO_SPACE = re.compile(r"status code: 507|XMinioStorageFull|StorageFull|QuotaExceeded|InsufficientStorage")


@dataclass(frozen=True, slots=True, order=True)
class _Written:
    """One object that holds a content. `stamp` begins with when it was written, in microseconds; they sort by it."""

    stamp: str
    key: str
    size: int

    @property
    def seconds(self) -> float:
        return int(self.stamp[:16], 16) / 1e6


class S3Blobs:
    """Blobs as objects `PREFIX/<tenant>/<first two of the hash>/<hash>/<when it was written>`.

    S3 has neither a lock nor a condition under which an object may be deleted. So no object is ever written twice:
    whoever puts or keeps a content writes a new one, and whoever deletes names the old ones that he has judged. What is
    written meanwhile has another name and stays. Of several objects of one content any will do; whoever wrote the
    newest removes the others.

    Clocks of the machines may differ by minutes, not by an hour. The service must list what it has acknowledged.
    """

    def __init__(
        self, store: S3Store, *, prefix: str, copies: LocalCopies, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._prefix = prefix.strip("/")
        self._copies = copies
        self._now = now

    def put(self, tenant: TenantId, content: bytes | BinaryIO, *, max_bytes: int | None = None) -> StoredBlob:
        with self._copies.scratch() as scratch:
            blob = copy_hashed(BytesIO(content) if isinstance(content, bytes) else content, scratch, max_bytes)
            scratch.seek(0)
            new = self._new(tenant, blob.hash, blob.size)
            with _translated():
                obstore.put(self._store, new.key, scratch, chunk_size=_PIECE, max_concurrency=_AT_ONCE)
        self._remove_older(tenant, blob.hash, new)
        return blob

    def open(self, tenant: TenantId, hash: str) -> BinaryIO:  # noqa: A002
        for _ in range(_TRIES):
            path = self.path(tenant, hash)
            if path is None:
                raise NotFound(GONE)
            with suppress(FileNotFoundError):  # Another process found that the content is gone, or made room.
                return path.open("rb")
        raise NotFound(GONE)

    def read(self, tenant: TenantId, hash: str) -> bytes:  # noqa: A002
        with self.open(tenant, hash) as file:
            return file.read()

    def path(self, tenant: TenantId, hash: str) -> Path | None:  # noqa: A002
        for _ in range(_TRIES):
            written = self._written(tenant, hash)
            if not written:
                break
            path = self._copies.find(tenant, hash) or self._fetch(tenant, hash, written[-1])
            if path is not None:
                return path
        self._copies.forget(tenant, hash)
        return None

    def has(self, tenant: TenantId, hash: str) -> bool:  # noqa: A002
        return bool(self._written(tenant, hash))

    def keep(self, tenant: TenantId, hash: str) -> bool:  # noqa: A002
        for _ in range(_TRIES):
            written = self._written(tenant, hash)
            if not written:
                return False
            newest = written[-1]
            if self._now() - newest.seconds < FRESH_SECONDS:
                return True
            new = self._new(tenant, hash, newest.size)
            with _translated(), suppress(FileNotFoundError):  # Replaced or deleted meanwhile: look again.
                obstore.copy(self._store, newest.key, new.key)
                self._remove_older(tenant, hash, new)
                return True
        return False

    def delete(self, tenant: TenantId, hash: str, *, min_age_seconds: float = 0.0) -> bool:  # noqa: A002
        written = self._written(tenant, hash)
        if min_age_seconds > 0 and any(self._now() - one.seconds < min_age_seconds for one in written):
            return False
        self._remove(written)
        self._copies.forget(tenant, hash)
        return not written or not self._written(tenant, hash)

    def list(self, tenant: TenantId) -> Iterator[StoredBlob]:
        seen: set[str] = set()
        for key, size in self._listed(folder_name(tenant)):
            match = _OBJECT.fullmatch(key.split("/", 2)[-1])
            if match and match["hash"] not in seen:
                seen.add(match["hash"])
                yield StoredBlob(hash=match["hash"], size=size)

    def tenants(self) -> Iterator[TenantId]:
        # A name that is a hash does not tell its tenant; but then nobody could have added one of that name.
        with _translated():
            found = obstore.list_with_delimiter(self._store, self._prefix or None)["common_prefixes"]
        for path in found:
            name = path.rstrip("/").rsplit("/", 1)[-1]
            if PLAIN_TENANT.fullmatch(name):
                yield TenantId(name)

    def remove_tenant(self, tenant: TenantId, *, limit: int) -> int:
        doomed = tuple(islice(self.list(tenant), limit))
        for blob in doomed:
            self._remove(self._written(tenant, blob.hash))
            self._copies.forget(tenant, blob.hash)
        return len(doomed)

    def sweep(self, *, min_age_seconds: float = 3_600.0) -> int:
        return self._copies.sweep(min_age_seconds=min_age_seconds)

    def _fetch(self, tenant: TenantId, hash_: str, written: _Written) -> Path | None:
        """Fetch the object and return its local copy; None if it has been replaced or deleted meanwhile."""
        digest = hashlib.sha256()
        with self._copies.scratch() as scratch:
            for start in range(0, written.size, _PIECE):  # In pieces: each has its own time, and little is in memory.
                length = min(_PIECE, written.size - start)
                try:
                    with _translated():
                        piece = memoryview(obstore.get_range(self._store, written.key, start=start, length=length))
                except FileNotFoundError:
                    return None
                digest.update(piece)
                scratch.write(piece)
            if digest.hexdigest() != hash_:
                log.error("stored_content_differs", tenant=tenant, hash=hash_)
                raise Unavailable("The stored content is not what was stored; restore it from a backup.")
            return self._copies.keep(tenant, hash_, scratch)

    def _new(self, tenant: TenantId, hash_: str, size: int) -> _Written:
        stamp = f"{round(self._now() * 1e6):016x}-{uuid4().hex}"
        return _Written(stamp=stamp, key=f"{self._folder(tenant, hash_)}/{stamp}", size=size)

    def _written(self, tenant: TenantId, hash_: str) -> Sequence[_Written]:
        """Return the objects that hold the content, the newest last."""
        found = []
        for key, size in self._listed(self._folder(tenant, hash_).removeprefix(f"{self._prefix}/")):
            match = _OBJECT.fullmatch(key.split("/", 2)[-1])
            if match and match["hash"] == hash_:
                found.append(_Written(stamp=match["stamp"], key=self._full(key), size=size))
        return sorted(found)

    def _listed(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield the key below our prefix and the size of every object in the folder, itself below our prefix."""
        with _translated():
            for some in obstore.list(self._store, self._full(folder), chunk_size=_LISTED_AT_ONCE):
                for one in some:
                    key = one["path"]
                    yield key.removeprefix(f"{self._prefix}/") if self._prefix else key, one["size"]

    def _remove_older(self, tenant: TenantId, hash_: str, than: _Written) -> None:
        """Tidy up; what stays goes with the next writer, or when the content is deleted."""
        with suppress(Unavailable, StorageFull):
            self._remove([one for one in self._written(tenant, hash_) if one < than])

    def _remove(self, written: Sequence[_Written]) -> None:
        if written:
            with _translated(), suppress(FileNotFoundError):
                obstore.delete(self._store, [one.key for one in written])

    def _folder(self, tenant: TenantId, hash_: str) -> str:
        if not HASH.fullmatch(hash_):
            raise NotFound(GONE)
        return self._full(f"{folder_name(tenant)}/{hash_[:2]}/{hash_}")

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the library throws into our errors; `FileNotFoundError` stays where the object alone is missing.

    :raises StorageFull: the service has no room, or gives us none.
    :raises Unavailable: it does not answer, or refuses.
    """
    try:
        yield
    except FootnoteError:
        raise
    except (BaseError, OSError, ValueError) as error:
        told = str(error)
        if isinstance(error, FileNotFoundError) and _NO_BUCKET not in told:
            raise
        log.warning("object_store_failed", error=told.partition("\n")[0][:300])
        raise _ours(told) from error


def _ours(told: str) -> FootnoteError:
    # The library has a class for some of these, and not for the same ones in every call; the answer's text is in all.
    if _NO_SPACE.search(told):
        return StorageFull("The object store is full: nothing was accepted.")
    if _NO_BUCKET in told:
        return Unavailable("The bucket that FOOTNOTE_BLOBS names does not exist; nothing was accepted.")
    if _REFUSED.search(told):
        return Unavailable("The object store refuses our key; nothing was accepted. An operator must see to it.")
    return Unavailable("The object store does not answer; nothing was accepted. Try again.")


def connect(settings: Settings, copies: Path, *, answer_seconds: float = ANSWER_SECONDS) -> S3Blobs:
    """Return the blobs in the bucket that the settings name; nothing is asked of the service yet.

    Without a key in the settings the usual places are looked at: `AWS_*` in the environment, then the machine's role.

    :raises InvalidInput: the settings name no bucket or service that there could be.
    """
    found = _URL.fullmatch(settings.blobs or "")
    if found is None or ".." in (found["prefix"] or ""):
        raise InvalidInput(f"FOOTNOTE_BLOBS is {settings.blobs!r}; it must be a folder or like s3://bucket/prefix.")
    store = S3Store(
        found["bucket"],
        config=_config(settings),
        client_options=_client(settings, answer_seconds),
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=answer_seconds)},
    )
    return S3Blobs(store, prefix=found["prefix"] or "", copies=LocalCopies(copies, max_bytes=settings.s3_cache_bytes))


def _config(settings: Settings) -> Any:  # noqa: ANN401 - the library's typed dictionary exists for type checkers alone
    endpoint, secret = settings.s3_endpoint, settings.s3_secret_key
    if endpoint is not None and (urlsplit(endpoint).scheme not in {"http", "https"} or not urlsplit(endpoint).hostname):
        raise InvalidInput(f"FOOTNOTE_S3_ENDPOINT is {endpoint!r}; it must be like https://s3.example.org.")
    if (settings.s3_access_key is None) != (secret is None):
        raise InvalidInput("FOOTNOTE_S3_ACCESS_KEY and FOOTNOTE_S3_SECRET_KEY go together: set both, or neither.")
    config: dict[str, str] = {"region": settings.s3_region}
    if endpoint is not None:
        config["endpoint"] = endpoint
    if settings.s3_access_key is not None and secret is not None:
        config |= {"access_key_id": settings.s3_access_key, "secret_access_key": secret.get_secret_value()}
    return config


def _client(settings: Settings, answer_seconds: float) -> Any:  # noqa: ANN401 - as above
    options: dict[str, object] = {
        "timeout": timedelta(seconds=answer_seconds),
        "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, answer_seconds)),
        "allow_http": (settings.s3_endpoint or "").startswith("http://"),
    }
    if settings.s3_ca_file is not None:
        try:
            options["root_certificate"] = settings.s3_ca_file.read_text()
        except OSError as error:
            raise InvalidInput(f"FOOTNOTE_S3_CA_FILE {settings.s3_ca_file}: {error.strerror}.") from error
    return options
