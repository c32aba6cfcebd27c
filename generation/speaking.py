"""From a stored question to the end of its answer: search, pack, stream, bind. Writes to a log, keeps no state."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast
from uuid import UUID

from core.domain import Citation, Principal
from core.ids import AnswerId, ConversationId, TenantId
from generation import events
from generation.answer_log import Ending
from generation.citations import Bound, BoundCitation, BoundText, CitationBinder, Unsupported, is_refusal
from generation.evidence import evidence_budget, pack, recent_turns
from generation.followup import standalone_question
from generation.history import PastTurn, spoken
from generation.links import LinkGuard
from generation.ports import (
    Abstain,
    ChatModel,
    Delta,
    Evidence,
    EvidenceSearch,
    ModelEvent,
    PageLocator,
    Place,
    Prompt,
    Usage,
)
from generation.prompts import DONT_KNOW, fixed_texts, render

EVIDENCE_LIMIT = 12
MAX_OUTPUT_TOKENS = 1_024


class AnswerLog(Protocol):
    """Where events go."""

    def add(self, kind: str, data: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with what was said before it. `begins` a conversation: there is none of that id before it."""

    principal: Principal
    text: str
    answer: AnswerId
    conversation: ConversationId
    begins: bool
    release: UUID | None
    past: tuple[PastTurn, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Saying:
    """What was said so far."""

    tenant: TenantId
    log: AnswerLog
    started: float
    text: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    abstained: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)

    def say(self, text: str) -> None:
        if text:
            self.timings_ms.setdefault("first_delta", self.elapsed())
            self.text.append(text)
            self.log.add("delta", {"text": text})

    def elapsed(self) -> float:
        return round((time.perf_counter() - self.started) * 1000, 3)


class Speaker:
    """Finds evidence and lets a model speak from it."""

    def __init__(self, *, search: EvidenceSearch, locator: PageLocator) -> None:
        self._search = search
        self._locator = locator

    async def speak(self, question: Question, *, model: ChatModel, log: AnswerLog, started: float) -> Ending:
        """Answer into the log and return how it ended; `started` is the `perf_counter` when the question came.

        Without evidence no model is called: the answer is that the documents do not say.

        :raises FootnoteError: retrieval or the model failed; what was said so far is in the log.
        """
        saying = _Saying(tenant=question.principal.tenant, log=log, started=started)
        turns = recent_turns(spoken(question.past), context_tokens=model.context_tokens)
        standalone = standalone_question(question.text, [turn.question for turn in question.past])
        found = await asyncio.to_thread(
            self._search.search, standalone, principal=question.principal, limit=EVIDENCE_LIMIT
        )
        most = min(MAX_OUTPUT_TOKENS, model.context_tokens // 4)
        budget = evidence_budget(
            context_tokens=model.context_tokens,
            max_output_tokens=most,
            fixed=fixed_texts(question.text),
            turns=turns,
        )
        evidence = pack(found.hits, budget_tokens=budget)
        saying.timings_ms["retrieval"] = saying.elapsed()
        log.add(
            "retrieval",
            events.retrieval_data(
                evidence,
                answer=question.answer,
                conversation=question.conversation,
                timings_ms=found.timings_ms,
            ),
        )
        if evidence:
            prompt = render(
                question.text,
                standalone=standalone,
                evidence=evidence,
                turns=turns,
                nonce=secrets.token_hex(8),
                max_output_tokens=most,
            )
            await self._stream(prompt, model, saying)
        else:
            saying.abstained = True
            saying.say(DONT_KNOW)
        return self._ending(question, model, saying)

    async def _stream(self, prompt: Prompt, model: ChatModel, saying: _Saying) -> None:
        guard = LinkGuard(item.chunk.text for item in prompt.evidence)
        binder = CitationBinder(prompt.evidence)
        # Protocols cannot say that an async iterator has `aclose`; every adapter's is a generator.
        stream = cast("AsyncGenerator[ModelEvent, None]", model.stream(prompt))
        async with aclosing(stream) as parts:
            async for part in parts:
                match part:
                    case Delta():
                        await self._tell(binder.feed(guard.feed(part.text)), saying)
                    case Abstain():
                        saying.abstained = True
                        saying.say(_harmless(part.text, prompt.evidence))
                    case Usage():
                        saying.usage = part
                        saying.log.add("usage", events.usage_data(part))
        await self._tell(binder.feed(guard.finish()), saying)
        await self._tell(binder.finish(), saying)
        text = "".join(saying.text)
        saying.abstained = saying.abstained or not text or (not binder.citations and is_refusal(text))

    async def _tell(self, bound: list[Bound], saying: _Saying) -> None:
        for item in bound:
            match item:
                case BoundText():
                    saying.say(item.text)
                case BoundCitation():
                    citation = await self._located(item.citation, saying.tenant)
                    saying.citations.append(citation)
                    saying.log.add("citation", events.citation_data(citation))
                case Unsupported():
                    saying.log.add("warning", events.warning_data(item))

    async def _located(self, citation: Citation, tenant: TenantId) -> Citation:
        place: Place | None = await asyncio.to_thread(self._locator.locate, tenant, citation.version, citation.span)
        return citation if place is None else replace(citation, page=place.page, boxes=place.boxes)

    def _ending(self, question: Question, model: ChatModel, saying: _Saying) -> Ending:
        saying.timings_ms["total"] = saying.elapsed()
        text = "".join(saying.text)
        return Ending(
            event=(
                "done",
                events.done_data(
                    answer=question.answer,
                    conversation=question.conversation,
                    text=text,
                    citations=saying.citations,
                    abstained=saying.abstained,
                    model=model.id,
                    release=question.release,
                    usage=saying.usage,
                    timings_ms=saying.timings_ms,
                ),
            ),
            state="done",
            text=text,
            abstained=saying.abstained,
            cited=[citation.document for citation in saying.citations],
            usage=saying.usage,
        )


def _harmless(text: str, evidence: tuple[Evidence, ...]) -> str:
    guard = LinkGuard(item.chunk.text for item in evidence)
    return guard.feed(text) + guard.finish()
