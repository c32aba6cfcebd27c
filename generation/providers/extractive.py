"""The default model: quotes the sentences of the evidence that answer, or says that none does. Works offline."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from generation.extraction import READ_PASSAGES, Extraction, extract
from generation.ports import Abstain, Delta, Evidence, ModelEvent, Prompt
from generation.prompts import DONT_KNOW
from generation.wording import normalised, sentence_pieces
from retrieval.ports import Passage, TokenVectors

CONTEXT_TOKENS = 16_000  # Nothing limits it; the evidence that a prompt carries is bounded by the number of hits.
_FALSE_MARKER = re.compile(r"\[(?=\^?[0-9 \t,;–-]*\])([^\]]*)\]")  # noqa: RUF001 - a dash

_BULLET = re.compile(r"[-–•●▪◦‣*]\s|\(?\d{1,2}[.)]\s")  # noqa: RUF001 - a dash


class PassageVectors(Protocol):
    """Token vectors of questions and of passages; those that the reranker has just read are kept."""

    def query(self, text: str) -> TokenVectors: ...

    def passages(self, passages: Sequence[Passage]) -> list[TokenVectors]:
        """Return the vectors of each passage's header and text, as embedded."""
        ...


class ExtractiveModel:
    """Answers with sentences of the evidence, word for word but for line breaks, each followed by its `[n]`."""

    def __init__(self, *, vectors: PassageVectors) -> None:
        self._vectors = vectors

    @property
    def id(self) -> str:
        return "extractive"

    @property
    def context_tokens(self) -> int:
        return CONTEXT_TOKENS

    async def stream(self, prompt: Prompt) -> AsyncIterator[ModelEvent]:
        """Yield a delta per sentence, or that the evidence does not answer.

        :raises ModelUnavailable: the embedder failed.
        """
        found = await asyncio.to_thread(self._extract, prompt)
        if not found.chosen:
            yield Abstain(text=DONT_KNOW)
            return
        texts = {item.n: item.chunk.text for item in prompt.evidence}
        for number, chosen in enumerate(found.chosen):
            sentence = quoted(texts[chosen.n][chosen.span.start : chosen.span.end], chosen.n)
            gap = "\n" if _BULLET.match(sentence) else " "
            yield Delta(text=gap + sentence if number else sentence)

    def _extract(self, prompt: Prompt) -> Extraction:
        read: Sequence[Evidence] = prompt.evidence[:READ_PASSAGES]
        if not read:
            return Extraction(chosen=(), similarity=0.0, known_words=0.0, missing_names=frozenset())
        chunks = [item.chunk for item in read]
        passages = [Passage(chunk=chunk.id, text=chunk.text, header=chunk.header) for chunk in chunks]
        query = self._vectors.query(prompt.question)
        return extract(prompt.question, query, prompt.evidence, self._vectors.passages(passages))


def quoted(text: str, n: int) -> str:
    """Return the text on one line, `[n]` after each of its sentences; brackets that look like markers become round."""
    plain = _FALSE_MARKER.sub(r"(\1)", normalised(text))
    return " ".join(f"{piece} [{n}]" for piece in sentence_pieces(plain))
