"""Vectors for the texts of many documents at once, each text embedded once per tenant and model."""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.db.chunks import embedded_texts, embedded_tokens, missing_embeddings, put_embeddings
from core.db.session import Database
from core.db.stages import ClaimedStage
from core.errors import FootnoteError
from core.ids import TenantId
from retrieval.ports import Embedder

OVERLAP = 2  # Slices under way at once.
SLICE_TEXTS = 1_024  # However short they are: their vectors are written by one transaction.
Part = TypeVar("Part")


def embed_missing(
    database: Database,
    embedder: Embedder,
    stages: Sequence[ClaimedStage],
    *,
    slice_tokens: int,
    progressed: Callable[[ClaimedStage, float], None],
    most_tokens: int | None = None,
) -> bool:
    """Embed what has no vector yet of these versions, in slices of so many tokens that are kept as soon as made.

    The texts of all are sorted by their tokens, so that those of about one length meet in a batch of the model. With
    `most_tokens` it stops after about so many. Returns whether all have their vectors. Only a slice's texts are in
    memory, beside the hashes of all.

    After each slice `progressed` is told of every stage it concerned which fraction of its texts has a vector now.

    :raises FootnoteError: the model gave something that is no vector; nothing of that slice is kept.
    """
    room = math.inf if most_tokens is None else most_tokens
    for tenant in sorted({stage.tenant for stage in stages}):
        tokens: dict[str, int] = {}
        hashes: dict[ClaimedStage, AbstractSet[str]] = {}
        with database.reading() as session:
            for stage in stages:
                if stage.tenant == tenant:
                    of_stage = embedded_tokens(session, tenant, stage.version)
                    tokens.update(of_stage)
                    hashes[stage] = of_stage.keys()
            missing = missing_embeddings(session, tenant, embedder.id, tokens)
        wanted = sorted(missing, key=lambda text_hash: (tokens[text_hash], text_hash))
        progress = _Progress(hashes, wanted)
        turn: list[Sequence[str]] = []
        for part in slices(wanted, tokens, slice_tokens):
            if room <= 0:
                break
            turn.append(part)
            room -= sum(tokens[text_hash] for text_hash in part)
        for part in overlapped(partial(_embed_part, database, embedder, tenant), turn):
            for stage, fraction in progress.after(part):
                progressed(stage, fraction)
        if sum(map(len, turn)) < len(wanted):
            return False
    return True


def slices(wanted: Sequence[str], tokens: Mapping[str, int], budget: int) -> Iterator[Sequence[str]]:
    """Yield the texts in runs of at most `budget` tokens, or of one text, and of at most `SLICE_TEXTS` texts."""
    first = spent = 0
    for place, text_hash in enumerate(wanted):
        if place > first and (spent + tokens[text_hash] > budget or place - first == SLICE_TEXTS):
            yield wanted[first:place]
            first, spent = place, 0
        spent += tokens[text_hash]
    if first < len(wanted):
        yield wanted[first:]


def _embed_part(database: Database, embedder: Embedder, tenant: TenantId, part: Sequence[str]) -> None:
    with database.reading() as session:
        texts = embedded_texts(session, tenant, part)  # Without those that were deleted meanwhile.
    there = [text_hash for text_hash in part if text_hash in texts]
    vectors = embedder.embed_documents([texts[text_hash] for text_hash in there])
    _require(vectors, (len(there), embedder.dim))
    with database.transaction() as session:
        put_embeddings(session, tenant, embedder.id, dict(zip(there, vectors, strict=True)))


def overlapped(run: Callable[[Part], None], parts: Iterable[Part]) -> Iterator[Part]:
    """Run on each part, two at a time, and yield the parts, in order, as they are done.

    So the model is not idle while vectors are written, texts are read and cut into tokens, and a last batch runs out.
    What fails ends it; the part beside it is finished, those after it are not begun.
    """
    with ThreadPoolExecutor(OVERLAP, thread_name_prefix="embed") as pool:
        running: deque[tuple[Part, Future[None]]] = deque()
        for part in parts:
            running.append((part, pool.submit(run, part)))
            if len(running) == OVERLAP:
                done, future = running.popleft()
                future.result()
                yield done
        for done, future in running:
            future.result()
            yield done


class _Progress:
    """How far each stage of a batch has come. A text may be wanted by several, and is embedded once for all."""

    def __init__(self, hashes: Mapping[ClaimedStage, AbstractSet[str]], missing: Iterable[str]) -> None:
        self._totals = {stage: len(texts) for stage, texts in hashes.items()}
        self._wanting: dict[str, list[ClaimedStage]] = {text_hash: [] for text_hash in missing}
        self._left: Counter[ClaimedStage] = Counter()
        for stage, texts in hashes.items():
            for text_hash in texts & self._wanting.keys():
                self._wanting[text_hash].append(stage)
                self._left[stage] += 1

    def after(self, part: Iterable[str]) -> Iterator[tuple[ClaimedStage, float]]:
        """Yield the stages that wanted any of these texts, with the fraction of theirs that has a vector now."""
        done = Counter(stage for text_hash in part for stage in self._wanting[text_hash])
        self._left -= done
        for stage in done:
            yield stage, 1 - self._left[stage] / self._totals[stage]


def _require(vectors: NDArray[np.float32], shape: tuple[int, int]) -> None:
    """Refuse what could not be searched: a vector that is stored counts for ever."""
    if vectors.shape != shape:
        raise FootnoteError(f"The embedding model gave vectors of shape {vectors.shape}, not {shape}.")
    if not np.isfinite(vectors).all():
        raise FootnoteError("The embedding model gave vectors that are not finite numbers.")
