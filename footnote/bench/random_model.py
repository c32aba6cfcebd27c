"""A sentence-transformers model with random weights, its tokenizer, and texts for it: nothing has to be downloaded.

It embeds as fast as a trained one of its shape, and means nothing.
"""

import random
import string
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from core.errors import Unavailable
from footnote.bench.shapes import Shape
from footnote.bench.texts import MOST_TOKENS
from retrieval.ports import Tokenizer

SEED = 7
SPECIAL_TOKENS = 2  # [CLS] and [SEP] around every text.
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SYLLABLES = ["".join(letters) for letters in product("bdfgklmnprstvz", "aeiou", ("", "n", "r", "s"))]
_WORDS = [one + other for one, other in product(_SYLLABLES, _SYLLABLES[::4])]  # Each a token of its own.
_RARE = 0.15  # Of the words of a text; they are cut into three or four pieces.


def save_random_model(folder: Path, shape: Shape) -> None:
    """Save a BERT of that shape, with pooling and a WordPiece tokenizer, as a folder of sentence-transformers.

    :raises Unavailable: sentence-transformers is not installed.
    """
    try:
        import torch  # noqa: PLC0415 - seconds; only where it is used
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - the same
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer  # noqa: PLC0415 - the same
        from transformers import BertConfig, BertModel, BertTokenizer  # noqa: PLC0415 - the same
    except ImportError as error:
        raise Unavailable("This benchmark needs the extra `local-models`: run `make setup`.") from error
    bert = folder / "bert"
    bert.mkdir(parents=True)
    letters = [*string.ascii_lowercase, *string.punctuation]
    vocabulary = [*_SPECIAL, *letters, *(f"##{piece}" for piece in [*string.ascii_lowercase, *_SYLLABLES]), *_WORDS]
    (bert / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.max_tokens,
    )
    BertModel(config).save_pretrained(bert)
    BertTokenizer(vocab=str(bert / "vocab.txt"), model_max_length=shape.max_tokens).save_pretrained(bert)
    modules = [
        Transformer(str(bert), max_seq_length=shape.max_tokens),
        Pooling(shape.hidden, pooling_mode=shape.pooling),
    ]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)


def random_texts(tokenizer: Tokenizer, tokens: int) -> list[str]:
    """Return texts as long as passages are, at least so many tokens together, special tokens not counted."""
    draw = random.Random(SEED)  # noqa: S311 - the same texts every time
    texts: list[str] = []
    while tokens > 0:
        length = _passage_length(draw)
        text = " ".join(_words(draw, length))
        offsets = tokenizer.offsets(text)[:length]
        texts.append(text[: offsets[-1][1]])
        tokens -= len(offsets)
    return texts


def _passage_length(draw: random.Random) -> int:
    """Most passages fill their budget; the last ones of sections and small documents do not."""
    return draw.randint(160, MOST_TOKENS) if draw.random() < 0.75 else draw.randint(16, 160)  # noqa: PLR2004 - as told


def _words(draw: random.Random, count: int) -> Iterator[str]:
    for _ in range(count):
        if draw.random() < _RARE:
            yield "".join(draw.choices(_SYLLABLES, k=4))
        else:
            yield draw.choice(_WORDS) + draw.choice(("", "", "", "", "", "", "", "", ",", "."))
