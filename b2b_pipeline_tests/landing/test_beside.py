"""Accounts that are read beside each other, from a server that sees how many ask at once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from b2b_pipeline.connectors.base import Account, Accounts, Page, Skipped, Stream, Window, WindowPolicy
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Session, Skip
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.errors import TransientError
from b2b_pipeline.landing.ingest import IngestReport, ingest
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline_tests.connectors.test_http import Server, answer, serving
from b2b_pipeline_tests.landing.test_ingest import CONFIG, NOW, TODAY, UTC_ZONE, YESTERDAY, source

START = date(2026, 5, 14)
FOUR = [Account(name) for name in ("d", "c", "b", "a")]
STATUS = {"closed": Skip("it is closed"), "broken": Fatal("it is broken")}


@dataclass
class Vendor:
    """Answers for an account once `together` of them ask; tells the most that asked at the same time."""

    together: threading.Barrier
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.together.wait(30)
        _, account, day = handler.path.split("/")
        rows = [{"day": day, "id": f"{account}-{number}", "mail": f"{number}@example.com"} for number in range(20)]
        with self.lock:
            self.now -= 1
        answer(json.dumps(rows).encode(), 200 if len(account) == 1 else 400)(handler)


def classify(response: Any) -> Outcome:
    return Ok() if response.status_code == 200 else STATUS[response.url.split("/")[3]]


def fetch(client: Session, account: Account, window: Window) -> Iterator[Page]:
    for day in window.days():
        got = client.get(f"{account.id}/{day}")
        yield Page(got.json(), got.request)


def landing_of(folder: Path) -> Landing:
    return Landing(folder, Pseudonyms(b"key", folder / "forgotten.json"))


def run(landing: Landing, server: Server, accounts: Sequence[Account], at_once: int) -> IngestReport:
    stream = Stream("thing", "report", "", fetch, "day", WindowPolicy(max_days=3), personal=("mail",))
    return ingest(
        source(parallel=at_once), stream, Session(server.url, classify=classify), Accounts(accounts), START, TODAY,
        config=CONFIG, landing=landing, run_id="run", now=NOW,
    )  # fmt: skip


def read(folder: Path, at_once: int, together: int) -> tuple[Landing, IngestReport, int]:
    landing, vendor = landing_of(folder), Vendor(threading.Barrier(together))
    with serving(vendor) as server:
        return landing, run(landing, server, FOUR, at_once), vendor.most


def landed(landing: Landing) -> list[Any]:
    """All that is stored but for stamps: envelopes in order, bodies to the byte, the journal's lines."""
    stamps = {"slice_id", "pulled_at", "body", "account", "envelope", "checksum"}
    names = {item.slice_id: n for n, item in enumerate(sorted(landing.slices("ecb", "thing"), key=_place))}
    found: list[Any] = []
    for item in sorted(landing.slices("ecb", "thing"), key=_place):
        folder = landing.folder("ecb", "thing", item.account["id"])
        body = (folder / item.body["name"]).read_bytes() if item.body else b""
        rest = {key: value for key, value in vars(item).items() if key not in stamps}
        same = {day: names[holder] for day, holder in rest.pop("same_as").items()}
        found.append((item.account["id"], rest, same, body))
    lines = (landing.root / "journal/ecb/thing.jsonl").read_text().splitlines()
    entries = [json.loads(line.partition(" ")[2]) for line in lines]
    found += sorted((entry["account"]["id"], entry["start"], entry["records"]) for entry in entries)
    return found


def _place(item: Any) -> tuple[str, str]:
    return item.account["id"], item.slice_id


def test_four_accounts_of_a_vendor_are_read_at_once_and_land_what_they_land_one_by_one(tmp_path: Path) -> None:
    one_by_one, its_report, most = read(tmp_path / "serial", at_once=1, together=1)
    assert most == 1
    at_once, report, most = read(tmp_path / "parallel", at_once=4, together=4)  # no answer before all four have asked
    assert most == 4
    assert landed(at_once) == landed(one_by_one)
    assert len(landed(at_once)) == 2 * 4 * 3
    assert (report.rows, report.failed, report.skipped) == (its_report.rows, {}, [])
    order = [(item.account["id"], item.start) for item in report.slices]
    assert order == [(item.account["id"], item.start) for item in its_report.slices]
    assert [account for account, _ in order] == [account.id for account in FOUR for _ in range(3)]
    assert not list(at_once.verify())


def test_a_second_read_finds_every_account_s_days_as_they_were(tmp_path: Path) -> None:
    landing, _, _ = read(tmp_path, at_once=4, together=4)
    with serving(Vendor(threading.Barrier(1))) as server:
        stream = Stream("thing", "report", "", fetch, "day", WindowPolicy(max_days=3), personal=("mail",))
        again = ingest(
            source(parallel=4), stream, Session(server.url, classify=classify), Accounts(FOUR), START, TODAY,
            config=CONFIG, landing=landing, run_id="another", now=NOW,
        )  # fmt: skip
    assert [item.stored for item in again.slices] == [0] * 12
    assert all(len(item.same_as) == len(item.days) for item in again.slices)


def test_accounts_that_fail_or_are_left_out_stop_no_other_and_are_told_in_their_order(tmp_path: Path) -> None:
    accounts = [Account(name) for name in ("broken", "closed", "b", "a")]
    landing = landing_of(tmp_path)
    with serving(Vendor(threading.Barrier(1))) as server:
        report = run(landing, server, accounts, at_once=4)
    assert [item.account["id"] for item in report.slices] == ["b"] * 3 + ["a"] * 3
    assert {account: type(error).__name__ for account, error in report.failed.items()} == {"broken": "PermanentError"}
    assert [item.account for item in report.skipped] == ["closed"]
    assert isinstance(report.skipped[0], Skipped)


def test_an_interrupt_ends_a_read_whose_vendor_hangs_and_nothing_lands_after_it(tmp_path: Path) -> None:
    released, answered, landing = threading.Event(), list[str](), landing_of(tmp_path)

    def hang(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/d") and not released.is_set():
            os.kill(os.getpid(), signal.SIGINT)
        released.wait(60)
        answered.append(handler.path)
        answer(b"[]")(handler)

    with serving(hang) as server:
        try:
            with pytest.raises(KeyboardInterrupt):
                run(landing, server, FOUR, at_once=4)
            assert not answered, "it waited for the vendor"
        finally:
            released.set()
        # Not joined: the interrupt may come while one is being started, and that one starts a little later.
        until = time.monotonic() + 30
        while left := [thread for thread in threading.enumerate() if thread.name.startswith("beside")]:
            assert time.monotonic() < until, left
            time.sleep(0.01)
    assert landing.slices("ecb", "thing") == []
    assert not list(tmp_path.glob("raw/*/*/*/.*"))


def test_what_nobody_foresaw_in_one_account_is_raised_and_stops_the_others(tmp_path: Path) -> None:
    def fails(client: None, account: Account, window: Window) -> Iterator[Page]:
        raise OSError(28, "No space left on device")
        yield

    with pytest.raises(OSError, match="No space left"):
        ingest(
            source(parallel=2), Stream("thing", "report", "", fails, "day"), None, Accounts(FOUR), YESTERDAY, TODAY,
            config=CONFIG, landing=landing_of(tmp_path), run_id="run", now=NOW,
        )  # fmt: skip


def test_a_person_who_is_forgotten_while_two_accounts_are_read_comes_back_by_neither(tmp_path: Path) -> None:
    landing = landing_of(tmp_path)
    stream = Stream("thing", "changes", "", fetch, "day", personal=("mail",))
    window = Window.of_days(YESTERDAY, TODAY, UTC_ZONE)

    def write(account: str, meanwhile: Callable[[], object]) -> None:
        def pages() -> Iterator[Page]:
            yield Page([{"day": "2026-05-20", "mail": "ann@example.com"}])
            meanwhile()

        landing.write("ecb", stream, Account(account), window, pages(), zone=UTC_ZONE, api_version="", run_id="r")

    def forgotten_by_another_process_and_noticed_by_the_other_account() -> None:
        landing_of(tmp_path).pseudonyms.forget("ann@example.com")
        write("other", lambda: None)

    with pytest.raises(TransientError, match="a person was forgotten while it was read"):
        write("one", forgotten_by_another_process_and_noticed_by_the_other_account)
    assert [item.account["id"] for item in landing.slices("ecb", "thing")] == ["other"]
    token = landing.pseudonyms.forget_token("ann@example.com")
    assert [record["mail"] for item in landing.slices("ecb", "thing") for record in landing.records(item)] == [token]


def test_accounts_of_ad_platforms_are_read_some_at_a_time() -> None:
    assert {name: SOURCES[name].parallel for name in SOURCES if SOURCES[name].parallel > 1} == {
        "google_ads": 4, "linkedin_ads": 2, "meta_ads": 2, "microsoft_ads": 2, "reddit_ads": 2,
        "tiktok_ads": 2, "x_ads": 2,
        "ga4": 2, "search_console": 2,
    }  # fmt: skip
