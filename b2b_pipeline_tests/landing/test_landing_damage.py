"""What is stored is what was landed, or it is told: damaged, lost and premature slices, and how they heal."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from b2b_pipeline.connectors.base import Account, Page, Stream, Window
from b2b_pipeline.errors import DamagedError, TransientError
from b2b_pipeline.landing.journal import Journal
from b2b_pipeline.landing.store import Landing, Slice
from b2b_pipeline.privacy import Pseudonyms

ZONE = ZoneInfo("UTC")
NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
Change = Callable[[Path], Any]


def opened(folder: Path) -> Landing:
    """The landing as another process finds it."""
    return Landing(folder / "landing", Pseudonyms(b"key", folder / "forgotten.json"))


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return opened(tmp_path)


def land(
    landing: Landing, kind: Any, values: dict[int, Any], *, now: datetime = NOON, account: str = "1", to: int = 0
) -> Slice:
    """A slice of days of May with a value each; `to`: the first day after it."""
    window = Window.of_days(date(2026, 5, min(values)), date(2026, 5, to or max(values) + 1), ZONE)
    records = [{"id": day, "day": f"2026-05-{day:02}", "value": value} for day, value in values.items()]
    about = Stream("thing", kind, "", lambda *_: iter(()), "" if kind == "snapshot" else "day")
    return landing.write(
        "source", about, Account(account), window, [Page(records)], zone=ZONE, api_version="v", run_id="r", now=now
    )


def values(landing: Landing) -> list[Any]:
    return [record["value"] for item in landing.slices("source", "thing") for record in landing.records(item)]


def body(landing: Landing) -> Path:
    return next(landing.root.glob("raw/*/*/*/*.zst"))


def envelope(landing: Landing) -> Path:
    return next(landing.root.glob("raw/*/*/*/*.json"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00" * path.stat().st_size)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize("change", [cut, empty, garbage, longer, Path.unlink])
@pytest.mark.parametrize("which", [body, envelope])
def test_a_slice_that_is_not_what_was_landed_is_told_by_name_with_the_way_to_read_it_again(
    change: Change, which: Callable[[Landing], Path], landing: Landing, tmp_path: Path
) -> None:
    item = land(landing, "changes", {1: "a", 2: "b"})
    change(which(landing))
    later = opened(tmp_path)
    (found,) = later.slices("source", "thing")
    assert (found.slice_id, found.start, found.end) == (item.slice_id, "2026-05-01", "2026-05-03")
    fix = "b2b backfill --again --source source --from 2026-05-01 --to 2026-05-02"
    with pytest.raises(DamagedError, match=rf"slice {item.slice_id} of source/thing \(account 1\) is damaged: .*{fix}"):
        list(later.records(found))
    for landing_now in (later, opened(tmp_path)):
        assert [(bad.slice_id, again) for bad, again in landing_now.verify()] == [(item.slice_id, False)]
    at_first_sight = change is not garbage or which is envelope
    assert len(list(later.verify(thorough=False))) == at_first_sight


def test_of_hundreds_of_flipped_bits_none_changes_a_value_in_silence(landing: Landing, tmp_path: Path) -> None:
    land(landing, "changes", {day: f"value {day}" for day in range(1, 25)})
    whole, rng = values(landing), random.Random(6)
    for path in (body(landing), envelope(landing)):
        content = path.read_bytes()
        for bit in rng.sample(range(len(content) * 8), 300):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            with pytest.raises(DamagedError):
                values(opened(tmp_path))
        path.write_bytes(content)
    assert values(opened(tmp_path)) == whole


def test_without_its_journal_a_flipped_envelope_is_still_told(landing: Landing, tmp_path: Path) -> None:
    land(landing, "changes", {day: f"value {day}" for day in range(1, 25)})
    next(landing.root.glob("journal/*/*")).unlink()
    path, rng = envelope(landing), random.Random(7)
    content = path.read_bytes()
    for bit in rng.sample(range(len(content) * 8), 300):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(DamagedError):
            values(opened(tmp_path))


def test_a_whole_account_or_stream_that_is_gone_is_missed(landing: Landing, tmp_path: Path) -> None:
    item = land(landing, "report", {1: "a"})
    (landing.root / "raw").rename(tmp_path / "elsewhere")
    assert [bad.slice_id for bad, _ in opened(tmp_path).verify()] == [item.slice_id]


@pytest.mark.parametrize("kind", ["report", "changes", "snapshot"])
def test_reading_it_again_heals_and_nothing_points_to_what_is_damaged(
    kind: str, landing: Landing, tmp_path: Path
) -> None:
    first = land(landing, kind, {1: "a", 2: "b"})
    same = land(landing, kind, {1: "a", 2: "b"}, now=NOON + timedelta(hours=1))
    assert first.slice_id in same.same_as.values()
    garbage(body(landing))
    later = opened(tmp_path)
    assert [(bad.slice_id, again) for bad, again in later.verify()] == [(first.slice_id, False)]
    healed = land(later, kind, {1: "a", 2: "b"}, now=NOON + timedelta(hours=2))
    assert healed.same_as == {}
    assert [record["value"] for record in later.records(healed)] == ["a", "b"]
    assert [(bad.slice_id, again) for bad, again in later.verify()] == [(first.slice_id, True)]


def test_part_of_a_window_read_again_does_not_heal_all_of_it(landing: Landing, tmp_path: Path) -> None:
    first = land(landing, "changes", {1: "a", 2: "b"})
    garbage(body(landing))
    land(landing, "changes", {2: "b"}, now=NOON + timedelta(hours=1))
    assert [(bad.slice_id, again) for bad, again in opened(tmp_path).verify()] == [(first.slice_id, False)]
    land(landing, "changes", {1: "a"}, now=NOON + timedelta(hours=2))
    assert [(bad.slice_id, again) for bad, again in opened(tmp_path).verify()] == [(first.slice_id, True)]


def test_slices_of_an_earlier_version_are_read_and_entered_with_the_next_one(landing: Landing, tmp_path: Path) -> None:
    old = land(landing, "changes", {1: "a"})
    fields = json.loads(envelope(landing).read_text())
    del fields["body"], fields["checksum"]
    envelope(landing).write_text(json.dumps({**fields, "complete": True}))
    for path in landing.root.glob("journal/*/*"):
        path.unlink()
    later = opened(tmp_path)
    assert values(later) == ["a"]
    assert list(later.verify()) == []
    land(later, "changes", {2: "b"}, now=NOON + timedelta(hours=1))
    (later.folder("source", "thing", "1") / f"{old.slice_id}.json").unlink()
    assert [bad.slice_id for bad, _ in opened(tmp_path).verify()] == [old.slice_id]


def test_a_body_of_an_earlier_version_that_lacks_records_is_told(landing: Landing, tmp_path: Path) -> None:
    land(landing, "changes", {day: f"value {day}" for day in range(1, 25)})
    fields = json.loads(envelope(landing).read_text())
    del fields["body"], fields["checksum"]
    for path in landing.root.glob("journal/*/*"):
        path.unlink()
    envelope(landing).write_text(json.dumps(fields))
    for change in (cut, empty, Path.unlink):
        change(body(landing))
        with pytest.raises(DamagedError):
            values(opened(tmp_path))


# -- order


def test_a_pull_made_while_the_clock_was_ahead_does_not_win_over_later_ones(landing: Landing) -> None:
    ahead = land(landing, "report", {1: "old"}, now=NOON + timedelta(days=30))
    later = land(landing, "report", {1: "new"}, now=NOON)
    assert ahead.slice_id < later.slice_id
    assert landing.winners("source", "thing", "1")["2026-05-01"] == later


def test_the_order_holds_when_the_file_that_keeps_it_is_lost_and_for_other_accounts_and_streams(
    landing: Landing, tmp_path: Path
) -> None:
    ahead = land(landing, "report", {1: "old"}, now=NOON + timedelta(days=30))
    (landing.root / "sequence").write_text("")
    other = land(opened(tmp_path), "report", {1: "x"}, account="2")
    (landing.root / "sequence").unlink()
    later = land(opened(tmp_path), "report", {1: "new"})
    assert ahead.slice_id < other.slice_id < later.slice_id


def test_a_slice_from_the_future_is_told_is_not_used_and_its_days_are_read_again(
    landing: Landing, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    first = land(landing, "report", {1: "a"}, now=now - timedelta(days=1))
    ahead = land(landing, "report", {1: "b"}, now=now + timedelta(days=1))
    assert landing.winners("source", "thing", "1")["2026-05-01"] == first
    (bad,) = (item for item, _ in landing.verify())
    assert (bad.slice_id, bad.flaw[:34]) == (ahead.slice_id, f"it was pulled at {ahead.pulled_at[:16]} "[:34])
    assert bad.flaw.endswith("which is still to come: the clock was ahead")
    with pytest.raises(DamagedError, match="is not used: it was pulled at"):
        list(landing.records(landing.slices("source", "thing")[-1]))
    again = land(landing, "report", {1: "b"}, now=now)
    assert (again.same_as, landing.winners("source", "thing", "1")["2026-05-01"]) == ({}, again)
    assert [is_past for _, is_past in landing.verify()] == [True]


def test_a_slice_from_the_future_stays_told_when_its_time_has_come(landing: Landing) -> None:
    ahead = land(landing, "report", {1: "old"}, now=NOON + timedelta(days=30))
    land(landing, "report", {9: "later"}, now=NOON)
    assert "2026-05-01" not in landing.winners("source", "thing", "1"), "what that day was then is unknown"
    (bad,) = (item for item, _ in landing.verify())
    assert bad.slice_id == ahead.slice_id
    assert bad.flaw.endswith("which is later than what came after it: the clock was ahead")


# -- the journal


def test_a_line_that_was_left_half_written_costs_nothing_and_a_changed_one_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append([{"n": 1}])
    with journal.path.open("ab") as file:
        file.write(b'0123456789abcdef {"n"')
    assert (Journal(journal.path).entries, Journal(journal.path).unreadable) == ([{"n": 1}], 0)
    Journal(journal.path).append([{"n": 2}])
    assert (journal.entries, journal.unreadable) == ([{"n": 1}, {"n": 2}], 0)
    journal.path.write_bytes(journal.path.read_bytes().replace(b'"n":1', b'"n":3'))
    assert (Journal(journal.path).entries, Journal(journal.path).unreadable) == ([{"n": 2}], 1)


def test_what_a_writer_that_was_killed_before_the_journal_left_is_entered_by_the_next(
    landing: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Iterator[None]:
        raise TransientError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Landing, "_note", killed)
        with pytest.raises(TransientError, match="killed"):
            land(landing, "changes", {1: "a"})
    assert values(opened(tmp_path)) == ["a"]
    land(opened(tmp_path), "changes", {2: "b"}, now=NOON + timedelta(hours=1))
    entries = Journal(landing.root / "journal" / "source" / "thing.jsonl").entries
    assert [entry["start"] for entry in entries] == ["2026-05-01", "2026-05-02"]


def test_a_body_that_is_rewritten_is_whole_for_whoever_opened_the_slice_before(
    landing: Landing, tmp_path: Path
) -> None:
    item = land(landing, "changes", {1: "a", 2: "b"})
    assert landing.rewrite(item, lambda line: line.replace('"a"', '"A"')) == 1
    assert [record["value"] for record in opened(tmp_path).records(item)] == ["A", "b"]
    assert list(opened(tmp_path).verify()) == []
    assert (
        opened(tmp_path).rewrite(item, lambda line: line.replace('"a"', '"B"')) == 0
    )  # listed before it was rewritten
    assert opened(tmp_path).rewrite(item, lambda line: line.replace('"b"', '"B"')) == 1
    assert [record["value"] for record in opened(tmp_path).records(item)] == ["A", "B"]
    assert list(opened(tmp_path).verify()) == []
    assert len(list(landing.root.glob("raw/*/*/*/*.zst"))) == 1


# -- several writers, and killed ones


def child(folder: Path, account: str, count: int, at: int = 0) -> int:
    """A process that lands `count` slices, killed at moment `at`: before or after it does something to a disk."""
    if pid := os.fork():
        return pid
    moments = iter(range(1, sys.maxsize))

    def moment() -> None:
        if next(moments) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*arguments: Any) -> Any:
            moment()
            result = call(*arguments)
            moment()
            return result

        return watch

    code = 1
    try:
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in ((os, "replace"), (os, "fsync"), (Journal, "append")):
                patch.setattr(owner, name, watched(getattr(owner, name)))
            for number in range(count):
                land(opened(folder), "changes", {1 + number: f"{account} {number}"}, account=account)
        code = 0
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_writers_at_once_lose_nothing_and_keep_one_order(tmp_path: Path) -> None:
    assert [ended(pid) for pid in [child(tmp_path, account, 8) for account in ("1", "1", "2", "2")]] == [0] * 4
    landing = opened(tmp_path)
    assert len({item.slice_id for item in landing.slices("source", "thing")}) == 32
    assert len(Journal(landing.root / "journal" / "source" / "thing.jsonl").entries) == 32
    assert list(landing.verify()) == []
    assert landing.unreadable() == []


def test_a_writer_killed_at_any_moment_leaves_the_whole_slice_or_none_and_no_damage(tmp_path: Path) -> None:
    for at in range(1, 100):
        folder = tmp_path / str(at)
        folder.mkdir()
        if ended(child(folder, "1", 1, at)) == 0:
            break
        landing = opened(folder)
        assert values(landing) in ([], ["1 0"])
        assert list(landing.verify()) == []
        land(landing, "changes", {2: "next"})
        assert values(opened(folder)) in (["next"], ["1 0", "next"])
        assert list(opened(folder).verify()) == []
    assert at > 8
