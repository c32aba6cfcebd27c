"""Small corpora for index and search tests: seeded, so that every run sees the same points."""

import random
from collections.abc import Sequence
from uuid import UUID, uuid5

import numpy as np

from core.domain import Principal
from core.ids import DEFAULT_TENANT, NAMESPACE, ChunkId, DocumentId, TenantId, VersionId
from retrieval.ports import IndexPoint, SparseVector, Vector

DIM = 16
OTHER_TENANT = TenantId("other")
GROUPS = tuple(f"group:g{number}" for number in range(6))
USERS = tuple(f"user:u{number}" for number in range(4))


def named(kind: str, name: object) -> UUID:
    return uuid5(NAMESPACE, f"test/{kind}/{name}")


def document(name: object) -> DocumentId:
    return DocumentId(named("document", name))


def version(name: object) -> VersionId:
    return VersionId(named("version", name))


def chunk(name: object) -> ChunkId:
    return ChunkId(named("chunk", name))


def principal(*closure: str, tenant: TenantId = DEFAULT_TENANT) -> Principal:
    return Principal(tenant=tenant, closure=frozenset(closure))


def sparse(**weights: float) -> SparseVector:
    """Weights by term: `t7=1.5` is term 7."""
    terms = sorted((int(name[1:]), weight) for name, weight in weights.items())
    return SparseVector(indices=tuple(term for term, _ in terms), values=tuple(weight for _, weight in terms))


def vector(*values: float) -> Vector:
    padded = np.zeros(DIM, dtype=np.float32)
    padded[: len(values)] = values
    return padded


def point(
    name: object,
    *,
    of: object | None = None,
    tenant: TenantId = DEFAULT_TENANT,
    versioned: object = "v1",
    dense: Vector | None = None,
    terms: SparseVector | None = None,
    allow: Sequence[str] = ("*",),
    deny: Sequence[str] = (),
) -> IndexPoint:
    return IndexPoint(
        chunk=chunk(name),
        tenant=tenant,
        document=document(name if of is None else of),
        version=version(versioned),
        dense=vector(1.0) if dense is None else dense,
        sparse=sparse(t1=1.0) if terms is None else terms,
        allow=tuple(allow),
        deny=tuple(deny),
    )


def random_points(count: int, *, seed: int, tenant: TenantId = DEFAULT_TENANT) -> list[IndexPoint]:
    """Points with random vectors, Zipf-like terms and random access; about three chunks to a document."""
    rng = np.random.default_rng(seed)
    dice = random.Random(seed)  # noqa: S311 - a test corpus
    access: dict[int, tuple[list[str], list[str]]] = {}
    points = []
    for number in range(count):
        of = number // 3
        if of not in access:
            allow = dice.sample([*GROUPS, *USERS, "*"], dice.randint(0, 3))
            access[of] = (allow, dice.sample([*GROUPS, *USERS], dice.choice([0, 0, 0, 1])))
        terms = sorted({int(term) for term in np.minimum(rng.zipf(1.3, size=12), 200)})
        points.append(
            point(
                f"{tenant}/{seed}/{number}",
                of=f"{tenant}/{seed}/{of}",
                tenant=tenant,
                dense=unit(rng),
                terms=SparseVector(indices=tuple(terms), values=tuple(dice.uniform(0.2, 2.2) for _ in terms)),
                allow=access[of][0],
                deny=access[of][1],
            )
        )
    return points


def unit(rng: np.random.Generator) -> Vector:
    drawn = rng.normal(size=DIM).astype(np.float32)
    return drawn / np.float32(np.linalg.norm(drawn))


def may_read(who: Principal, stored: IndexPoint) -> bool:
    """The rule of access in its own words, for tests to compare with."""
    same = stored.tenant == who.tenant
    return same and bool(who.closure & set(stored.allow)) and not who.closure & set(stored.deny)
