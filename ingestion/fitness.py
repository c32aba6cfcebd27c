"""Whether this machine can work for an installation: asked once, before a worker begins.

A model that differs from the one that the live index is made with would embed documents that nobody finds.
"""

import time

from core.db.releases import index_manifest, live_release
from core.db.session import Database
from core.errors import Conflict, Unavailable
from core.settings import Settings
from retrieval.factory import build_embedder

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.5


def check(settings: Settings, *, patience: float = PATIENCE_SECONDS) -> None:
    """Return if the live release is made with our embedder; wait for a release where there is none yet.

    :raises Conflict: it is made with another one.
    :raises Unavailable: no API has made a release in time, or the database does not answer.
    """
    database = Database(str(settings.database_url))
    try:
        ours = build_embedder(settings).id  # It is not loaded for that: the worker is about to fork.
        made_with = _made_with(database, time.monotonic() + patience)
    finally:
        database.close()
    if made_with != ours:
        raise Conflict(
            f"The index is made with {made_with}, and this worker is set to {ours}. Nothing was done. Set "
            "FOOTNOTE_EMBEDDER to what the API has."
        )


def _made_with(database: Database, deadline: float) -> str:
    problem = "There is no release yet: start the API first (`footnote up`), which makes one."
    while True:
        try:
            with database.reading() as session:
                release = live_release(session)
                if release is not None:
                    return str(index_manifest(session, release.index_id)["embedder"])
        except Unavailable as error:
            problem = error.detail
        if time.monotonic() > deadline:
            raise Unavailable(problem)
        time.sleep(POLL_SECONDS)
