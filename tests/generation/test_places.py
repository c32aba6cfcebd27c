from pathlib import Path

from sqlalchemy import insert

from core.blobs import DirectoryBlobs
from core.db.base import db_now
from core.db.session import Database
from core.db.tables import VersionRow
from core.domain import Box, Line, Page, ParsedDocument, Span
from core.ids import VersionId, uuid7
from core.parsed import to_bytes
from generation.places import ParsedPlaces, page_of
from tests.generation.samples import TENANT, add_document, add_tenant

TEXT = "first page\nsecond page"
PARSED = ParsedDocument(
    text=TEXT,
    title=None,
    language=None,
    elements=(),
    pages=(Page(number=1, span=Span(start=0, end=11)), Page(number=2, span=Span(start=11, end=22))),
    lines=(
        Line(span=Span(start=0, end=10), box=Box(page=1, x0=0.1, y0=0.1, x1=0.5, y1=0.2)),
        Line(span=Span(start=11, end=22), box=Box(page=2, x0=0.1, y0=0.1, x1=0.5, y1=0.2)),
    ),
)


def version_with(database: Database, parsed_hash: str | None) -> VersionId:
    version = VersionId(uuid7())
    document = add_document(database)
    with database.transaction() as session:
        session.execute(
            insert(VersionRow).values(
                tenant=TENANT,
                id=version,
                document_id=document,
                ordinal=1,
                blob_hash="0" * 64,
                size=1,
                pages_lost=[],
                notes=[],
                parsed_hash=parsed_hash,
                created_at=db_now(),
            )
        )
    return version


def test_words_are_found_on_their_page_with_the_boxes_of_their_lines(sqlite_database: Database, tmp_path: Path) -> None:
    add_tenant(sqlite_database)
    blobs = DirectoryBlobs(tmp_path / "blobs")
    version = version_with(sqlite_database, blobs.put(TENANT, to_bytes(PARSED)).hash)
    places = ParsedPlaces(database=sqlite_database, blobs=blobs)
    for _ in range(2):  # the second time from memory
        place = places.locate(TENANT, version, Span(start=11, end=22))
        assert place is not None
        assert place.page == 2
        assert [box.page for box in place.boxes] == [2]


def test_what_is_gone_is_nowhere(sqlite_database: Database, tmp_path: Path) -> None:
    add_tenant(sqlite_database)
    blobs = DirectoryBlobs(tmp_path / "blobs")
    places = ParsedPlaces(database=sqlite_database, blobs=blobs)
    span = Span(start=0, end=1)
    assert places.locate(TENANT, VersionId(uuid7()), span) is None
    assert places.locate(TENANT, version_with(sqlite_database, None), span) is None
    assert places.locate(TENANT, version_with(sqlite_database, "0" * 64), span) is None
    damaged = blobs.put(TENANT, b"nonsense").hash
    assert places.locate(TENANT, version_with(sqlite_database, damaged), span) is None


def test_the_page_is_that_of_the_first_character() -> None:
    assert [page_of(PARSED.pages, position) for position in (0, 10, 11, 99)] == [1, 1, 2, 2]
    assert page_of((), 5) is None
