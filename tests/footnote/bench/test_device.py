import pytest

from core.errors import Unavailable
from footnote.bench.device import device_name, product_rates
from footnote.bench.shapes import SHAPES

pytestmark = pytest.mark.slow


def test_a_cpu_is_named_with_its_threads() -> None:
    import torch

    assert device_name("cpu") == f"cpu, {torch.get_num_threads()} threads"


def test_a_gpu_that_is_not_there_is_told_with_what_is_missing_and_what_can_be_done() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("here is one")
    with pytest.raises(Unavailable, match=r"no CUDA device .* torch .* `--device cpu`"):
        device_name("cuda")


def test_the_rates_of_products_are_those_of_the_machine() -> None:
    rates = product_rates("cpu", "float32", SHAPES["tiny"])

    assert set(rates) == {"square", "own"}
    assert all(1e8 < rate < 1e14 for rate in rates.values())
