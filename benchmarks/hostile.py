"""What neighbours pay for a hostile file: the time one parse takes beside misbehaving ones, against alone.

`python -m benchmarks.hostile [--seconds 20] [--neighbours 1]`: the last line of stdout is one JSON object
{"alone_p95_ms", "beside_p95_ms", "ratio", "parses_alone", "parses_beside", "hostile", "growth_bytes",
"passed"}; `passed`: the
ratio is under 2. Times are those of an idle machine or of nothing.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from ingestion.parsing.failures import ParseFailed
from ingestion.sandbox import ParserLimits, ParserSandbox
from tests.ingestion.hostile_files import FILES
from tests.ingestion.sandbox.possessed import MARK

ROOT = Path(__file__).resolve().parents[1]
LIMITS = ParserLimits(
    wall_seconds=5.0, cpu_seconds=3, memory_bytes=400_000_000, output_bytes=20_000_000, file_bytes=1_000_000
)
DEEDS = ("fork bomb", "loop", "hog", "segfault", "gigabyte", "sleep")
MOST_RATIO = 2.0
PAGE = (
    "<html><body>"
    + "".join(f"<h2>Heron {n}</h2><p>It stood in reed bed {n}.</p>" for n in range(150))
    + "</body></html>"
)


def measure(*, seconds: float, neighbours: int) -> dict[str, object]:
    """Parse an ordinary page over and over, alone for so long and then beside one hostile file after the other."""
    with tempfile.TemporaryDirectory(prefix="footnote-hostile-") as name:
        folder = Path(name)
        page = folder / "page.html"
        page.write_text(PAGE)
        hostile = _written(folder)
        os.environ["PYTHONPATH"] = str(ROOT)  # The fork server imports a module of the tests.
        sandbox = ParserSandbox(LIMITS, processes=neighbours + 1, module="tests.ingestion.sandbox.possessed")
        try:
            _parsed(sandbox, page, until=time.monotonic() + 1.0)  # Nothing is measured cold.
            before = _resident(sandbox)
            alone = _together(sandbox, page, neighbours, seconds)
            over, seen = threading.Event(), Counter[str]()
            attacker = threading.Thread(target=_attack, args=(sandbox, hostile, over, seen))
            attacker.start()
            beside = _together(sandbox, page, neighbours, seconds)
            over.set()
            attacker.join()
            growth = _resident(sandbox) - before
        finally:
            sandbox.close()
    alone_p95, beside_p95 = _p95(alone), _p95(beside)
    return {
        "alone_p95_ms": round(alone_p95 * 1_000, 1),
        "beside_p95_ms": round(beside_p95 * 1_000, 1),
        "ratio": round(beside_p95 / alone_p95, 2),
        "parses_alone": len(alone),
        "parses_beside": len(beside),
        "hostile": dict(seen),
        "growth_bytes": growth,
        "passed": beside_p95 < MOST_RATIO * alone_p95,
    }


def _written(folder: Path) -> list[tuple[str, Path]]:
    written = [(deed, "possessed.txt", MARK + deed.encode()) for deed in DEEDS]
    written += [(kind, file.name, file.make()) for kind, file in FILES.items()]
    found = []
    for number, (_, name, content) in enumerate(written):
        path = folder / str(number)
        path.write_bytes(content)
        found.append((name, path))
    return found


def _attack(
    sandbox: ParserSandbox, hostile: Sequence[tuple[str, Path]], over: threading.Event, seen: Counter[str]
) -> None:
    while True:
        for name, path in hostile:
            if over.is_set():
                return
            try:
                sandbox.parse(path, name)
                seen["read"] += 1
            except ParseFailed as failure:
                seen[failure.reason.value] += 1


def _together(sandbox: ParserSandbox, page: Path, neighbours: int, seconds: float) -> list[float]:
    """Return the seconds of every parse of so many neighbours at once, for so long."""
    until = time.monotonic() + seconds
    taken: list[float] = []
    threads = [
        threading.Thread(target=lambda: taken.extend(_parsed(sandbox, page, until=until))) for _ in range(neighbours)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def _parsed(sandbox: ParserSandbox, page: Path, *, until: float) -> list[float]:
    taken = []
    while time.monotonic() < until:
        started = time.monotonic()
        sandbox.parse(page, "page.html")
        taken.append(time.monotonic() - started)
    return taken


def _p95(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


def _resident(sandbox: ParserSandbox) -> int:
    """Return the resident bytes of this process and of the fork server."""
    assert sandbox.active_layers()  # noqa: S101 - it is there
    own = psutil.Process()
    return int(own.memory_info().rss + sum(child.memory_info().rss for child in own.children()))


def main() -> None:
    """Measure, and print one JSON object; end with 1 where neighbours pay too much."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    arguments.add_argument("--seconds", type=float, default=20.0, help="how long to parse alone, and again beside")
    arguments.add_argument("--neighbours", type=int, default=1, help="ordinary documents parsed at once")
    options = arguments.parse_args()
    result = measure(seconds=options.seconds, neighbours=options.neighbours)
    print(json.dumps(result))  # noqa: T201 - what it is for
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
