"""A worker that writes down the messages it hears: `python -P -m tests.contracts.echo_worker QUEUE FILE`."""

import sys
from pathlib import Path

from core.jobs import TASK, celery_app
from core.settings import Settings


def main() -> None:
    queue, heard = sys.argv[1], Path(sys.argv[2])
    app = celery_app(Settings())

    @app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def work(queue: str, stage: str = "") -> None:
        with heard.open("a") as file:
            file.write(f"{queue} {stage}\n")

    app.Worker(
        queues=[queue], pool="solo", without_gossip=True, without_mingle=True, loglevel="WARNING", quiet=True
    ).start()


if __name__ == "__main__":
    main()
