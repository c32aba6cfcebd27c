"""The one-time link that signs the owner's browser in."""

from footnote.client import Client
from footnote.datadir import DataDirectory


def sign_in_link(directory: DataDirectory, url: str) -> str:
    """Return a link to the chat page that works once; whoever opens it is signed in as the owner."""
    client = Client(url, directory.owner_key())
    try:
        answer = client.call("POST", "/v1/session-links")
    finally:
        client.close()
    link = str(answer["url"])
    return link if link.startswith("http") else url + link
