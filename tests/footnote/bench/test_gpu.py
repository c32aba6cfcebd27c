"""The whole benchmark over the tiny shape, on the CPU: what it says of a GPU needs one."""

import pytest

from footnote.bench.gpu import GpuReport, bench_gpu

REPORT = GpuReport(
    device="card",
    shape="tiny",
    precision="bfloat16",
    texts=10,
    tokens=1_000,
    flops=5_000_000_000,
    rate=4_000.0,
    peer_rate=1_000.0,
    ratio=4.0,
    tokenizer_rate=9_000.0,
    products={"square": 40e9, "own": 25e9},
)


def test_utilization_is_the_operations_of_the_texts_a_second_to_the_rate_of_products() -> None:
    assert REPORT.model_flops == 4_000 * 5_000_000
    assert REPORT.utilization == {"square": 0.5, "own": 0.8}
    told = REPORT.as_dict()
    assert told["utilization"] == {"square": 0.5, "own": 0.8}
    assert told["gflops"] == {"model": 20.0, "square": 40.0, "own": 25.0}
    assert told["mflop_per_token"] == 5.0


@pytest.mark.slow
def test_ours_and_the_peer_are_measured_on_the_same_texts_beside_the_products_of_the_device() -> None:
    lines: list[str] = []

    report = bench_gpu(device="cpu", shape="tiny", tokens=6_000, rounds=2, progress=lines.append)

    assert report.tokens >= 6_000 + 2 * report.texts
    assert (report.shape, report.precision) == ("tiny", "float32")
    assert min(report.rate, report.peer_rate, report.tokenizer_rate, report.ratio) > 0
    # Model and products are timed one after the other: on a busy machine the products may have less of it.
    # A wrong unit would be off by a thousand; the formula is tested above.
    assert all(0 < part < 20 for part in report.utilization.values())
    assert len([line for line in lines if line.startswith("round")]) == 4
