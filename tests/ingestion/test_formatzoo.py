"""487 real and deliberately awkward files through the sandbox: each ends parsed or with a typed reason.

`python -m tests.ingestion.test_formatzoo` prints the tables of `docs/formats.md`.
"""

import html
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import pytest

from core.domain import Reason
from ingestion.parsing.failures import ParseFailed
from ingestion.sandbox import ParserLimits, ParserSandbox

pytestmark = pytest.mark.slow

FILES = 487
FLOORS = {"docx": 0.9, "html": 0.9, "md": 0.9, "pptx": 0.9}
_PARTS = ("docling", "unstructured")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_ESCAPED = re.compile(r"\\([_*#`\[\]()|.!-])")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one file: its reason is None when it was parsed."""

    path: Path
    media_type: str | None
    reason: Reason | None
    detail: str
    peak_rss: int
    seconds: float
    recall: float | None

    @property
    def extension(self) -> str:
        return self.path.suffix.lower().lstrip(".")


def token_recall(text: str, reference: str) -> float | None:
    """Return the share of the reference's words (as a multiset, Markdown signs aside) that the text has."""
    plain = html.unescape(_ESCAPED.sub(r"\1", _LINK.sub(r"\1", _COMMENT.sub(" ", reference))))
    wanted, found = _words(plain), _words(text)
    total = wanted.total()
    return (wanted & found).total() / total if total else None


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def run_all(zoo: Path) -> list[Outcome]:
    """Parse every file of the zoo, two at a time."""
    references = zoo / "docling_groundtruth_md"
    paths = sorted(path for part in _PARTS for path in (zoo / part).rglob("*") if path.is_file())
    sandbox = ParserSandbox(ParserLimits(), processes=2)
    try:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda path: _parse(sandbox, path, references), paths))
    finally:
        sandbox.close()


def _parse(sandbox: ParserSandbox, path: Path, references: Path) -> Outcome:
    started = time.perf_counter()
    try:
        result = sandbox.parse(path, path.name)
    except ParseFailed as failure:
        seconds = time.perf_counter() - started
        return Outcome(
            path=path,
            media_type=None,
            reason=failure.reason,
            detail=failure.detail,
            peak_rss=0,
            seconds=seconds,
            recall=None,
        )
    names = (f"{path.name}.md", f"{path.stem}.md" if path.suffix == ".pdf" else "")
    reference = next((references / name for name in names if name and (references / name).is_file()), None)
    return Outcome(
        path=path,
        media_type=result.media_type,
        reason=None,
        detail="",
        peak_rss=result.peak_rss,
        seconds=time.perf_counter() - started,
        recall=token_recall(result.document.text, reference.read_text()) if reference else None,
    )


def recalls(outcomes: Sequence[Outcome]) -> dict[str, list[float]]:
    """Return the recall of every file that has a reference, by extension."""
    found: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.recall is not None:
            found[outcome.extension].append(outcome.recall)
    return dict(found)


@pytest.fixture(scope="module")
def outcomes(shared_data: Path) -> list[Outcome]:
    zoo = shared_data / "formatzoo"
    if not zoo.is_dir():
        pytest.skip("the shared data has no formatzoo")
    return run_all(zoo)


def test_every_file_ends_parsed_or_with_a_typed_reason(outcomes: list[Outcome]) -> None:
    assert len(outcomes) == FILES
    assert all((outcome.media_type is None) != (outcome.reason is None) for outcome in outcomes)
    ours = {Reason.PARSER_CRASHED, Reason.PARSER_OOM, Reason.PARSER_TIMEOUT, Reason.OUTPUT_TOO_LARGE, Reason.INTERNAL}
    assert [(str(outcome.path), outcome.detail) for outcome in outcomes if outcome.reason in ours] == []
    assert all(outcome.detail for outcome in outcomes if outcome.reason is not None)


def test_no_child_needs_a_gigabyte(outcomes: list[Outcome]) -> None:
    assert max(outcome.peak_rss for outcome in outcomes) < 1_000_000_000


@pytest.mark.parametrize(("extension", "floor"), FLOORS.items())
def test_the_text_is_recovered(outcomes: list[Outcome], extension: str, floor: float) -> None:
    assert median(recalls(outcomes)[extension]) >= floor


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("password.pdf", Reason.ENCRYPTED),
        ("password_protected.xlsx", Reason.ENCRYPTED),
        ("empty.txt", Reason.EMPTY),
        ("empty.xlsx", Reason.EMPTY),
        ("loremipsum-flat.pdf", Reason.NO_TEXT),
        ("fake-text-all-whitespace.txt", Reason.EMPTY),
        ("simple.zip", Reason.UNSUPPORTED),
        ("fake.doc", Reason.UNSUPPORTED),
    ],
)
def test_known_cases_have_the_right_reason(outcomes: list[Outcome], name: str, reason: Reason) -> None:
    assert {outcome.reason for outcome in outcomes if outcome.path.name == name} == {reason}


def _outcome_table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| extension | files | parsed | not parsed |"
    yield "|---|---|---|---|"
    for extension in sorted({outcome.extension for outcome in outcomes}):
        mine = [outcome for outcome in outcomes if outcome.extension == extension]
        reasons = Counter(outcome.reason.value for outcome in mine if outcome.reason)
        parsed = sum(outcome.reason is None for outcome in mine)
        shown = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        yield f"| {extension or '(none)'} | {len(mine)} | {parsed} | {shown} |"


def _recall_table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| extension | files with a reference | median | mean | lowest |"
    yield "|---|---|---|---|---|"
    for extension, values in sorted(recalls(outcomes).items()):
        yield f"| {extension} | {len(values)} | {median(values):.3f} | {mean(values):.3f} | {min(values):.3f} |"


if __name__ == "__main__":
    shared = Path(os.environ.get("FOOTNOTE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    began = time.perf_counter()
    found = run_all(shared / "data" / "formatzoo")
    elapsed = time.perf_counter() - began
    print(*_outcome_table(found), "", *_recall_table(found), sep="\n")  # noqa: T201 - a table for people
    peak = max(outcome.peak_rss for outcome in found) / 1e6
    print(f"\n{len(found)} files in {elapsed:.0f} s; highest peak memory of a child {peak:.0f} MB")  # noqa: T201
    for slowest in sorted(found, key=lambda one: -one.seconds)[:3]:
        print(f"{slowest.path.name}: {slowest.seconds:.1f} s, {slowest.peak_rss / 1e6:.0f} MB")  # noqa: T201
    for lowest in sorted((one for one in found if one.recall is not None), key=lambda one: one.recall or 0)[:6]:
        print(f"{lowest.path.name}: recall {lowest.recall:.2f}")  # noqa: T201
