"""Counts and latencies of requests, and the Prometheus text format. Small enough not to need a client library."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line of a metric: labels and value."""

    labels: Mapping[str, str]
    value: float


def render_metric(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    """Return one metric family in the Prometheus text format."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines.extend(_line(name, sample) for sample in samples)
    return "\n".join(lines) + "\n"


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escape(value)}"' for key, value in sample.labels.items())
    return f"{name}{{{labels}}} {sample.value:g}" if labels else f"{name} {sample.value:g}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@dataclass(slots=True)
class _Histogram:
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_SECONDS) + 1))
    total: float = 0.0


class RequestMetrics:
    """Counts requests by method, route template and status. Templates, never paths: ids would make it grow for ever."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[tuple[str, str], _Histogram] = {}

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Record one finished request."""
        with self._lock:
            self._counts[method, route, status] = self._counts.get((method, route, status), 0) + 1
            histogram = self._seconds.setdefault((method, route), _Histogram())
            histogram.buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
            histogram.total += seconds

    def render(self) -> str:
        """Return the counts and the latency histogram as Prometheus text."""
        with self._lock:
            counts = [
                Sample(labels={"method": method, "route": route, "status": str(status)}, value=count)
                for (method, route, status), count in sorted(self._counts.items())
            ]
            latencies = [
                line
                for (method, route), histogram in sorted(self._seconds.items())
                for line in _histogram_lines({"method": method, "route": route}, histogram)
            ]
        name = "footnote_request_seconds"
        head = f"# HELP {name} Time from the first byte in to the last byte out.\n# TYPE {name} histogram\n"
        return (
            render_metric("footnote_requests_total", "counter", "Requests answered.", counts)
            + head
            + "".join(f"{line}\n" for line in latencies)
        )


def _histogram_lines(labels: Mapping[str, str], histogram: _Histogram) -> list[str]:
    name = "footnote_request_seconds"
    lines = []
    running = 0
    for bound, count in zip((*(f"{bound:g}" for bound in BUCKETS_SECONDS), "+Inf"), histogram.buckets, strict=True):
        running += count
        lines.append(_line(f"{name}_bucket", Sample(labels={**labels, "le": bound}, value=running)))
    lines.append(_line(f"{name}_sum", Sample(labels=labels, value=histogram.total)))
    lines.append(_line(f"{name}_count", Sample(labels=labels, value=running)))
    return lines
