"""What comes in by the collector's door, what does not, and what is kept of it; over HTTP, on a real disk."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from b2b_pipeline.cli import app
from b2b_pipeline.collect import server as serving
from b2b_pipeline.collect.events import device
from b2b_pipeline.collect.server import BODY, Doors, doors
from b2b_pipeline.errors import ConfigError, DamagedError
from b2b_pipeline.landing import spool as spooling
from b2b_pipeline.landing.spool import Spool
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline_tests.support.collecting import CHROME, KEY, ORIGIN, READER, SERVER, Site, collecting

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
ADDRESS = "Ida.Zimmer@client.example"


@pytest.fixture
def names(tmp_path: Path) -> Pseudonyms:
    return Pseudonyms(b"k" * 32, tmp_path / "forgotten.json", ["qa+*@*"])


@pytest.fixture
def site(tmp_path: Path, names: Pseudonyms) -> Iterator[Site]:
    with collecting(tmp_path / "collected", names, NOON) as found:
        yield found


def by_server(site: Site, *events: dict[str, Any], token: str = SERVER) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "User-Agent": "gtm-server"}
    return requests.post(f"{site.url}/collect", json=list(events), headers=headers, timeout=30)


def read(site: Site, token: str = READER, **asked: Any) -> requests.Response:
    window = {"since": "2026-06-15T00:00:00Z", "until": "2026-06-15T12:00:00Z", **asked}
    return requests.get(f"{site.url}/events", window, headers={"Authorization": f"Bearer {token}"}, timeout=30)


# -- what is kept


def test_an_event_that_is_taken_is_on_the_disk_with_nothing_in_it_by_which_somebody_is_known(site: Site) -> None:
    page = f"{ORIGIN}/demo/{ADDRESS}?utm_source=Google&utm_medium=cpc&gclid=Cj0secret&token=abc&mail=x@client.example"
    event = site.event("form_submit", "cookie-4711", page=page, referrer="https://www.google.com/search?q=ida+zimmer",
                       email=ADDRESS, form_name="Demo")  # fmt: skip
    assert site.post(event).status_code == 204
    (kept,) = site.kept()
    assert kept["page"].startswith("www.ourcompany.example/demo/h1:")
    assert (kept["utm_source"], kept["utm_medium"], kept["click_id"]) == ("Google", "cpc", "gclid")
    assert (kept["referrer"], kept["device"], kept["is_bot"]) == ("www.google.com", "desktop", False)
    assert kept["email"].endswith("@client.example")
    text = site.on_disk().lower()
    for word in ("ida.zimmer", "cookie-4711", "cj0secret", "token", "abc", "zimmer", "127.0.0.1", "mozilla", "chrome"):
        assert word not in text, word


def test_the_same_address_in_another_spelling_is_the_same_person_and_test_leads_are_marked(
    site: Site, names: Pseudonyms
) -> None:
    for email in (ADDRESS, ADDRESS.upper(), "qa+1@ourcompany.example"):
        assert site.post(site.event("identify", email=email)).status_code == 204
    one, other, test = site.kept()
    assert one["email"] == other["email"] == names.email("ida.zimmer@client.example")
    assert test["_excluded_by"] == "qa+*@*"


def test_without_consent_no_id_is_kept_and_nothing_said_of_it_is_no_consent(site: Site) -> None:
    event = site.event("form_submit", email=ADDRESS)
    for consent in ({"consent": "denied"}, {}):
        said = {name: value for name, value in event.items() if name not in ("consent", "id")}
        assert site.post({**said, "id": f"without-{len(consent)}", **consent}).status_code == 204
    assert len(site.kept()) == 2
    for kept in site.kept():
        assert not {"visitor", "email", "user", "account"} & kept.keys()
        assert kept["form_id"] == "demo"


@pytest.mark.parametrize(
    ("agent", "is_bot", "kind"),
    [
        (CHROME, False, "desktop"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148", False, "mobile"),
        ("Mozilla/5.0 (Linux; Android 14; SM-X700) AppleWebKit/537.36", False, "tablet"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", True, "desktop"),
        ("Mozilla/5.0 HeadlessChrome/120", True, "desktop"),
        ("python-requests/2.34", True, "desktop"),
        ("", True, None),
    ],
)
def test_bots_and_devices_are_told_by_what_a_browser_calls_itself(
    site: Site, agent: str, is_bot: bool, kind: str | None
) -> None:
    assert site.post(site.event(), {"User-Agent": agent}).status_code == 204
    (kept,) = site.kept()
    assert (kept["is_bot"], kept.get("device")) == (is_bot, kind)
    assert device(agent) == kind


def test_what_our_server_says_of_a_visitor_is_taken_and_what_it_calls_itself_is_not(site: Site) -> None:
    event = site.event("product_event", name="activated", user="u-17", account="acme", user_agent=CHROME, country="DE")
    assert by_server(site, event).status_code == 204
    (kept,) = site.kept()
    assert (kept["via"], kept["country"], kept["device"], kept["account"]) == ("server", "DE", "desktop", "acme")
    assert kept["user"].startswith("h1:")


# -- who is let in


def test_only_who_has_a_key_or_a_token_may_write_and_only_the_reader_may_read(site: Site) -> None:
    event = site.event()
    for answer in (
        site.post(event, key="another"), site.post(event, key=""), by_server(site, event, token=READER),
        by_server(site, event, token="wrong"), site.post(event, {"Authorization": "Basic abc"}),
        site.post(event, {"Authorization": "Bearer é".encode()}), read(site, SERVER), read(site, KEY), read(site, ""),
    ):  # fmt: skip
        assert answer.status_code == 401, answer.text
    assert site.kept() == []
    assert read(site).json()["events"] == []


def test_pages_of_other_origins_may_not_write_and_browsers_are_told_who_may(site: Site) -> None:
    for origin in ("https://evil.example", "null", "", "http://www.ourcompany.example", f"{ORIGIN}.evil.example"):
        answer = site.post(site.event(), {"Origin": origin})
        assert answer.status_code == 403, origin
        assert "Access-Control-Allow-Origin" not in answer.headers
        asked = requests.options(f"{site.url}/collect", headers={"Origin": origin}, timeout=30)
        assert (asked.status_code, "Access-Control-Allow-Origin" in asked.headers) == (403, False)
    asked = requests.options(f"{site.url}/collect", headers={"Origin": ORIGIN}, timeout=30)
    assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
    assert asked.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in asked.headers
    refused = site.post(b"nonsense")
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (422, ORIGIN)
    assert site.kept() == []


def test_who_comes_too_often_is_told_when_to_come_again(tmp_path: Path, names: Pseudonyms) -> None:
    with collecting(tmp_path / "collected", names, NOON, per_second=0.1, burst=3) as site:
        answers = [site.post(site.event()) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [204, 204, 204, 429, 429]
        assert int(answers[-1].headers["Retry-After"]) > 1
        assert by_server(site, site.event()).status_code == 204, "our server does not wait for browsers"


def test_what_makes_no_safe_door_is_refused_when_it_starts() -> None:
    whole = {"COLLECTOR_TOKEN": READER, "COLLECTOR_SERVER_TOKEN": SERVER}
    assert doors({**whole, "COLLECTOR_WRITE_KEY": KEY, "COLLECTOR_ORIGINS": f"{ORIGIN}/, https://b.example"}, ()) == (
        Doors(READER, SERVER, KEY, frozenset([ORIGIN, "https://b.example"]))
    )
    for wrong, told in (
        ({}, "COLLECTOR_TOKEN is not set"), ({"COLLECTOR_TOKEN": READER}, "nobody may send"),
        ({**whole, "COLLECTOR_TOKEN": "short"}, "can be guessed"),
        ({**whole, "COLLECTOR_SERVER_TOKEN": READER}, "may not be COLLECTOR_TOKEN"),
        ({**whole, "COLLECTOR_WRITE_KEY": KEY}, "COLLECTOR_ORIGINS"),
        ({**whole, "COLLECTOR_WRITE_KEY": KEY, "COLLECTOR_ORIGINS": "*"}, "COLLECTOR_ORIGINS"),
        ({**whole, "COLLECTOR_WRITE_KEY": SERVER, "COLLECTOR_ORIGINS": ORIGIN}, "may not be a token"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            doors(wrong, ())


# -- what is refused


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "purchase"}, "0.type"), ({"id": "short"}, "0.id"), ({"id": None}, "0.id"), ({"page": None}, "0"),
        ({"page": "javascript:alert(1)"}, "0.page"), ({"page": "https://"}, "0.page"), ({"page": "http://["}, "0.page"),
        ({"page": "https://a.example/" + "x" * 5000}, "0.page"), ({"password": "hunter22"}, "0.?"),
        ({"engaged_ms": 10**9}, "0.engaged_ms"), ({"email": "no address"}, "0.email"), ({"consent": "y"}, "0.consent"),
        ({"email": f"h1:{'a' * 32}@client.example"}, "0.email"), ({"visitor": f"h1:{'a' * 32}"}, "0.visitor"),
        ({"form_name": "a\x00b"}, "0.form_name"), ({"at": "yesterday"}, "0.at"), ({"visitor": "x" * 300}, "0.visitor"),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused_by_the_field_and_never_repeated(
    site: Site, changes: dict[str, Any], field: str
) -> None:
    answer = site.post({**site.event(), **changes})
    assert answer.status_code == 422
    assert [told.partition(":")[0] for told in answer.json()["fields"]] == [field]
    for value in changes.values():
        assert not isinstance(value, str) or len(value) < 9 or value not in answer.text
    assert site.kept() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"7", b"{", b'{"type": "page_view"', b"[[]]", b'"text"', b"\xff\xfe", b"[" * 30_000,
     b'{"type":"page_view","id":"event-1","page":"https://a.example/\\ud800"}', b'{"type": NaN}'],
)  # fmt: skip
def test_what_is_no_json_object_is_refused_and_nothing_of_the_rest_is_kept(site: Site, body: bytes) -> None:
    assert site.post(body).status_code == 422
    assert site.post([site.event(), {"type": "page_view"}]).status_code == 422, "all or nothing"
    assert site.post([site.event() for _ in range(51)]).status_code == 422
    assert site.kept() == []


def test_a_body_that_is_too_large_is_not_read_whether_it_says_so_or_not(site: Site) -> None:
    assert site.post(b" " * (BODY + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(BODY // 1000 + 2):
            yield b" " * 1000

    headers = {"Origin": ORIGIN, "User-Agent": CHROME}
    answer = requests.post(f"{site.url}/collect?key={KEY}", endless(), headers=headers, timeout=30)
    assert answer.status_code == 413


def test_a_browser_may_not_say_what_only_our_server_can_know(site: Site) -> None:
    for said in ({"country": "DE"}, {"user_agent": CHROME}, {"user": "u-17"}, {"account": "acme"}):
        answer = site.post({**site.event(), **said})
        assert (answer.status_code, answer.json()["fields"]) == (
            403,
            [f"0.{next(iter(said))}: only a server may say it"],
        )
    assert site.post(site.event("product_event", name="activated")).status_code == 403
    assert site.kept() == []


def test_a_time_that_no_clock_says_is_taken_for_none(site: Site) -> None:
    for at in (0, 12_345, "0001-01-01T00:00:00Z"):
        assert site.post({**site.event(), "at": at}).status_code == 204
    assert site.post({**site.event(), "at": 1_781_524_800_000}).status_code == 204
    assert [event.get("at") for event in site.kept()] == [None, None, None, "2026-06-15T12:00:00.000Z"]


# -- the disk


def test_a_full_disk_is_told_and_leaves_no_half_line_behind(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site.post(site.event()).status_code == 204
    before, write = site.on_disk(), os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) > 40:
            return write(descriptor, data[:40])
        raise OSError(errno.ENOSPC, "No space left on device")

    def half_full(descriptor: int, data: memoryview) -> int:
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        return write(descriptor, data[:40])

    monkeypatch.setattr(spooling.os, "write", half_full)
    answer = site.post(site.event())
    monkeypatch.undo()
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN, "else the tag cannot see that it has to try again"
    assert site.on_disk() == before
    assert site.post(site.event()).status_code == 204
    assert len(site.kept()) == 2


def test_a_204_waits_for_the_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(spooling.os, "fsync", broken)
    assert site.post(site.event()).status_code == 503
    assert requests.get(f"{site.url}/healthz", timeout=30).status_code == 503
    monkeypatch.undo()
    assert site.kept() == [], "who was told that it is not kept sends it again"
    assert requests.get(f"{site.url}/healthz", timeout=30).json() == {"ok": True}


def test_a_half_line_of_a_writer_that_died_is_no_event_and_harms_none(site: Site) -> None:
    assert site.post(site.event()).status_code == 204
    (path,) = site.spool.folder.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'0123456789abcdef {"type":"page_vi')
    assert len(site.kept()) == 1
    assert site.post(site.event()).status_code == 204
    assert len(site.kept()) == 2


def test_a_line_that_is_not_what_was_written_is_told_and_not_passed_over(site: Site) -> None:
    for _ in range(3):
        assert site.post(site.event()).status_code == 204
    (path,) = site.spool.folder.glob("*.jsonl")
    path.write_text(path.read_text().replace('"type":"page_view"', '"type":"ping"', 1))
    with pytest.raises(DamagedError, match="1 of its lines are not what was written"):
        site.kept()
    answer = read(site, until="2026-06-15T12:00:00Z", since="2026-06-15T11:00:00Z")
    assert answer.status_code == 409
    assert "restore" in answer.json()["error"]


def test_threads_and_processes_write_to_one_folder_and_nothing_is_lost(
    site: Site, names: Pseudonyms, tmp_path: Path
) -> None:
    program = f"""
from datetime import UTC, datetime
from pathlib import Path
from b2b_pipeline.landing.spool import Spool
from b2b_pipeline.privacy import Pseudonyms
spool = Spool(Path({str(site.spool.folder)!r}), Pseudonyms(b"k" * 32, Path({str(tmp_path / "forgotten.json")!r})))
for n in range(40):
    spool.write([{{"type": "ping", "id": f"other-{{n:04}}", "visitor": "x" * 100}}], lambda: datetime(2026, 6, 15, 12, tzinfo=UTC))
"""  # noqa: E501
    other = subprocess.Popen([sys.executable, "-c", program])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: site.post(site.event()).status_code, range(60)))
    assert other.wait(60) == 0
    assert set(answers) == {204}
    assert len({event["id"] for event in site.kept()}) == 100


# -- reading


def test_what_was_received_in_a_window_is_read_in_order_and_page_by_page(site: Site) -> None:
    sent = []
    for minute in (61, 1, 59, 30, 120):
        site.now = NOON - timedelta(minutes=minute)
        sent.append((site.now, site.event()["id"]))
        site.post({**site.event(), "id": sent[-1][1]})
    site.now = NOON
    window = {"since": "2026-06-15T11:00:00Z", "until": "2026-06-15T12:00:00Z"}
    asked = sorted((at, name) for at, name in sent if at >= NOON - timedelta(hours=1))
    assert [event["id"] for event in read(site, **window).json()["events"]] == [name for _, name in asked]
    pages, place = [], {"from": 0}
    while place is not None:
        body = read(site, **{**window, **place, "limit": 2}).json()
        pages.append([event["id"] for event in body["events"]])
        place = body["next"]
    assert [len(page) for page in pages] == [2, 1]
    assert [name for page in pages for name in page] == [name for _, name in asked]


def test_a_window_that_is_not_over_is_not_answered_and_one_that_is_none_is_refused(site: Site) -> None:
    assert read(site, until="2026-06-15T12:00:01Z").status_code == 425
    for asked in ({"since": "soon"}, {"until": "2026-06-15T12:00:00"}, {"from": "-1"}, {"since": ""}, {"limit": "all"}):
        assert read(site, **asked).status_code == 400, asked


def test_a_time_in_which_nobody_was_there_is_told(tmp_path: Path, names: Pseudonyms) -> None:
    spool = Spool(tmp_path, names)
    for minute in (0, 1, 2, 30, 31):
        spool.write([spooling.BEAT], lambda at=NOON + timedelta(minutes=minute): at)  # type: ignore[misc]
    told = [*spool.silences(NOON - timedelta(hours=1), NOON + timedelta(minutes=33))]
    assert told == [
        (NOON - timedelta(hours=1), NOON), (NOON + timedelta(minutes=2), NOON + timedelta(minutes=30))
    ]  # fmt: skip
    assert [*spool.silences(NOON + timedelta(minutes=30), NOON + timedelta(minutes=33))] == []
    assert [*Spool(tmp_path / "never", names).silences(NOON, NOON + timedelta(days=1))] == [
        (NOON, NOON + timedelta(days=1))
    ]


def test_an_event_is_one_line_of_json_behind_its_checksum_in_the_file_of_its_hour(site: Site) -> None:
    site.post(site.event())
    (path,) = site.spool.folder.glob("*.jsonl")
    assert path.name == "2026-06-15T12.jsonl"
    assert path.stat().st_mode & 0o077 == 0
    lines = [json.loads(line.partition(" ")[2]) for line in path.read_text().splitlines()]
    assert [line["received_at"] for line in lines if line["type"] != "beat"] == ["2026-06-15T12:00:00.000Z"]


def test_events_of_one_moment_are_on_one_page_or_the_next_and_on_none_twice(site: Site) -> None:
    assert site.post([site.event() for _ in range(7)]).status_code == 204
    site.now = NOON + timedelta(seconds=1)
    names, place = [], {"since": "2026-06-15T12:00:00Z", "from": 0}
    while place is not None:
        body = read(site, **{**place, "until": "2026-06-15T12:00:01Z", "limit": 3}).json()
        names.append([event["id"] for event in body["events"]])
        place = body["next"]
    assert [len(page) for page in names] == [3, 3, 1]
    assert len({name for page in names for name in page}) == 7


def test_who_waits_no_longer_for_a_slow_disk_is_told_so_and_the_next_one_is_served(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        sleep(0.8)
        fsync(descriptor)

    monkeypatch.setattr(serving, "PATIENCE", 0.3)
    monkeypatch.setattr(spooling.os, "fsync", slow)
    assert site.post(site.event()).status_code == 503
    sleep(1.0)
    monkeypatch.undo()
    assert site.post(site.event()).status_code == 204


# -- the command


def test_the_command_receives_and_what_it_said_204_to_outlives_its_being_killed(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("start_date: 2026-06-10\nsystem_of_record: files\nsources: {}\n")
    tokens = {"COLLECTOR_TOKEN": READER, "COLLECTOR_WRITE_KEY": KEY, "COLLECTOR_ORIGINS": ORIGIN}
    home = {"B2B_HOME": str(tmp_path / "home"), "B2B_CONFIG": str(tmp_path / "pipeline.yaml"), "B2B_HASH_KEY": "k" * 32}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("B2B_", "COLLECTOR_"))}
    for _ in range(2):
        running = subprocess.Popen(
            [sys.executable, "-m", "b2b_pipeline.cli", "collect", "--port", "0"], cwd=tmp_path,
            env={**kept, **home, **tokens}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert running.stderr is not None
            told = [running.stderr.readline(), running.stderr.readline()]
            assert READER not in "".join(told)
            port = told[1].partition("127.0.0.1:")[2].partition(",")[0]
            site = Site(f"http://127.0.0.1:{port}", Spool(tmp_path / "home" / "collected"), datetime.now(UTC))
            event = {**site.event(), "id": f"event-of-{running.pid}"}
            assert site.post(event).status_code == 204
        finally:
            running.kill()
            running.wait()
            running.stderr.close() if running.stderr else None
        assert site.kept()[-1]["id"] == event["id"]
    assert len(site.kept()) == 2


def test_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("B2B_", "COLLECTOR_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("B2B_HOME", str(tmp_path / "home"))
    (tmp_path / "pipeline.yaml").write_text("start_date: 2026-06-10\nsystem_of_record: files\nsources: {}\n")
    found = CliRunner().invoke(app, ["collect"])
    assert (found.exit_code, "COLLECTOR_TOKEN is not set" in found.stderr) == (2, True)
