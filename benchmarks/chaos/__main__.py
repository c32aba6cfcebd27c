"""`make chaos SEED=n`: the last line printed is one JSON object; exit 1 if anything was lost, doubled or late."""

import argparse
import sys

import orjson

from benchmarks.chaos.run import chaos
from core.observability import configure_logging


def main() -> None:
    """Run once, and print what became of everything."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--files", type=int, default=400)
    arguments.add_argument("--seconds", type=float, default=100.0, help="how long faults go on")
    arguments.add_argument("--keep", action="store_true", help="keep the installation's folder, and say where it is")
    options = arguments.parse_args()
    configure_logging("error")
    outcome = chaos(seed=options.seed, count=options.files, seconds=options.seconds, keep=options.keep)
    print(orjson.dumps(outcome.as_dict()).decode())  # noqa: T201 - what it is for
    sys.exit(not (outcome.passed and outcome.in_time))


if __name__ == "__main__":
    main()
