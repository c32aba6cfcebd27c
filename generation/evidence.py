"""Which of the hits a model gets to see: best first, each text once, within the window. Pure."""

import math
from collections.abc import Sequence

from core.domain import Chunk, Hit
from generation.ports import Evidence, Turn

_CHARS_PER_TOKEN = 3.5  # English prose has four or more: estimates err to the safe side.
_PASSAGE_OVERHEAD = 40  # tokens of a passage's number, name, page and delimiters
_SHARED = 0.5  # Passages that share more than this of the shorter one say the same.
_MOST_OF_HISTORY = 0.25


def estimated_tokens(text: str) -> int:
    """Return about how many tokens the text costs, rather too many than too few, without the model's tokenizer."""
    ascii_characters = sum(character.isascii() for character in text)
    return math.ceil(ascii_characters / _CHARS_PER_TOKEN + (len(text) - ascii_characters) * 1.5)


def pack(hits: Sequence[Hit], *, budget_tokens: int) -> tuple[Evidence, ...]:
    """Return the hits that fit the budget as numbered evidence, best first.

    A passage that mostly repeats a better one of the same document is left out; one that does not fit makes room for a
    shorter, worse one. Nothing is cut: a citation needs whole passages.
    """
    chosen: list[Hit] = []
    left = budget_tokens
    for hit in hits:
        cost = estimated_tokens(hit.chunk.embedded_text) + _PASSAGE_OVERHEAD
        if cost <= left and not any(_repeats(hit.chunk, other.chunk) for other in chosen):
            chosen.append(hit)
            left -= cost
    return tuple(
        Evidence(n=n, chunk=hit.chunk, name=hit.name, title=hit.title, score=hit.score)
        for n, hit in enumerate(chosen, start=1)
    )


def recent_turns(turns: Sequence[Turn], *, context_tokens: int) -> tuple[Turn, ...]:
    """Return the newest turns, oldest first, that fit a quarter of the window."""
    left = int(context_tokens * _MOST_OF_HISTORY)
    kept: list[Turn] = []
    for turn in reversed(turns):
        left -= estimated_tokens(turn.question) + estimated_tokens(turn.answer)
        if left < 0:
            break
        kept.append(turn)
    return tuple(reversed(kept))


def evidence_budget(*, context_tokens: int, max_output_tokens: int, fixed: Sequence[str], turns: Sequence[Turn]) -> int:
    """Return the tokens left for evidence beside the `fixed` texts (instructions, question), turns and output."""
    spoken = sum(estimated_tokens(turn.question) + estimated_tokens(turn.answer) for turn in turns)
    return context_tokens - max_output_tokens - sum(map(estimated_tokens, fixed)) - spoken


def _repeats(chunk: Chunk, other: Chunk) -> bool:
    if (chunk.document, chunk.version) != (other.document, other.version):
        return False
    shared = min(chunk.span.end, other.span.end) - max(chunk.span.start, other.span.start)
    return shared > _SHARED * min(chunk.span.end - chunk.span.start, other.span.end - other.span.start)
