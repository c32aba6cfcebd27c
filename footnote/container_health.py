"""What a container's health check asks: `python -P -m footnote.container_health [api|worker]`."""

import sys

import httpx

from core.db.session import Database
from core.errors import FootnoteError
from core.jobs import QUEUES, celery_app, waiting_messages
from core.settings import Settings

ANSWER_SECONDS = 3.0


def api(settings: Settings, url: str = "http://127.0.0.1:8080") -> str | None:
    """Return why the API in this container is not ready, None where it is.

    It is asked by a name that it serves: `FOOTNOTE_ALLOWED_HOSTS` need not hold the one of this machine.
    """
    named = [host for host in (name.strip() for name in settings.allowed_hosts.split(",")) if host]
    host = {"Host": named[0]} if named and "*" not in named else {}
    try:
        answer = httpx.get(f"{url}/readyz", headers=host, timeout=ANSWER_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        return f"The API does not answer ({type(error).__name__})."
    return None if answer.is_success else f"The API answers {answer.status_code}."


def worker(settings: Settings) -> str | None:
    """Return why a worker in this container could not work, None where it could.

    Whether it hears its broker is not asked here: a worker that does not ends by itself.
    """
    if settings.database_url is None:
        return "FOOTNOTE_DATABASE_URL is not set."
    try:
        waiting_messages(celery_app(settings), QUEUES[0])
        database = Database(settings.database_url)
        try:
            with database.reading() as session:
                session.connection()
        finally:
            database.close()
    except FootnoteError as error:
        return error.detail
    return None


def main() -> None:
    """Exit with 0 where all is well, else with 1 and a sentence."""
    trouble = worker(Settings()) if sys.argv[1:] == ["worker"] else api(Settings())
    if trouble is not None:
        sys.exit(f"footnote: {trouble}")


if __name__ == "__main__":
    main()
