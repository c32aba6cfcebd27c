"""What answering asks of a chat model, of retrieval and of the stored texts."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from core.domain import Box, Chunk, Principal, Span
from core.ids import TenantId, VersionId
from retrieval.search import SearchResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A passage shown to the model under the number `n` (from 1), best first."""

    n: int
    chunk: Chunk
    name: str
    title: str | None
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A past question and its answer, already re-checked against what the asker may read now."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """All a model gets. `system` and `user` are rendered text; `evidence` is the same evidence as data.

    `version` names the template, so that an answer can tell how it was asked for.
    """

    version: str
    question: str
    system: str
    user: str
    evidence: tuple[Evidence, ...]
    turns: Sequence[Turn] = ()
    max_output_tokens: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of the answer's text, in which `[n]` marks evidence `n`."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstain:
    """The model says that the evidence does not answer the question."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens in and out, as the provider counts them; 0 where nothing is billed."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


ModelEvent: TypeAlias = Delta | Abstain | Usage


class ChatModel(Protocol):
    """Streams an answer. Closing the iterator ends the request at the provider."""

    @property
    def id(self) -> str: ...

    @property
    def context_tokens(self) -> int:
        """The size of the model's window in tokens: evidence is packed to fit it."""
        ...

    def stream(self, prompt: Prompt) -> AsyncIterator[ModelEvent]:
        """Yield the answer; raises `ModelUnavailable` (retryable or not) when the provider fails."""
        ...


class EvidenceSearch(Protocol):
    """Finds the passages that a principal may read. Synchronous: it is called in a thread."""

    def search(self, query: str, *, principal: Principal, limit: int) -> SearchResult: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where words stand: the page of the first one (None where there are no pages) and the boxes of their lines."""

    page: int | None
    boxes: tuple[Box, ...] = ()


class PageLocator(Protocol):
    """Finds words on their pages. Synchronous: it is called in a thread."""

    def locate(self, tenant: TenantId, version: VersionId, span: Span) -> Place | None:
        """Return where the span of the version's text stands; None if the parsed text is not to be had."""
        ...
