"""Shapes of BERT encoders, and how many floating-point operations a text costs in one. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """An encoder. `max_tokens`: its longest input; `pooling`: what makes a sentence's vector of its tokens'."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    max_tokens: int
    pooling: str

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers, with biases and norms: embeddings are looked up, which multiplies nothing."""
        attention = 4 * (self.hidden + 1) * self.hidden
        feed_forward = (self.hidden + 1) * self.intermediate + (self.intermediate + 1) * self.hidden
        norms = 4 * self.hidden
        return self.layers * (attention + feed_forward + norms)

    @property
    def products(self) -> tuple[tuple[int, int, int], ...]:
        """The matrix products of a layer over its tokens: (inputs, outputs, how many of them)."""
        hidden, wide = self.hidden, self.intermediate
        return ((hidden, hidden, 4), (hidden, wide, 1), (wide, hidden, 1))


SHAPES = {
    "bge-large": Shape(layers=24, hidden=1_024, heads=16, intermediate=4_096, max_tokens=512, pooling="cls"),
    "bge-base": Shape(layers=12, hidden=768, heads=12, intermediate=3_072, max_tokens=512, pooling="cls"),
    "minilm": Shape(layers=6, hidden=384, heads=12, intermediate=1_536, max_tokens=256, pooling="mean"),
    "tiny": Shape(layers=2, hidden=64, heads=2, intermediate=128, max_tokens=256, pooling="mean"),
}


def flops_per_token(shape: Shape, length: int) -> int:
    """Return the floating-point operations of one token of a text of that many tokens: 2 P + 4 L s d.

    P are the layers' parameters, each multiplied and added once; L the layers, s the text's tokens and d the hidden
    size: every token is compared with s others and then their sum, 2 s d operations each. It is the forward third of
    Appendix B of Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways" (2022), 6 N + 12 L H Q T for both
    directions, where H Q = d. Softmax, norms, activations and padding count as no work.
    """
    return 2 * shape.layer_parameters + 4 * shape.layers * length * shape.hidden


def flops(shape: Shape, lengths: Iterable[int]) -> int:
    """Return the floating-point operations of texts of these lengths in tokens, special tokens included."""
    return sum(length * flops_per_token(shape, length) for length in lengths)
