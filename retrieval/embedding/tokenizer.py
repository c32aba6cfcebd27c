"""Hugging Face `tokenizers`, without truncation or padding: what the chunker counts is what the model would see."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tokenizers import Encoding, Tokenizer

from core.errors import ModelUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedText:
    """Token ids as the model takes them, special tokens included; `spans` and `body` leave the special tokens out.

    `body` holds the positions of the text's own tokens in `ids`; `spans` their code-point ranges in the text.
    """

    ids: list[int]
    body: list[int]
    spans: list[tuple[int, int]]


class HuggingFaceTokenizer:
    """A fast tokenizer of a model. Safe to use from many threads at once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Return the tokenizer in a `tokenizer.json`. Raises `ModelUnavailable` when it cannot be read."""
        try:
            return cls(Tokenizer.from_file(str(path)))
        except Exception as error:  # the binding raises bare Exception
            raise ModelUnavailable(f"The tokenizer {path} cannot be read: {error}.") from error

    @property
    def special_tokens(self) -> int:
        """How many special tokens the model adds to a text."""
        return self._tokenizer.num_special_tokens_to_add(is_pair=False)

    @property
    def pad_id(self) -> int:
        """The id that fills a batch's shorter rows."""
        for token in ("[PAD]", "<pad>"):
            found = self._tokenizer.token_to_id(token)
            if found is not None:
                return found
        return 0

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, special tokens excluded."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return the half-open code-point range of every token of the text, in order; never truncated."""
        return self._tokenizer.encode(text, add_special_tokens=False).offsets

    def encode(self, texts: Sequence[str], *, max_tokens: int, spans: bool) -> list[EncodedText]:
        """Return the model's input for each text, cut to `max_tokens`; `spans` are filled only when asked for."""
        encode = self._tokenizer.encode_batch if spans else self._tokenizer.encode_batch_fast
        room = max_tokens - self.special_tokens
        return [_cut(encoding, room, spans=spans) for encoding in encode(list(texts))]

    def ids(self, texts: Sequence[str], *, max_tokens: int) -> list[list[int]]:
        """Return the `ids` that `encode` gives, in a fraction of its time: few texts have to be cut."""
        room = max_tokens - self.special_tokens
        return [
            encoding.ids if len(encoding) <= max_tokens else _cut(encoding, room, spans=False).ids
            for encoding in self._tokenizer.encode_batch_fast(list(texts))
        ]


def _cut(encoding: Encoding, room: int, *, spans: bool) -> EncodedText:
    """Keep the special tokens and the first `room` of the others."""
    special = encoding.special_tokens_mask
    kept: list[int] = []
    body: list[int] = []
    ids: list[int] = []
    for position, (token, is_special) in enumerate(zip(encoding.ids, special, strict=True)):
        if not is_special:
            if len(body) >= room:
                continue
            body.append(len(ids))
            kept.append(position)
        ids.append(token)
    offsets = encoding.offsets if spans else []
    return EncodedText(ids=ids, body=body, spans=[offsets[position] for position in kept] if spans else [])
