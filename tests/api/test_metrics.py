"""The Prometheus text format."""

from hypothesis import given
from hypothesis import strategies as st

from api.metrics import BUCKETS_SECONDS, RequestMetrics, Sample, render_metric


def test_labels_are_escaped() -> None:
    text = render_metric("m", "gauge", "Help.", [Sample(labels={"a": 'x"y\\z\n'}, value=1)])
    assert text.splitlines()[-1] == 'm{a="x\\"y\\\\z\\n"} 1'


@given(st.lists(st.floats(0, 100)))
def test_buckets_are_cumulative_and_end_with_the_count(seconds: list[float]) -> None:
    metrics = RequestMetrics()
    for value in seconds:
        metrics.observe(method="GET", route="/", status=200, seconds=value)
    lines = metrics.render().splitlines()
    buckets = [float(line.rsplit(" ", 1)[1]) for line in lines if "_bucket" in line]
    assert buckets == sorted(buckets)
    if seconds:
        expected = [sum(value <= bound for value in seconds) for bound in BUCKETS_SECONDS]
        assert buckets == [*expected, len(seconds)]
