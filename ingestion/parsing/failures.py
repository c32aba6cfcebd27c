"""The errors of parsing."""

from core.domain import Reason


class ParseFailed(Exception):
    """The bytes gave no document. `detail` names what was found; `core.reasons` has the sentence for the uploader.

    `page` is the page at fault (from 1) where a single one is; `excerpt` says where a parser broke, without a word of
    the document (`ingestion.excerpts`).
    """

    def __init__(self, reason: Reason, detail: str, page: int | None = None, excerpt: str | None = None) -> None:
        super().__init__(reason, detail, page, excerpt)
        self.reason = reason
        self.detail = detail
        self.page = page
        self.excerpt = excerpt

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class ChildKilled(ParseFailed):
    """The parser's child was ended from outside, or got no processor: the document may be innocent, so try it again.

    `reason` is what it fails with when that happens to it again and again.
    """
