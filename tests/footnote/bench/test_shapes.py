import pytest

from footnote.bench.shapes import SHAPES, Shape, flops, flops_per_token

SMALL = Shape(layers=3, hidden=8, heads=2, intermediate=20, max_tokens=16, pooling="mean")


def test_operations_of_a_token_are_twice_the_layers_parameters_and_its_comparisons() -> None:
    attention, feed_forward, norms = 4 * (8 * 8 + 8), (8 * 20 + 20) + (20 * 8 + 8), 2 * (8 + 8)
    assert SMALL.layer_parameters == 3 * (attention + feed_forward + norms)
    assert flops_per_token(SMALL, 10) == 2 * SMALL.layer_parameters + 4 * 3 * 10 * 8
    assert flops_per_token(SMALL, 20) - flops_per_token(SMALL, 10) == 4 * 3 * 10 * 8


def test_operations_of_texts_are_those_of_their_tokens_each_at_its_own_length() -> None:
    assert flops(SMALL, [3, 5]) == 3 * flops_per_token(SMALL, 3) + 5 * flops_per_token(SMALL, 5)
    assert flops(SMALL, []) == 0


def test_the_matrix_products_of_a_layer_are_nearly_all_of_its_parameters() -> None:
    for shape in SHAPES.values():
        multiplied = shape.layers * sum(inputs * outputs * count for inputs, outputs, count in shape.products)
        assert 0.95 * shape.layer_parameters < multiplied < shape.layer_parameters


@pytest.mark.parametrize(("name", "millions"), [("bge-large", 302), ("bge-base", 85), ("minilm", 10.6)])
def test_shapes_have_the_parameters_of_the_models_that_they_are_named_for(name: str, millions: float) -> None:
    assert SHAPES[name].layer_parameters / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "minilm"])
def test_the_parameters_are_those_of_the_real_layers(name: str) -> None:
    from transformers import BertConfig, BertModel

    shape = SHAPES[name]
    config = BertConfig(
        vocab_size=8,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
    )
    assert sum(one.numel() for one in BertModel(config).encoder.parameters()) == shape.layer_parameters
