"""One release is live, and none becomes so unmeasured."""

from core.db import documents, releases
from core.db.session import Database
from core.db.tenants import add_tenant
from core.domain import StageName
from core.ids import IndexId
from tests.core.db.scenario import INDEX, TENANT, Story

SECOND = IndexId("index-2")


def test_the_first_release_is_live_and_stays_so(database: Database) -> None:
    with database.transaction() as session:
        assert releases.live_release(session) is None
        assert releases.written_indexes(session) == [""]
        first = releases.ensure_live_release(session, INDEX, {"parser": "1"})
        assert releases.ensure_live_release(session, INDEX, {"parser": "other"}) == first
        assert releases.live_release(session) == first
        assert releases.written_indexes(session) == [INDEX]
    assert (first.index_id, first.state, first.manifest) == (INDEX, "live", {"parser": "1"})
    assert first.promoted_at is not None


def test_an_empty_catalogue_takes_the_new_release_at_once(database: Database) -> None:
    story = Story.begin(database)
    with database.transaction() as session:
        made = releases.ensure_live_release(session, SECOND, {"parser": "2"})
        assert (made.index_id, made.state) == (SECOND, "live")
        assert [(one.index_id, one.state) for one in releases.list_releases(session)] == [
            (SECOND, "live"),
            (INDEX, "retired"),
        ]
    story.upload()
    story.finish_everything()


def test_f11_a_filled_index_is_not_replaced_unasked(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    for _ in range(2):
        with database.transaction() as session:
            assert releases.ensure_live_release(session, SECOND, {"parser": "2"}).index_id == INDEX
    with database.transaction() as session:
        assert sorted((one.index_id, one.state) for one in releases.list_releases(session)) == [
            (INDEX, "live"),
            (SECOND, "candidate"),
        ]
        assert releases.written_indexes(session) == [INDEX]
        documents.delete(session, TENANT, accepted.document, "user:ann")
        assert releases.ensure_live_release(session, SECOND, {"parser": "2"}).index_id == SECOND


def test_documents_that_came_before_any_index_wait_for_the_first(database: Database) -> None:
    story = Story(database)
    with database.transaction() as session:
        add_tenant(session, TENANT)
    accepted = story.upload()
    with database.transaction() as session:
        releases.ensure_live_release(session, INDEX, {"parser": "1"})
    while claimed := story.claim(StageName.PARSE, StageName.CHUNK, StageName.EMBED):
        story.do(claimed[0])
    (index,) = story.claim()
    assert index.index_id == INDEX
    story.do(index)
    assert story.status(accepted.document).searchable_version == accepted.version
