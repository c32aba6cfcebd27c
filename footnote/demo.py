"""`make demo`: the samples go in, three questions are answered, a fourth for the board alone; the page stays up."""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import click

from core.errors import FootnoteError, Unavailable
from footnote.cli.ask import show_answer
from footnote.client import Client
from footnote.datadir import DataDirectory
from footnote.signing_in import sign_in_link
from footnote.uploading import Access, follow, upload
from footnote.walking import walk

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
SOURCE = "samples"
OWNER = "owner"
RESTRICTED_QUESTION = "How much did the board offer for Lindqvarn Telemetry?"
BOARD_MEMBER = "user:carol"
START_SECONDS = 60.0
STOP_SECONDS = 15.0


def main() -> None:
    """Run or stop the demonstration; exit 1 with a sentence when it fails."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=Path(".footnote"))
    arguments.add_argument("--port", type=int, default=8080)
    arguments.add_argument("--stop", action="store_true")
    options = arguments.parse_args()
    directory = DataDirectory(options.data.absolute())
    try:
        if options.stop:
            stop(directory)
        else:
            run(directory, options.port)
    except FootnoteError as error:
        click.echo(f"footnote: {error.detail}", err=True)
        sys.exit(1)


def run(directory: DataDirectory, port: int) -> None:
    """Start or reuse the server, take the samples in, ask the questions, and say where the page is."""
    url = _server(directory, port)
    with closing(Client(url, directory.owner_key())) as client:
        client.wait_until_ready()
        _take_in(client)
        for question in (SAMPLES / "demo_questions.txt").read_text(encoding="utf-8").splitlines():
            if question.strip():
                _ask(client, question.strip())
        _ask(client, RESTRICTED_QUESTION, note=" (you may not read the board's papers)")
    with closing(Client(url, directory.owner_key(), read_as=BOARD_MEMBER)) as board_member:
        _ask(board_member, RESTRICTED_QUESTION, note=f" (asked as {BOARD_MEMBER})")
    click.echo(f"\nThe chat page is up. Open it, signed in (the link works once):\n  {sign_in_link(directory, url)}")
    click.echo("Stop it with `make stop`.")


def stop(directory: DataDirectory) -> None:
    """Stop the server that holds the directory, if there is one, and wait until it is gone."""
    server = directory.server()
    if server is None:
        click.echo("Nothing is running.")
        return
    os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while directory.is_held():
        if time.monotonic() > deadline:
            raise Unavailable(f"The server (process {server.pid}) has not stopped within {STOP_SECONDS:.0f} s.")
        time.sleep(0.05)
    click.echo("Stopped.")


def _server(directory: DataDirectory, port: int) -> str:
    running = directory.server()
    if running is not None:
        click.echo(f"Using the server on {running.url}.")
        return running.url
    directory.create()
    log_path = directory.path / "server.log"
    with log_path.open("ab") as log:
        child = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [sys.executable, "-P", "-m", "footnote", "up", "--data", str(directory.path), "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # It stays up when this process and its terminal are gone.
        )
    deadline = time.monotonic() + START_SECONDS
    while (server := directory.server()) is None:
        if child.poll() is not None or time.monotonic() > deadline:
            last = log_path.read_text(errors="replace").strip().splitlines()[-1:]
            raise Unavailable(f"The server did not start: {' '.join(last)} (log: {log_path})")
        time.sleep(0.05)
    return server.url


def _take_in(client: Client) -> None:
    started = time.monotonic()
    files = list(walk(SAMPLES / "documents", SOURCE))
    if _is_new(client):  # An import replaces the directory: never somebody's own.
        content = (SAMPLES / "directory.json").read_bytes()
        client.call("PUT", "/v1/admin/directory", content=content, headers={"Content-Type": "application/json"})
    statuses = follow(client, upload(client, files, Access(), advanced=lambda _: None), advanced=lambda _: None)
    for status in statuses:
        click.echo(
            f"  {status['state']:<10} {status['name']}" + (f"  ({status['reason']})" if status["reason"] else "")
        )
    click.echo(f"{len(statuses)} documents in {time.monotonic() - started:.1f} s.")


def _is_new(client: Client) -> bool:
    """Whether nobody has put users, groups or documents of their own in."""
    users = {user["name"] for user in client.call("GET", "/v1/admin/users")["users"]}
    groups = client.call("GET", "/v1/admin/groups")["groups"]
    documents = client.call("GET", "/v1/documents", params={"limit": 200})["documents"]
    return users <= {OWNER} and not groups and all(document["source"] == SOURCE for document in documents)


def _ask(client: Client, question: str, *, note: str = "") -> None:
    click.echo(f"\n{click.style('?', bold=True)} {question}{note}")
    ended = show_answer(client, {"question": question})
    if ended is not None and ended.type == "error":
        raise Unavailable(str(ended.data.get("detail")))


if __name__ == "__main__":
    main()
