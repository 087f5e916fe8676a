"""Reports that a vendor makes ready while we wait, from servers that count what is ordered."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import time_machine

from b2b_pipeline.connectors.base import Page, Record
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Session, Skip
from b2b_pipeline.connectors.jobs import Done, Failed, Gone, Job, Kept, Running, State, read
from b2b_pipeline.errors import PermanentError, SkippedError, SplitError, TransientError
from b2b_pipeline_tests.connectors.test_http import Server, Tokens, answer, serving

OVER = datetime(2026, 5, 21, tzinfo=UTC)
NOW = datetime(2026, 5, 21, 3, tzinfo=UTC)
PAST = "2026-05-20"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    with time_machine.travel(NOW, tick=True):
        yield


@dataclass
class Vendor:
    """Makes reports of three rows, which lie on another host. `states` are told in turn, the last again and again."""

    api: Server
    files: Server
    states: list[str] = field(default_factory=lambda: ["Pending", "Success"])
    reason: str = ""
    ordered: int = 0
    rows: int = 3
    known: set[str] = field(default_factory=set)

    def reply(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "POST":
            self.ordered += 1
            self.known.add(f"/reports/{self.ordered}")
            told: dict[str, Any] = {"id": self.ordered}
        elif handler.path not in self.known:
            return answer(b"{}", 404)(handler)
        else:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            told = {
                "status": state,
                "reason": self.reason,
                "rows": 3,
                "url": f"{self.files.url}/{handler.path[9:]}.jsonl",
            }
        return answer(json.dumps(told).encode())(handler)

    def file(self, handler: BaseHTTPRequestHandler) -> None:
        lines = [json.dumps({"file": handler.path, "n": number}) for number in range(self.rows)]
        answer("\n".join(lines).encode())(handler)


@contextmanager
def vendor() -> Iterator[Vendor]:
    with ExitStack() as stack:
        api, files = (stack.enter_context(serving()) for _ in range(2))
        found = Vendor(api, files)
        api.replies, files.replies = [found.reply], [found.file]
        yield found


def classify(response: Any) -> Outcome:
    return {200: Ok(), 404: Skip("no such report")}.get(response.status_code, Fatal("refused"))


def job(vendor: Vendor) -> Job:
    """As of a vendor of ads: order, look, and download from a host that gets no token."""
    api = Session(vendor.api.url, classify=classify, auth=Tokens())

    def submit() -> str:
        return str(api.post("/reports", {"days": PAST}).json()["id"])

    def poll(identifier: str) -> State:
        try:
            told = api.get(f"/reports/{identifier}").json()
        except SkippedError:
            return Gone()
        if told["status"] == "Error":
            error = SplitError if "too many rows" in told["reason"] else PermanentError
            return Failed(error(f"the vendor: {told['reason']}"))
        return Done(told["rows"], told["url"]) if told["status"] == "Success" else Running()

    def download(identifier: str, done: Done) -> Iterator[Page]:
        host, _, path = done.url.rpartition("/")
        got = Session(host, classify=classify).get(path)
        for line in got.response.content.splitlines():
            yield Page([json.loads(line)], got.request)

    return Job("Vendor's report", submit, poll, download)


def kept(over: datetime = OVER, **question: Any) -> Kept:
    return Kept.of("vendor", {"account": "1", "days": PAST, **question}, over)


def rows(
    vendor: Vendor, keep: Kept | None = None, sleep: Callable[[float], None] = lambda _: None, deadline: float = 3600
) -> list[Record]:
    pages = read(job(vendor), keep or kept(), sleep=sleep, deadline=deadline)
    return [record for page in pages for record in page.records]


def interrupted(seconds: float) -> None:
    raise KeyboardInterrupt


def test_a_report_is_looked_at_with_growing_pauses_and_downloaded_from_where_the_vendor_says() -> None:
    slept: list[float] = []
    with vendor() as asked:
        asked.states = ["Pending"] * 12 + ["Success"]
        assert rows(asked, sleep=slept.append) == [{"file": "/1.jsonl", "n": number} for number in range(3)]
    assert slept[:3] == [1, 1.5, 2.25]
    assert slept == sorted(slept)
    assert max(slept) == 30
    assert all("Authorization" in headers for headers in asked.api.headers)
    assert not any("Authorization" in headers for headers in asked.files.headers)
    assert not kept().path.exists()


def test_who_is_interrupted_while_a_report_is_made_does_not_order_another_one() -> None:
    with vendor() as asked:
        with pytest.raises(KeyboardInterrupt):
            rows(asked, sleep=interrupted)
        assert stat.S_IMODE(kept().path.stat().st_mode) == 0o600
        assert len(rows(asked)) == 3
        assert asked.ordered == 1
        assert len(rows(asked)) == 3, "it was downloaded: what is asked for again is of now"
    assert asked.ordered == 2


def test_a_download_that_breaks_off_is_begun_again_from_the_same_report() -> None:
    with vendor() as asked:
        pages = read(job(asked), kept(), sleep=lambda _: None)
        next(pages)
        pages.close()
        asked.files.replies.insert(0, answer(b"{}", 500))
        with pytest.raises(PermanentError):
            rows(asked)
        assert len(rows(asked)) == 3
    assert asked.ordered == 1


def test_another_question_does_not_get_this_one_s_report() -> None:
    with vendor() as asked:
        with pytest.raises(KeyboardInterrupt):
            rows(asked, sleep=interrupted)
        assert rows(asked, kept(account="2"))[0]["file"] == "/2.jsonl"
        assert rows(asked)[0]["file"] == "/1.jsonl"


def test_a_report_that_is_not_made_in_time_is_waited_for_by_the_next_read() -> None:
    slept: list[float] = []
    with vendor() as asked:
        asked.states = ["Pending"]
        with pytest.raises(TransientError, match=r"Vendor's report 1: not complete after \d+ s, the next read goes on"):
            rows(asked, sleep=slept.append, deadline=100)
        assert 100 <= sum(slept) < 130
        asked.states = ["Success"]
        assert rows(asked)[0]["file"] == "/1.jsonl"
    assert asked.ordered == 1


def test_a_report_that_is_gone_is_ordered_anew_once() -> None:
    with vendor() as asked:
        with pytest.raises(KeyboardInterrupt):
            rows(asked, sleep=interrupted)
        asked.known.clear()
        assert rows(asked)[0]["file"] == "/2.jsonl"
        asked.states = ["Pending", "Pending", "Success"]
        with pytest.raises(TransientError, match="Vendor's report 3: gone before it was done"):
            rows(asked, sleep=lambda _: asked.known.clear())
        assert not kept().path.exists()
    assert asked.ordered == 3


def test_a_file_that_is_gone_is_no_account_that_is_left_out() -> None:
    with vendor() as asked:
        asked.files.replies.insert(0, answer(b"{}", 404))
        with pytest.raises(TransientError, match="Vendor's report 1: gone while it was read"):
            rows(asked)
        assert len(rows(asked)) == 3
    assert asked.ordered == 2


@pytest.mark.parametrize(("reason", "error"), [("too many rows", SplitError), ("no such field", PermanentError)])
def test_a_report_that_fails_tells_the_vendor_s_reason_and_is_ordered_anew_the_next_time(
    reason: str, error: type[Exception]
) -> None:
    with vendor() as asked:
        with pytest.raises(KeyboardInterrupt):
            rows(asked, sleep=interrupted)
        asked.states, asked.reason = ["Error"], reason
        with pytest.raises(error, match=reason):
            rows(asked)
        assert asked.ordered == 1
        asked.states = ["Success"]
        assert rows(asked)[0]["file"] == "/2.jsonl"


def test_fewer_rows_than_announced_are_an_error_and_never_the_whole_report() -> None:
    with vendor() as asked:
        asked.rows = 2
        with pytest.raises(TransientError, match="Vendor's report 1: it processed 3 rows, 2 received"):
            rows(asked)
        asked.rows = 3
        assert len(rows(asked)) == 3
    assert asked.ordered == 2


@pytest.mark.parametrize(
    ("over", "later", "is_taken_up"),
    [
        (OVER, timedelta(hours=5), True),
        (OVER, timedelta(hours=7), False),  # the vendor may say something else by now
        (OVER, timedelta(minutes=-10), False),  # the clock was put back
        (NOW + timedelta(hours=1), timedelta(hours=2), False),  # the day was not over when it was ordered
    ],
)
def test_a_report_from_before_its_days_were_over_or_from_long_ago_is_not_taken_for_one_of_now(
    over: datetime, later: timedelta, is_taken_up: bool
) -> None:
    with vendor() as asked:
        with pytest.raises(KeyboardInterrupt):
            rows(asked, kept(over), sleep=interrupted)
        with time_machine.travel(NOW + later, tick=True):
            assert len(rows(asked, kept(over))) == 3
    assert asked.ordered == (1 if is_taken_up else 2)


def test_ids_that_nobody_came_back_for_are_cleared_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    with vendor() as asked:
        with pytest.raises(KeyboardInterrupt):
            rows(asked, kept(account="old"), sleep=interrupted)
        kept().path.write_text("{")
        asked.states = ["Pending"]
        later = datetime.now(UTC) + timedelta(days=4000)
        with time_machine.travel(later, tick=True), pytest.raises(KeyboardInterrupt):
            rows(asked, sleep=interrupted)
        assert [path.name for path in (tmp_path / "jobs" / "vendor").iterdir()] == [kept().path.name]
    assert asked.ordered == 2
