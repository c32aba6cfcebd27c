"""Memory of every process while large files go in: `footnote up` at its defaults, in a throw-away directory.

Cases: `pdf`, a PDF of 2,000 pages until it is searchable; `csv`, a CSV of 10 MB until it is searchable; `large-csv`,
one of 100 MB until its passages are stored. The last line of stdout is one JSON object, {case: {peak_mb, pss_mb,
seconds, chunks, state}}: `peak_mb` is the most that one process of a kind had resident (VmHWM), `pss_mb` the most
that all of one kind together had, shared pages counted once.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.served import FOOTNOTE, Served, served

SAMPLE_SECONDS = 0.05
PSS_EVERY = 20  # samples; reading it costs the kernel a walk through all pages
_WORDS = (  # noqa: SIM905 - a list of words reads best as words
    "parcel delivered late because the driver could not find the entrance customer asked for refund of postage and "
    "was told to wait until Monday replacement sent by courier label damaged in transit invoice corrected"
).split()
_CITIES = ("Berlin", "Porto", "Aarhus", "Lyon", "Turin", "Ghent", "Malmo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A file to make, and whether to wait until it is searchable or only until its passages are stored."""

    name: str
    write: Callable[[Path], None]
    searchable: bool


def write_csv(path: Path, size: int) -> None:
    """Write a table of orders, about `size` bytes long; every run writes the same."""
    chance = random.Random(1)  # noqa: S311 - data for a benchmark
    with path.open("w", encoding="utf-8") as file:
        written = file.write("order,ordered_at,customer,email,city,product,quantity,price,state,note\n")
        number = 0
        while written < size:
            number += 1
            day = f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02} {chance.randint(0, 23):02}:15"
            who = chance.randint(1, 90_000)
            note = " ".join(chance.choices(_WORDS, k=chance.randint(3, 18)))
            price = f"{chance.randint(1, 99_999) / 100:.2f}"
            item, count = chance.randint(1, 5_000), chance.randint(1, 20)
            written += file.write(
                f"{number:08},{day},Customer {who},c{who}@example.org,{chance.choice(_CITIES)},Item {item},{count},"
                f'{price},sent,"{note}"\n'
            )


def write_pdf(path: Path, pages: int) -> None:
    """Write a PDF with forty lines of text on every page; every run writes the same."""
    chance = random.Random(2)  # noqa: S311 - data for a benchmark
    kids = b" ".join(b"%d 0 R" % (4 + 2 * page) for page in range(pages))
    with path.open("wb") as file:
        places: list[int] = []

        def add(body: bytes) -> None:
            places.append(file.tell())
            file.write(b"%d 0 obj%b endobj\n" % (len(places), body))

        file.write(b"%PDF-1.4\n")
        add(b"<</Type/Catalog/Pages 2 0 R>>")
        add(b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, pages))
        add(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
        for page in range(pages):
            lines = [f"{page + 1}.{line} " + " ".join(chance.choices(_WORDS, k=11)) + "." for line in range(40)]
            shown = "\n".join(f"({line}) Tj 0 -16 Td" for line in lines)
            content = f"BT /F1 10 Tf 60 740 Td\n{shown}\nET".encode()
            add(
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources<</Font<</F1 3 0 R>>>>>>"
                % (5 + 2 * page)
            )
            add(b"<</Length %d>>stream\n%b\nendstream" % (len(content), content))
        table = file.tell()
        file.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1))
        file.writelines(b"%010d 00000 n \n" % place for place in places)
        file.write(b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(places) + 1, table))


CASES = (
    Case(name="pdf", write=lambda path: write_pdf(path, 2_000), searchable=True),
    Case(name="csv", write=lambda path: write_csv(path, 10_000_000), searchable=True),
    Case(name="large-csv", write=lambda path: write_csv(path, 100_000_000), searchable=False),
)


@dataclass(slots=True)
class Peaks:
    """The most memory that was seen, in bytes, by kind of process."""

    single: Counter[str] = field(default_factory=Counter)
    together: Counter[str] = field(default_factory=Counter)


class Sampler:
    """Reads /proc for a process and all below it until it is stopped."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.peaks = Peaks()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(SAMPLE_SECONDS):
            self._sample(with_pss=number % PSS_EVERY == 0)
            number += 1

    def _sample(self, *, with_pss: bool) -> None:
        together: Counter[str] = Counter()
        for process, parents in below(self._root):
            try:
                kind = _kind(process, parents)
                self.peaks.single[kind] = max(self.peaks.single[kind], _field(process, "status", "VmHWM"))
                if with_pss:
                    together[kind] += _field(process, "smaps_rollup", "Pss")
            except (OSError, ValueError):
                continue  # It ended under our eyes.
        for kind, size in together.items():
            self.peaks.together[kind] = max(self.peaks.together[kind], size)


def below(root: int, parents: tuple[int, ...] = ()) -> list[tuple[int, tuple[int, ...]]]:
    """Return the process and all below it, each with those above it, the nearest first."""
    found = [(root, parents)]
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found += below(int(child), (root, *parents))
    return found


def _kind(process: int, parents: tuple[int, ...]) -> str:
    command = _command(process)
    if "ingestion.sandbox.server" in command:
        child = bool(parents) and "ingestion.sandbox.server" in _command(parents[0])
        what = "rendering" if "rendering" in command else "parser"
        return f"{what} child" if child else f"{what} fork server"
    return "worker" if "ingestion.worker" in command else "serving"


def _command(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _field(process: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{process}/{file}").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {process} tells no {name}")


def measure(case: Case, folder: Path, settings: Mapping[str, str], patience_seconds: float) -> dict[str, Any]:
    """Put the case's file into a server of its own; return the figures."""
    suffix = "pdf" if case.name == "pdf" else "csv"
    path = folder / f"{case.name}.{suffix}"
    case.write(path)
    with served(None, **settings) as server, Sampler(server.pid) as sampler:
        started = time.monotonic()
        subprocess.run(  # noqa: S603 - our own program
            [*FOOTNOTE, "ingest", str(path), "--no-wait", "--data", str(server.data)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        status = _wait(server, case, started + patience_seconds)
        seconds = time.monotonic() - started
    path.unlink()
    return {
        "peak_mb": {kind: round(size / 1e6) for kind, size in sorted(sampler.peaks.single.items())},
        "pss_mb": {kind: round(size / 1e6) for kind, size in sorted(sampler.peaks.together.items())},
        "seconds": round(seconds, 1),
        "chunks": status.get("chunks"),
        "state": status["state"],
        **({"reason": status["reason"]} if status.get("reason") else {}),
    }


def _wait(server: Served, case: Case, deadline: float) -> dict[str, Any]:
    status: dict[str, Any] = {"state": "queued"}
    while time.monotonic() < deadline:
        status = server.client.call("GET", "/v1/documents", params={"limit": 1})["documents"][0]
        done = status["state"] == "searchable" if case.searchable else status.get("chunks") is not None
        if done or status["state"] == "failed":
            break
        time.sleep(0.2)
    return status


def main() -> None:
    """Run the cases one after the other."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [case.name for case in CASES]
    parser.add_argument("--case", action="append", choices=names, help="only this one (repeatable)")
    parser.add_argument("--embedder", help="another than the default one, as hashing:256")
    parser.add_argument("--patience", type=float, default=1_800, help="seconds a case may take")
    arguments = parser.parse_args()
    settings = {"EMBEDDER": arguments.embedder} if arguments.embedder else {}
    results = {}
    with tempfile.TemporaryDirectory(prefix="footnote-memory-") as folder:
        for case in CASES:
            if not arguments.case or case.name in arguments.case:
                results[case.name] = measure(case, Path(folder), settings, arguments.patience)
                sys.stderr.write(f"{case.name} {json.dumps(results[case.name])}\n")
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
