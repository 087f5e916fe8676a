"""Landing: slices appear whole or not at all, nothing is stored twice, and for each day the newest word counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from b2b_pipeline.connectors.base import Account, Page, Record, Stream, Window
from b2b_pipeline.errors import TransientError
from b2b_pipeline.landing import store as module
from b2b_pipeline.landing.store import UNDATED, Landing, Slice, as_line, day_of, of_line
from b2b_pipeline.privacy import Pseudonyms

ZONE = ZoneInfo("UTC")
NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
FIRST = date(2026, 5, 1)


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path, Pseudonyms(b"key", tmp_path / "forgotten.json"))


def stream(kind: Any, name: str = "thing") -> Stream:
    return Stream(name, kind, "", lambda *_: iter(()), "day" if kind != "snapshot" else "", personal=("email",))


def land(landing: Landing, kind: str, days: int, *records: Record, account: str = "1", start: date = FIRST) -> Slice:
    """A slice of `days` days; each one lands an hour after the one before."""
    now = NOON + timedelta(hours=len(list(landing.root.rglob("*.json"))))
    window = Window.of_days(start, start + timedelta(days=days), ZONE)
    pages = [Page([dict(record)], str(number)) for number, record in enumerate(records)]
    return landing.write(
        "source", stream(kind), Account(account), window, pages, zone=ZONE, api_version="v1", run_id="run", now=now
    )


def said(landing: Landing, account: str = "1") -> dict[str, list[Any]]:
    """Day -> values of the records that count."""
    return {
        day: [record["value"] for record in landing.records(item) if record.get("day") == day]
        for day, item in landing.winners("source", "thing", account).items()
    }


def row(day: int, value: Any) -> Record:
    return {"day": f"2026-05-{day:02}", "value": value}


def test_a_slice_is_stored_as_received_but_for_people(landing: Landing) -> None:
    item = land(landing, "report", 1, {**row(1, "ÄŹ\u2028€"), "email": " Ann@Example.com ", "nested": {"x": [1, None]}})
    (record,) = landing.records(item)
    assert record["value"] == "ÄŹ\u2028€"
    assert record["nested"] == {"x": [1, None]}
    assert record["email"] == landing.pseudonyms.email("ann@example.com")
    assert (item.records, item.days["2026-05-01"][0], item.pages) == (1, 1, 1)
    assert "Ann" not in "".join(path.read_text("latin-1") for path in landing.root.rglob("*.json"))


def test_a_slice_that_appears_while_somebody_is_forgotten_is_taken_back(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = module._write_atomically

    def write_and_forget(path: Path, text: str) -> None:
        write(path, text)
        landing.pseudonyms.forget("ann@example.com")  # by another process, which has listed the slices just before
        landing.pseudonyms._forgotten = {}

    monkeypatch.setattr(module, "_write_atomically", write_and_forget)
    with pytest.raises(TransientError, match="a person was forgotten while it was read"):
        land(landing, "report", 1, {**row(1, 1), "email": "ann@example.com"})
    assert landing.slices("source", "thing") == []
    assert not list(landing.root.rglob("*.zst"))


@pytest.mark.parametrize("pages_before", [0, 3])
def test_a_pull_that_breaks_off_leaves_nothing(landing: Landing, pages_before: int) -> None:
    def pages() -> Iterator[Page]:
        for number in range(pages_before):
            yield Page([row(1, number)])
        raise TransientError("cut off")

    with pytest.raises(TransientError):
        landing.write(
            "source", stream("report"), Account("1"), Window.of_days(FIRST, FIRST + timedelta(days=1), ZONE), pages(),
            zone=ZONE, api_version="v1", run_id="run",
        )  # fmt: skip
    assert landing.slices("source", "thing") == []
    assert not [path for path in landing.root.rglob("*") if path.is_file()]


def test_a_body_without_its_envelope_is_no_slice_and_is_cleared_away(landing: Landing) -> None:
    item = land(landing, "report", 1, row(1, "a"))
    folder = landing.folder("source", "thing", "1")
    (folder / "20260520120000-dead.jsonl.zst").write_bytes(b"")
    (folder / ".20260520120000-dead.part").write_bytes(b"")
    assert [found.slice_id for found in landing.slices("source", "thing")] == [item.slice_id]
    landing.remove_leftovers(datetime.now(UTC) + timedelta(minutes=1))
    assert sorted(path.name for path in folder.iterdir()) == [f"{item.slice_id}.json", f"{item.slice_id}.jsonl.zst"]


def test_of_a_report_the_newest_slice_that_covers_a_day_counts_and_nothing_is_an_answer_too(landing: Landing) -> None:
    land(landing, "report", 3, row(1, "a"), row(2, "b"), row(3, "c"))
    land(landing, "report", 2, row(2, "B"))
    assert said(landing) == {"2026-05-01": [], "2026-05-02": ["B"], "2026-05-03": ["c"]}


def test_days_that_say_the_same_are_not_stored_again_and_a_value_may_come_back(landing: Landing) -> None:
    first = land(landing, "report", 2, row(1, "a"), row(2, "x"))
    other = land(landing, "report", 2, row(1, "b"), row(2, "x"))
    back = land(landing, "report", 2, row(1, "a"), row(2, "x"))
    again = land(landing, "report", 2, row(1, "a"), row(2, "x"))
    assert other.same_as == back.same_as == {"2026-05-02": first.slice_id}
    assert again.same_as == {"2026-05-01": back.slice_id, "2026-05-02": first.slice_id}
    assert [len(list(landing.records(item))) for item in (first, other, back, again)] == [2, 1, 1, 0]
    assert said(landing) == {"2026-05-01": ["a"], "2026-05-02": ["x"]}


@pytest.mark.parametrize("kind", ["changes", "snapshot"])
def test_a_window_or_a_list_that_came_out_the_same_is_not_stored_again_but_one_that_came_back_is(
    landing: Landing, kind: str
) -> None:
    first = land(landing, kind, 1, row(1, "a"))
    same = land(landing, kind, 1, row(1, "a"))
    other = land(landing, kind, 1, row(1, "b"))
    back = land(landing, kind, 1, row(1, "a"))
    assert (same.same_as, other.same_as, back.same_as) == ({"*": first.slice_id}, {}, {})
    assert [len(list(landing.records(item))) for item in (first, same, other, back)] == [1, 0, 1, 1]


def test_changes_of_another_window_are_stored_even_when_they_are_the_same(landing: Landing) -> None:
    land(landing, "changes", 1, row(1, "a"))
    assert land(landing, "changes", 2, row(1, "a")).same_as == {}


@pytest.mark.parametrize(
    ("value", "zone", "day"),
    [
        ("2026-05-01T18:00:00Z", "Asia/Bangkok", "2026-05-02"), ("2026-05-01T16:59:59Z", "Asia/Bangkok", "2026-05-01"),
        ("2026-05-02T06:59:59.999+0000", "America/Los_Angeles", "2026-05-01"),
        ("2026-05-02T07:00:00+00:00", "America/Los_Angeles", "2026-05-02"),
        # around the change of clocks: midnight is at 7:00 UTC before it, at 8:00 after it
        ("2026-11-01T06:59:59Z", "America/Los_Angeles", "2026-10-31"),
        ("2026-11-02T07:30:00Z", "America/Los_Angeles", "2026-11-01"),
        ("2026-03-09T07:00:00Z", "America/Los_Angeles", "2026-03-09"),
        (1777658400000, "Asia/Bangkok", "2026-05-02"), ("1777658400000", "UTC", "2026-05-01"),
        ("2026-05-01", "America/Los_Angeles", "2026-05-01"), ("2026-05-01T10:00:00", "UTC", "2026-05-01"),
        (None, "UTC", UNDATED), ("", "UTC", UNDATED), ("soon", "UTC", UNDATED), ("2026-02-30", "UTC", UNDATED),
        (10**30, "UTC", UNDATED),
    ],
)  # fmt: skip
def test_a_record_belongs_to_the_day_it_falls_on_in_the_reporting_time_zone(value: Any, zone: str, day: str) -> None:
    assert day_of({"a": {"at": value}}, "a.at", ZoneInfo(zone)) == day


@pytest.mark.parametrize("path", ["a.b", "a", "x.y"])
def test_a_record_without_the_dated_field_is_undated(path: str) -> None:
    assert day_of({"a": {}}, path, ZONE) == UNDATED


def test_accounts_with_hostile_names_stay_below_the_landing_folder_and_apart(landing: Landing) -> None:
    names = [
        "../../etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "a_b",
        "A\x00B",
        "x" * 300,
        "con<script>'; drop",
        "ünïcode",
        ".hidden",
    ]
    for name in names:
        land(landing, "report", 1, row(1, name), account=name)
    assert {account: said(landing, account) for account in names} == {name: {"2026-05-01": [name]} for name in names}
    assert {item.account["id"] for item in landing.slices("source", "thing")} == set(names)
    base = landing.root / "raw" / "source" / "thing"
    assert all(path.parent.parent == base for path in landing.root.rglob("*.json"))
    assert all(len(path.parent.name) < 100 for path in landing.root.rglob("*.json"))


def test_an_envelope_says_what_was_asked_without_the_records(landing: Landing) -> None:
    item = land(landing, "report", 2, row(1, "a"))
    (path,) = landing.root.rglob("*.json")
    envelope = json.loads(path.read_text())
    assert (envelope["start"], envelope["end"], envelope["api_version"]) == ("2026-05-01", "2026-05-03", "v1")
    assert envelope["slice_id"] == item.slice_id
    assert list(item.covered()) == ["2026-05-01", "2026-05-02"]


ALPHABET = st.characters(exclude_categories=["Cs"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(ALPHABET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(ALPHABET, max_size=3), inner, max_size=3),
)


@given(record=st.dictionaries(st.text(ALPHABET, max_size=3), JSON, max_size=4))
@example(record={"id": 2**64, "amount": 0.1, "share": 1e-7})
def test_a_record_comes_back_as_it_was_whatever_numbers_it_has(record: Record) -> None:
    assert repr(of_line(as_line(record))) == repr(json.loads(json.dumps(record, sort_keys=True)))
