"""What an index is made of, and how a release queries it. The hash of a manifest is the name of what it describes."""

import hashlib
import json
from dataclasses import asdict, dataclass

from core.ids import IndexId


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexManifest:
    """Everything that decides what is stored. Two indexes with equal manifests hold the same points."""

    parser: str
    canonicaliser: str
    chunker: str
    header: str
    embedder: str
    sparse: str

    @property
    def index_id(self) -> IndexId:
        """The id of the index: 16 hex digits, safe as the name of a folder or a collection."""
        return IndexId(_digest(self.as_dict()))

    def as_dict(self) -> dict[str, str]:
        """Return the manifest as the catalogue keeps it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseManifest:
    """An index and how it is queried and answered from."""

    index_id: IndexId
    fusion: str
    reranker: str
    prompt: str
    model_route: str

    @property
    def id(self) -> str:
        """Equal for equal releases: 16 hex digits."""
        return _digest(self.as_dict())

    def as_dict(self) -> dict[str, str]:
        """Return the manifest as the catalogue keeps it."""
        return asdict(self)


def _digest(values: dict[str, str]) -> str:
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
