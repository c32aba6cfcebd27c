"""`footnote status --queues`, and the line at the end of `footnote status`."""

import re
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click import unstyle

from core.db import signs
from footnote.cli.queues import read, reconciled, span, summary, table
from footnote.client import Client
from tests.footnote.served import CommandLine, served
from tests.ingestion.works import story


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (3_599, "60 min"), (12_600, "3.5 h"), (181_440, "2.1 d")],
)
def test_times_are_told_as_people_say_them(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_reconciler_that_does_not_come_round_is_told_with_what_to_do() -> None:
    assert reconciled({"age_seconds": 3.4, "late": False}) == "beat   came round 3 s ago"
    assert reconciled({"age_seconds": None, "late": False}) == "beat   has never come round"
    late = unstyle(reconciled({"age_seconds": 600.0, "late": True}))
    assert late == "beat   came round 10 min ago: is a worker with --queues maintenance --beat running, and its broker?"


def test_where_other_processes_work_a_dead_beat_is_told_at_the_end(
    footnote: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = replace(footnote.branch.services, distributed=True, started=time.monotonic() - 61)
    monkeypatch.setattr(footnote.branch, "services", services)
    with served(footnote.branch) as url:
        with closing(Client(url, footnote.branch.secrets["owner"])) as client:
            assert "beat   has never come round: is a worker" in unstyle(table(read(client)))
            assert "nobody looks after them" in unstyle(summary(client) or "")
        with footnote.branch.database.transaction() as session:
            signs.note(session, signs.RECONCILED)
        with closing(Client(url, footnote.branch.secrets["owner"])) as client:
            assert re.search(r"beat   came round \d+ s ago", unstyle(table(read(client))))
            assert summary(client) is None


def test_the_queues_are_shown_with_verdict_depth_rate_and_failures(footnote: CommandLine, tmp_path: Path) -> None:
    footnote.take_in(story("tea"), "tea.txt")
    bad = tmp_path / "bad.txt"
    bad.write_text("!corrupt torn")
    footnote("ingest", str(bad))
    footnote.branch.closed = True  # From here on nobody works.
    bad.write_text(story("coffee"))
    footnote("ingest", str(bad), "--source", "S", "--no-wait")

    done = footnote("status", "--queues")
    assert done.code == 0
    text = done.out
    assert "failed: 1 corrupt (parse)" in text
    assert re.search(r"1 ready; the oldest \d+ s old", text)
    assert "done a minute" in text
    assert [line.split()[:2] for line in text.splitlines() if line[0] != " "] == [
        ["parse", "working"],  # What was done a moment ago shows that somebody works.
        ["embed", "idle"],
        ["index", "idle"],
    ]
    report = footnote.json("status", "--queues")
    assert (set(report), report["reconciler"]) == ({"queues", "reconciler"}, None)  # Here nobody has to be rung.
    parse, *_ = report["queues"]
    assert parse["depth"] == {"ready": 1, "postponed": 0, "leased": 0, "lapsed": 0}
    assert parse["failures"] == [{"stage": "parse", "reason": "corrupt", "count": 1}]


def test_the_status_ends_with_the_queues_while_something_is_open(footnote: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "tea.txt"
    file.write_text(story("tea"))
    footnote.branch.closed = True
    footnote("ingest", str(file), "--no-wait")

    assert footnote("status").out.splitlines()[-1].startswith("Queues: parse waiting (1)")
    assert set(footnote.json("status")) == {"documents", "totals"}
    footnote.branch.closed = False
    footnote("ingest", str(file))
    assert "Queues" not in footnote("status").out


def test_who_does_not_run_the_installation_is_told_nothing_of_the_queues(footnote: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "tea.txt"
    file.write_text(story("tea"))
    footnote.branch.closed = True
    footnote("ingest", str(file), "--no-wait", user="ed")

    done = footnote("status", user="ed")
    assert (done.code, "Queues" in done.out, "queued" in done.out) == (0, False, True)
    done = footnote("status", "--queues", "--json", user="ed")
    assert (done.code, done.json["error"]["code"]) == (1, "forbidden")


def test_the_queues_are_all_or_none(footnote: CommandLine) -> None:
    assert footnote("status", "tea.txt", "--queues").code == 2
    assert footnote("status", "--state", "failed", "--queues").code == 2
