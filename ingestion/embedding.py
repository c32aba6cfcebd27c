"""Vectors for the texts of many documents at once, each text embedded once per tenant and model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.db.chunks import chunks_of, missing_embeddings, put_embeddings
from core.db.session import Database
from core.db.stages import ClaimedStage
from core.errors import FootnoteError
from retrieval.ports import Embedder


def embed_missing(database: Database, embedder: Embedder, stages: Sequence[ClaimedStage], *, at_once: int) -> None:
    """Embed what has no vector yet of these versions, in slices of so many texts that are kept as soon as made.

    :raises FootnoteError: the model gave something that is no vector; nothing of that slice is kept.
    """
    for tenant in sorted({stage.tenant for stage in stages}):
        versions = [stage.version for stage in stages if stage.tenant == tenant]
        with database.reading() as session:
            texts = {
                text_hash: chunk.embedded_text
                for version in versions
                for chunk, text_hash in chunks_of(session, tenant, version)
            }
            missing = missing_embeddings(session, tenant, embedder.id, list(texts))
        wanted = sorted(missing, key=lambda text_hash: len(texts[text_hash]))
        for start in range(0, len(wanted), at_once):
            part = wanted[start : start + at_once]
            vectors = embedder.embed_documents([texts[text_hash] for text_hash in part])
            _require(vectors, (len(part), embedder.dim))
            with database.transaction() as session:
                put_embeddings(session, tenant, embedder.id, dict(zip(part, vectors, strict=True)))


def _require(vectors: NDArray[np.float32], shape: tuple[int, int]) -> None:
    """Refuse what could not be searched: a vector that is stored counts for ever."""
    if vectors.shape != shape:
        raise FootnoteError(f"The embedding model gave vectors of shape {vectors.shape}, not {shape}.")
    if not np.isfinite(vectors).all():
        raise FootnoteError("The embedding model gave vectors that are not finite numbers.")
