"""What a vendor allows in so many seconds, against a server that counts what it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Barrier

import pytest

from b2b_pipeline.configuration.config import Config, SourceConfig
from b2b_pipeline.connectors.auth import StaticToken
from b2b_pipeline.connectors.http import Ok, Outcome, Reauth, Session
from b2b_pipeline.connectors.hubspot import source as hubspot
from b2b_pipeline.connectors.rates import LOST, Bucket, Rate
from b2b_pipeline.errors import TransientError
from b2b_pipeline_tests.connectors.test_http import Tokens, answer, serving


@dataclass
class Vendor:
    """A server that knows when each call arrived, by its path."""

    url: str = ""
    arrived: list[tuple[float, str]] = field(default_factory=list)
    ways: list[float] = field(default_factory=list)  # seconds that the first calls are on their way

    def violations(self, most: int, seconds: float, path: str = "") -> int:
        """How many calls of a path were one too many within so many seconds."""
        times = sorted(at for at, asked in self.arrived if path in asked)
        return sum(later - first < seconds for first, later in zip(times, times[most:], strict=False))


@contextmanager
def counting() -> Iterator[Vendor]:
    vendor = Vendor()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(vendor.ways.pop() if vendor.ways else 0)
        vendor.arrived.append((time.monotonic(), handler.path))
        answer()(handler)

    with serving(reply) as server:
        vendor.url = server.url
        yield vendor


def session(vendor: Vendor, token: str, rates: Sequence[Rate], sleep: Callable[[float], None] = time.sleep) -> Session:
    return Session(vendor.url, classify=lambda _: Ok(), auth=StaticToken(token), rates=rates, sleep=sleep)


def ask_at_once(vendor: Vendor, rates: Sequence[Rate]) -> None:
    """Thirty calls by six threads, two of which share a session, as those of other streams do not."""
    sessions = [session(vendor, "one-token", rates) for _ in range(5)]
    with ThreadPoolExecutor(6) as threads:
        for _ in threads.map(lambda number: sessions[number % 5].get(f"/things/{number}"), range(30)):
            pass


def test_threads_that_ask_at_once_never_ask_more_often_than_the_vendor_allows() -> None:
    with counting() as vendor:
        ask_at_once(vendor, [Rate(5, 0.25), Rate(12, 1)])
    assert len(vendor.arrived) == 30
    assert vendor.violations(5, 0.25) == 0
    assert vendor.violations(12, 1) == 0


ASKING = """
import sys
from b2b_pipeline.connectors.auth import StaticToken
from b2b_pipeline.connectors.http import Ok, Session
from b2b_pipeline.connectors.rates import Rate
asking = Session(sys.argv[1], classify=lambda _: Ok(), auth=StaticToken("one-token"), rates=[Rate(5, 0.5), Rate(12, 2)])
for number in range(8):
    asking.get(f"/things/{number}")
"""


def processes(vendor: Vendor, homes: Sequence[Path]) -> None:
    """As many backfills at once as there are homes, a process each."""
    running = [
        subprocess.Popen([sys.executable, "-c", ASKING, vendor.url], env={**os.environ, "B2B_HOME": str(home)})
        for home in homes
    ]
    assert [process.wait(60) for process in running] == [0] * len(homes)


def test_four_backfills_at_once_never_ask_more_often_than_the_vendor_allows(tmp_path: Path) -> None:
    with counting() as vendor:
        processes(vendor, [tmp_path] * 4)
    assert len(vendor.arrived) == 32
    assert (vendor.violations(5, 0.5), vendor.violations(12, 2)) == (0, 0)


def test_a_backfill_that_was_killed_with_calls_under_way_does_not_hold_up_the_next_for_good(tmp_path: Path) -> None:
    bucket = Bucket([Rate(1, 0.1)], tmp_path / "rates.sqlite")
    assert isinstance(bucket.take(), int)
    assert isinstance(bucket.take(), float)
    later = time.monotonic() + LOST + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: later)
        assert isinstance(bucket.take(), int)


def test_without_rates_the_same_threads_do() -> None:
    with counting() as vendor:
        ask_at_once(vendor, [])
    assert vendor.violations(5, 0.25) > 0


@pytest.mark.parametrize("way", [0.25, 0.5])
def test_a_call_that_is_long_on_its_way_counts_from_when_it_may_have_arrived(way: float) -> None:
    with counting() as vendor, ThreadPoolExecutor(2) as threads:
        vendor.ways.append(way)
        for _ in threads.map(session(vendor, "slow", [Rate(1, 0.3)]).get, ["/things"] * 3):
            pass
    assert vendor.violations(1, 0.3) == 0


def test_paths_with_a_rate_of_their_own_neither_count_for_the_others_nor_hold_them_back() -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(seconds)

    with counting() as vendor:
        asking = session(vendor, "another", [Rate(2, 30, paths="/search$"), Rate(3, 0.3)], sleep)
        for path in ("/a/search", "/b/search", "/search/1", "/things?of=/search", f"{vendor.url}/things/2"):
            asking.get(path)
        assert slept == []
        asking.get("/things/3")
        assert sum(slept) > 0
    assert vendor.violations(3, 0.3, "things") == 0


def test_other_credentials_and_other_vendors_have_limits_of_their_own() -> None:
    rates = [Rate(1, 30)]
    with counting() as vendor, counting() as other:
        for asked, token in ((vendor, "token-a"), (vendor, "token-b"), (other, "token-a")):
            session(asked, token, rates, sleep=pytest.fail).get("/things")


def test_a_turn_that_comes_after_the_budget_is_not_waited_for() -> None:
    with counting() as vendor:
        asking = Session(
            vendor.url, classify=lambda _: Ok(), rates=[Rate(1, 30)], budget=timedelta(seconds=20), sleep=pytest.fail
        )
        asking.get("/things")
        with pytest.raises(TransientError, match=r"/things: not asked, the stream has taken longer than 0:00:20"):
            asking.get("/things")
    assert len(vendor.arrived) == 1


def test_a_call_that_fails_counts_and_holds_nobody_up_for_longer() -> None:
    with counting() as vendor:
        rates = [Rate(1, 0.1)]
        refused = session(Vendor("http://127.0.0.1:9"), "third", rates)
        for _ in range(3):
            with pytest.raises(TransientError):
                refused.get("/things")
        session(vendor, "third", rates).get("/things")
    assert len(vendor.arrived) == 1


def search(vendor: Vendor, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    monkeypatch.setenv("HUBSPOT_BASE_URL", vendor.url)
    monkeypatch.setenv("HUBSPOT_ACCESS_TOKEN", "a-token-of-this-test")
    config = Config.model_construct(
        start_date=date(2026, 10, 1), system_of_record="hubspot", sources={"hubspot": SourceConfig()}
    )
    client = hubspot.connect(config)
    for _ in range(calls):
        client.session.post("/crm/objects/2026-03/contacts/search", {})


def test_hubspot_s_search_is_asked_five_times_a_second_at_hubspot_and_at_will_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    with counting() as vendor:
        search(vendor, monkeypatch, 30)
        assert vendor.violations(5, 1) > 0
        vendor.arrived.clear()
        monkeypatch.setattr(hubspot, "BASE_URL", vendor.url)
        search(vendor, monkeypatch, 11)
        assert vendor.violations(5, 1) == 0


def test_threads_whose_token_expires_at_once_renew_it_once() -> None:
    together, tokens = Barrier(4), Tokens()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        expired = handler.headers["Authorization"] == "Bearer token-1"
        if expired:
            together.wait(30)
        answer(status=401 if expired else 200)(handler)

    def classify(response: object) -> Outcome:
        return Reauth() if getattr(response, "status_code", 0) == 401 else Ok()

    with serving(reply) as server, ThreadPoolExecutor(4) as threads:
        asking = Session(server.url, classify=classify, auth=tokens)
        for _ in threads.map(asking.get, ["/things"] * 4):
            pass
    assert tokens.number == 2
    assert asking.calls == 8
