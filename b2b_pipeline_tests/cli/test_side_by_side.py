"""Readers in processes of their own: what each says, and what is said of one that is gone."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from datetime import date

import pytest

from b2b_pipeline.cli import side_by_side
from b2b_pipeline.cli.side_by_side import Step, readers

ONE, TWO = (date(2026, 1, 1), date(2026, 1, 7)), (date(2026, 1, 8), date(2026, 1, 14))


class Launcher:
    """Of a source of ours, whose process is killed, and one that fails."""

    def ingest(self, source: str, start: date, end: date) -> str:
        if source == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if source == "broken":
            raise OSError(errno.ENOSPC, "No space left on device", "runs.db")
        return f"{os.getpid()}" if source == "failing" else ""


def test_a_process_that_is_killed_or_breaks_is_told_of_and_the_others_go_on(capfd: pytest.CaptureFixture[str]) -> None:
    runs = {"well": [ONE, TWO], "killed": [ONE, TWO], "failing": [TWO], "done": [], "broken": [ONE]}
    with readers([*runs], Launcher) as ingest:  # type: ignore[arg-type]
        steps = list(ingest(Launcher(), runs))  # type: ignore[arg-type]
        assert not multiprocessing.active_children()
    ended = [step for step in steps if step.problem is not None]
    assert [step for step in ended if step.source == "well"] == [Step("well", *ONE, ""), Step("well", *TWO, "")]
    gone = "killed: its process ended with -9"
    assert [step for step in ended if step.source == "killed"] == [
        Step("killed", *ONE, gone),
        Step("killed", *TWO, gone),
    ]
    (failed,) = [step for step in ended if step.source == "failing"]
    assert failed.problem not in (None, "", str(os.getpid())), "in a process of its own"
    assert Step("well", *ONE) in steps
    (broken,) = [step.problem or "" for step in ended if step.source == "broken"]
    assert broken.startswith("broken: ")
    assert "No space left" in broken
    assert "Traceback" not in capfd.readouterr().err


def test_a_few_processes_read_many_sources_in_turn_and_one_that_is_killed_costs_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(side_by_side, "AT_ONCE", 2)
    runs = {"killed": [ONE], **{f"source {n}": [ONE, TWO] for n in range(5)}}
    with readers([*runs], Launcher, lambda *asked: f"{os.getpid()} {Launcher().ingest(*asked[1:])}") as ingest:  # type: ignore[arg-type]
        steps = list(ingest(Launcher(), runs))  # type: ignore[arg-type]
    ended = [step for step in steps if step.problem is not None]
    assert sorted(step[:3] for step in ended) == sorted((name, *days) for name in runs for days in runs[name])
    (killed,) = (step.problem for step in ended if step.source == "killed")
    assert killed == "killed: its process ended with -9"
    assert len({step.problem for step in ended if step.source != "killed"}) == 1, "the process that is left"


def test_when_no_process_is_left_it_is_told_of_every_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "AT_ONCE", 2)
    runs = {"killed": [ONE], "killed too": [ONE], "late": [ONE, TWO]}
    with readers([*runs], Launcher, lambda *_: os.kill(os.getpid(), signal.SIGKILL)) as ingest:  # type: ignore
        steps = list(ingest(Launcher(), runs))  # type: ignore[arg-type]
    assert {(step.source, step.problem) for step in steps if step.problem is not None} == {
        ("killed", "killed: its process ended with -9"),
        ("killed too", "killed too: its process ended with -9"),
        ("late", "late: no process is left to read it"),
    }


def test_one_that_has_anything_to_read_needs_no_process() -> None:
    with readers(["failing", "well"], Launcher) as ingest:  # type: ignore[arg-type]
        steps = list(ingest(Launcher(), {"failing": [ONE], "well": []}))  # type: ignore[arg-type]
    assert steps == [Step("failing", *ONE), Step("failing", *ONE, str(os.getpid()))]
    assert not multiprocessing.active_children()
