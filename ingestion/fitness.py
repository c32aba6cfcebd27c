"""Whether this machine can work for an installation: asked once, in a process of its own, before a worker begins.

A model that differs from the one that the live index is made with would embed documents that nobody finds.
"""

import sys
import time
from pathlib import Path

from core.db.releases import index_manifest, live_release
from core.db.session import Database
from core.errors import Conflict, FootnoteError, Unavailable
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
        ours = build_embedder(settings).id
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


def main() -> None:
    """Exit with 0, or with 1 and a sentence."""
    try:
        check(Settings(data=Path(sys.argv[1])))
    except FootnoteError as error:
        sys.exit(f"footnote: {error.detail}")


if __name__ == "__main__":
    main()
