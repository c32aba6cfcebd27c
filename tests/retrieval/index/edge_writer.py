"""The child that `test_edge` kills: writes document after document, three to a flush, and says what is flushed."""

import sys
from itertools import count
from pathlib import Path

import numpy as np

from core.ids import DEFAULT_TENANT, IndexId
from retrieval.index.edge import EdgeIndex
from retrieval.ports import IndexPoint
from tests.retrieval.corpora import DIM, document, point, sparse

INDEX = IndexId("0123456789abcdef")
CHUNKS = 40
GROUP = 3


def points_of(name: int) -> list[IndexPoint]:
    rng = np.random.default_rng(name)
    return [
        point(
            f"{name}/{number}",
            of=name,
            versioned=name,
            dense=rng.normal(size=DIM).astype(np.float32),
            terms=sparse(**{f"t{name}": 1.0, f"t{10_000 + number}": 2.0}),
        )
        for number in range(CHUNKS)
    ]


def write_forever(directory: Path, first: int) -> None:
    """Per group: upsert three documents, share the first with group:late, delete the last one before them; flush."""
    index = EdgeIndex(directory, index_id=INDEX, dim=DIM)
    for start in count(first, GROUP):
        for name in range(start, start + GROUP):
            index.upsert(points_of(name))
        index.set_access(DEFAULT_TENANT, document(start), allow=["*", "group:late"], deny=[])
        index.delete(DEFAULT_TENANT, document(start - 1))
        index.flush()
        print(start + GROUP, flush=True)  # noqa: T201 - how the parent is told


if __name__ == "__main__":
    write_forever(Path(sys.argv[1]), int(sys.argv[2]))
