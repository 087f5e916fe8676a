"""The connectors' HTTP session, against a real server that misbehaves on request."""

from __future__ import annotations

import gzip
import json
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import pytest
import requests
import time_machine

from b2b_pipeline.connectors import http
from b2b_pipeline.connectors.http import (
    Answer,
    Classify,
    Fatal,
    Ok,
    Outcome,
    Reauth,
    Session,
    Skip,
    Split,
    Stop,
    Wait,
    follow,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.errors import (
    AuthError,
    PermanentError,
    PipelineError,
    QuotaError,
    SkippedError,
    SplitError,
    TransientError,
    UnreachableError,
)
from b2b_pipeline.privacy import keep_secret

SECRET = "topsecret-token-4711"
Reply = Callable[[BaseHTTPRequestHandler], None]


def answer(body: bytes = b"{}", status: int = 200, **headers: str) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def raw(text: bytes) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(text)
        hang_up(handler)

    return reply


@dataclass
class Server:
    """Gives the replies in turn, the last one again and again; remembers what it was asked."""

    url: str = ""
    replies: list[Reply] = field(default_factory=lambda: [answer()])
    asked: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)


@contextmanager
def serving(*replies: Reply) -> Iterator[Server]:
    found = Server(replies=list(replies) or [answer()])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            self.close_connection = True
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.asked.append(f"{self.command} {self.path}")
            found.headers.append(dict(self.headers))
            with suppress(OSError):  # when the client has given up, as it should
                (found.replies.pop(0) if len(found.replies) > 1 else found.replies[0])(self)

        do_GET = do_POST = do_DELETE = do_CONNECT = _reply

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def says(*outcomes: Outcome) -> Classify:
    """A classifier that says these in turn, then Ok."""
    left = iter(outcomes)
    return lambda _: next(left, Ok())


class Tokens:
    """Token 1, and the next one with each refresh."""

    def __init__(self) -> None:
        self.number = 1

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer token-{self.number}"}

    def refresh(self) -> None:
        self.number += 1


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts, and an environment without proxies."""
    monkeypatch.setattr(http, "RETRY", http.RETRY.new(backoff_factor=0, backoff_jitter=0))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


# -- what the vendor says


def test_a_throttled_request_waits_as_long_as_it_was_told_and_asks_again() -> None:
    slept: list[float] = []
    with serving() as server:
        session = Session(server.url, classify=says(Wait(2.5), Wait(7)), sleep=slept.append)
        assert session.get("/things", {"page": 2}).json() == {}
    assert slept == [2.5, 7]
    assert server.asked == ["GET /things?page=2"] * 3
    assert session.calls == 3


@pytest.mark.parametrize(
    ("seconds", "budget", "waits"),
    [(1, 600, http.MAX_WAITS), (100, 250, 2)],
)
def test_waiting_ends_with_a_transient_error_after_too_many_waits_or_too_long(
    seconds: float, budget: int, waits: int
) -> None:
    slept: list[float] = []
    with serving() as server:
        session = Session(
            server.url,
            classify=lambda _: Wait(seconds, "slow down"),
            max_wait=timedelta(seconds=budget),
            sleep=slept.append,
        )
        with pytest.raises(TransientError, match=f"slow down: gave up after {waits} waits"):
            session.get("/things")
    assert slept == [seconds] * waits
    assert len(server.asked) == waits + 1


def test_an_expired_token_is_refreshed_and_the_request_replayed_with_the_new_one() -> None:
    with serving() as server:
        Session(server.url, classify=says(Reauth()), auth=Tokens()).post("/query", {"q": 1})
    assert server.asked == ["POST /query"] * 2
    assert [headers["Authorization"] for headers in server.headers] == ["Bearer token-1", "Bearer token-2"]


def test_a_new_token_that_is_refused_too_is_not_replaced_again() -> None:
    tokens = Tokens()
    with serving() as server, pytest.raises(AuthError, match="even with a new token"):
        Session(server.url, classify=lambda _: Reauth(), auth=tokens).get("/things")
    assert tokens.number == 2
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Stop(datetime(2026, 1, 2, tzinfo=UTC), "why"), QuotaError),
        (Split("why"), SplitError),
        (Skip("why"), SkippedError),
        (Fatal("why"), PermanentError),
        (Fatal("why", auth=True), AuthError),
    ],
)
def test_each_other_outcome_is_its_own_error_at_once(outcome: Outcome, error: type[PipelineError]) -> None:
    with (
        serving(answer(status=418)) as server,
        pytest.raises(error, match=r"GET 127\..*/things: status 418, why") as got,
    ):
        Session(server.url, classify=says(outcome)).get("/things")
    assert type(got.value) is error
    assert len(server.asked) == 1
    if isinstance(outcome, Stop):
        assert isinstance(got.value, QuotaError)
        assert got.value.until == outcome.until


@pytest.mark.parametrize("seconds", [601, 86_400, float("inf")])
def test_a_wait_that_no_process_sits_out_says_until_when(seconds: float) -> None:
    now = datetime(2026, 11, 25, 2, tzinfo=UTC)
    until = now + timedelta(seconds=min(seconds, 7 * 86_400))
    with serving() as server, time_machine.travel(now, tick=False):
        session = Session(server.url, classify=lambda _: Wait(seconds, "slow down"), sleep=pytest.fail)
        with pytest.raises(QuotaError, match=f"slow down; wait until {until:%Y-%m-%d %H:%M} UTC") as got:
            session.get("/things")
        assert got.value.until == until
        assert wait_or_stop(seconds, "why") == Stop(until, "why")
        assert wait_or_stop(600, "why") == Wait(600, "why")
    assert len(server.asked) == 1


def test_retry_after_may_be_a_date() -> None:
    response = requests.Response()
    response.headers["Retry-After"] = "Wed, 25 Nov 2026 03:00:00 GMT"
    with time_machine.travel(datetime(2026, 11, 25, 2, tzinfo=UTC), tick=False):
        assert retry_after(response, 9) == 3600
    with time_machine.travel(datetime(2026, 11, 25, 4, tzinfo=UTC), tick=False):
        assert retry_after(response, 9) == 0


@pytest.mark.parametrize(("header", "seconds"), [("3", 3), ("0.5", 0.5), ("-1", 0), ("nan", 0), ("soon", 9), ("", 9)])
def test_nothing_but_a_number_or_a_date_in_retry_after_is_taken(header: str, seconds: float) -> None:
    response = requests.Response()
    response.headers["Retry-After"] = header
    assert retry_after(response, 9) == seconds


# -- the way there


def test_a_redirect_is_not_followed() -> None:
    with serving() as other, serving(answer(status=302, Location=f"{other.url}/elsewhere")) as server:
        response = Session(server.url, classify=says(), auth=Tokens()).get("/things").response
    assert response.status_code == 302
    assert not other.asked


def test_a_link_to_another_host_is_refused_and_gets_no_token() -> None:
    with serving() as other, serving() as server:
        session = Session(f"{server.url}/v1", classify=says(), auth=Tokens())
        session.get(f"{server.url}/v1/next?after=3")
        session.get("//other.example/things")
        for link in (other.url, server.url.replace("http:", "https:"), server.url.replace("//", "//me:too@")):
            with pytest.raises(PermanentError, match="refused to follow a link to another host"):
                session.get(f"{link}/next")
    assert not other.asked
    assert server.asked == ["GET /v1/next?after=3", "GET /v1/other.example/things"]


def test_a_server_that_never_answers_is_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT", (1, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        session = Session(f"http://127.0.0.1:{silent.getsockname()[1]}", classify=says())
        with pytest.raises(TransientError, match=r"/things: ConnectionError$"):
            session.get("/things")


def test_a_body_that_stops_half_way_is_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT", (1, 0.05))

    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
        sleep(0.3)

    with serving(stall) as server, pytest.raises(TransientError, match=r"/things: ConnectionError$"):
        Session(server.url, classify=says()).get("/things")


def trickle(text: bytes) -> Reply:
    """A byte every 20 ms, which no timeout of a single read notices."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        for byte in text:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            sleep(0.02)

    return reply


BODY = b" " * 500 + b"{}"


@pytest.mark.parametrize(
    "slow",
    [
        trickle(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 500),
        trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 502\r\n\r\n" + BODY),
        trickle(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY),
        trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f6\r\n" + BODY),
    ],
    ids=["its head", "its body", "a body without a length", "a chunk"],
)
def test_an_answer_that_comes_a_byte_at_a_time_meets_a_deadline(slow: Reply) -> None:
    with serving(slow) as server, pytest.raises(TransientError, match=r"/things: the answer took longer than 1.2 s"):
        Session(server.url, classify=says(), answer_seconds=1.2).get("/things")
    assert len(server.asked) == 1, "it is not asked again, to be as slow again"


def test_a_connection_serves_a_second_answer_after_its_first_deadline() -> None:
    with serving(answer(b'{"n": 1}', Connection="keep-alive")) as server:
        session = Session(server.url, classify=says(), answer_seconds=0.4)
        assert session.get("/things").json() == {"n": 1}
        sleep(0.5)
        assert session.get("/things").json() == {"n": 1}


def test_a_stream_that_takes_longer_than_its_budget_ends_between_two_answers() -> None:
    with serving() as server:
        session = Session(server.url, classify=says(), budget=timedelta(seconds=0.5))
        session.get("/things")
        sleep(0.6)
        with pytest.raises(TransientError, match=r"the stream has taken longer than 0:00:00\.5"):
            session.get("/things")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("url", "what", "fix"),
    [
        ("http://127.0.0.1:{port}", "connection refused", "the sandbox is not running: `b2b sandbox serve`"),
        ("http://nowhere.invalid", "no such host (DNS)", "see that nowhere.invalid is spelt right"),
        ("https://127.0.0.1:{plain}", "no secure connection (TLS)", "REQUESTS_CA_BUNDLE"),
    ],
)
def test_a_vendor_that_is_not_reached_is_told_from_one_that_refuses(url: str, what: str, fix: str) -> None:
    with serving() as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = url.format(port=closed.getsockname()[1], plain=server.url.rpartition(":")[2])
        with pytest.raises(UnreachableError) as got:
            Session(found, classify=says()).get("/things")
    assert what in got.value.what
    assert fix in got.value.fix
    assert str(got.value) == f"{got.value.what}: {got.value.fix}"


def test_lost_connections_are_tried_again() -> None:
    with serving(hang_up, hang_up, answer(b'{"ok": 1}')) as server:
        session = Session(server.url, classify=says())
        assert session.post("/things", {}).json() == {"ok": 1}
    assert len(server.asked) == 3
    assert session.calls == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_whether_an_error_of_the_server_is_tried_again_is_left_to_the_classifier_alone(status: int) -> None:
    with serving(answer(status=status)) as server, pytest.raises(PermanentError, match=f"status {status}, down"):
        Session(server.url, classify=says(Fatal("down"))).get("/things")
    assert len(server.asked) == 1


def test_half_of_a_character_becomes_a_question_mark_and_a_whole_one_stays() -> None:
    with serving(answer(b'{"name": "Acme \\uD83D", "ok": "\\ud83d\\ude00 \\u00e9"}')) as server:
        parsed = Session(server.url, classify=says()).get("/things").json()
    assert parsed == {"name": "Acme ?", "ok": "\U0001f600 \u00e9"}


def test_what_json_does_not_know_as_a_number_stays_to_be_seen() -> None:
    with serving(answer(b'{"amount": NaN, "other": -Infinity}')) as server:
        parsed = Session(server.url, classify=says()).get("/things").json()
    assert parsed == {"amount": "NaN", "other": "-Infinity"}


@pytest.mark.parametrize(
    "body",
    [
        "[18446744073709551616]", "[-9223372036854775809, 1]", '{"id":72157450123456789012}', "12345678901234567890",
        '{"amount": 0.1234567890123456789, "id": "72157450123456789012"}', '[1e22, -0.0, 5e-324, 1E5, 123456789.50]',
        '\ufeff{"a": 1}', '{"a": 1, "a": 2}', '{"at": "12, 1234567890123456789"}',
    ],
)  # fmt: skip
def test_an_answer_is_read_as_the_standard_library_reads_it_to_the_last_digit(body: str) -> None:
    with serving(answer(body.encode())) as server:
        parsed = Session(server.url, classify=says()).get("/things").json()
    assert repr(parsed) == repr(json.loads(body.encode()))


@pytest.mark.parametrize(
    "cut",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"rows": []}',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{"rows": []}\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\nplum",
    ],
    ids=["shorter than announced", "chunks without an end", "not gzip"],
)
def test_a_body_that_was_cut_off_never_counts_as_an_answer(cut: bytes) -> None:
    with serving(raw(cut)) as server, pytest.raises(TransientError, match="GET 127"):
        Session(server.url, classify=says()).get("/things")


def test_a_body_beyond_the_limit_is_refused_however_well_it_compresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 2**20)
    bomb = gzip.compress(b" " * 2**24)
    with serving(answer(bomb, Content_Encoding="gzip")) as server:
        session = Session(server.url, classify=says())
        with pytest.raises(PermanentError, match="body larger than 1048576 bytes"):
            session.get("/things")


def test_a_compressed_body_is_asked_for_and_read() -> None:
    with serving(answer(gzip.compress(b'{"rows": [1]}'), Content_Encoding="gzip")) as server:
        assert Session(server.url, classify=says()).get("/things").json() == {"rows": [1]}
    assert "gzip" in server.headers[0]["Accept-Encoding"]


# -- proxies and credentials of the environment


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answer(b'{"by": "proxy"}')) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert Session("http://vendor.example", classify=says()).get("/v1").json() == {"by": "proxy"}
    assert proxy.asked == ["GET http://vendor.example/v1"]


def test_an_encrypted_request_is_tunnelled_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answer(status=403)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(TransientError, match=r"GET vendor\.example/v1: the proxy refused or is not there: "):
            Session("https://vendor.example", classify=says(), auth=Tokens()).get("/v1")
    assert set(proxy.asked) == {"CONNECT vendor.example:443"}
    assert not any("Authorization" in headers for headers in proxy.headers)


def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as proxy, serving() as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        Session(server.url, classify=says()).get("/things")
    assert (len(server.asked), len(proxy.asked)) == (1, 0)


def test_credentials_in_a_netrc_file_are_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving() as server:
        assert requests.get(server.url, timeout=5).ok
        Session(server.url, classify=says()).get("/things")
        Session(server.url, classify=says(), auth=Tokens()).get("/things")
    assert [headers.get("Authorization", "")[:6] for headers in server.headers] == ["Basic ", "", "Bearer"]


# -- what is told


def test_a_body_that_is_no_json_is_told_by_status_length_and_hash_alone() -> None:
    body = b"<html>ann@example.com</html>"
    with serving(answer(body)) as server, pytest.raises(TransientError) as error:
        Session(server.url, classify=says()).get("/things").json()
    digest = sha256(body).hexdigest()[:16]
    host = server.url.removeprefix("http://")
    assert str(error.value) == f"{host}/things: status 200, body is not JSON ({len(body)} bytes, sha256 {digest})"


def test_json_nested_without_end_is_no_json() -> None:
    with serving(answer(b"[" * 200_000 + b"]" * 200_000)) as server, pytest.raises(TransientError, match="is not JSON"):
        Session(server.url, classify=says()).get("/things").json()


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (answer(b"body-ann@example.com", 400), Fatal(f"the vendor repeats {SECRET}")),
        (answer(b"body-ann@example.com", 429), Wait(9999)),
        (hang_up, Ok()),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nbody-ann@example.com"), Ok()),
        (answer(b"body-ann@example.com"), Ok()),
    ],
    ids=["refused", "throttled", "lost", "cut off", "not JSON"],
)
def test_neither_errors_nor_logs_hold_query_token_or_body(
    reply: Reply, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    keep_secret(SECRET)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")  # as clients of vendors in the same process do

    class Auth(Tokens):
        def headers(self) -> Mapping[str, str]:
            return {"Authorization": f"Bearer {SECRET}"}

    with serving(reply) as server:
        session = Session(server.url, classify=says(outcome), auth=Auth())
        with pytest.raises(PipelineError) as error:
            session.get(f"/things/{SECRET}", {"email": "query-ann@example.com"}).json()
    assert server.asked[0].endswith(f"/things/{SECRET}?email=query-ann%40example.com")
    told = f"{error.value!r} {error.getrepr(style='value')} {caplog.text}"
    assert "/things/***" in told
    for hidden in (SECRET, "query-ann", "body-ann"):
        assert hidden not in told


@pytest.mark.parametrize(
    ("url", "token"), [("vendor.example", "token"), ("http://127.0.0.1:9", "a\nb"), ("http://127.0.0.1:9", "“x”")]
)
def test_what_can_never_be_sent_is_a_permanent_error_without_the_token(url: str, token: str) -> None:
    class Auth(Tokens):
        def headers(self) -> Mapping[str, str]:
            return {"Authorization": f"Bearer {token}"}

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = url.replace(":9", f":{server.getsockname()[1]}")
        with pytest.raises(PermanentError) as error:
            Session(url, classify=says(), auth=Auth()).get("/things")
    assert repr(token)[1:-1] not in str(error.value)


# -- pages


def page(cursor: str | None) -> Answer:
    response = requests.Response()
    response.url, response._content = "https://vendor.example/things?key=1", json.dumps({"next": cursor}).encode()
    return Answer(response, "")


def next_of(answer: Answer) -> Any:
    return answer.json()["next"]


def test_every_page_is_asked_for_once() -> None:
    asked: list[str | None] = []
    pages = {None: "a", "a": "b", "b": None}

    def ask(cursor: str | None) -> Answer:
        asked.append(cursor)
        return page(pages[cursor])

    assert len(list(follow(ask, next_of))) == 3
    assert asked == [None, "a", "b"]


@pytest.mark.parametrize("pages", [{None: "a", "a": "a"}, {None: "a", "a": "b", "b": "a"}])
def test_a_page_cursor_that_repeats_ends_with_an_error(pages: dict[str | None, str | None]) -> None:
    with pytest.raises(TransientError, match=r"vendor\.example/things: the page cursor repeats"):
        list(follow(lambda cursor: page(pages[cursor]), next_of))


def test_a_listing_without_end_ends_with_an_error() -> None:
    with pytest.raises(TransientError, match="more than 5 pages"):
        list(follow(lambda cursor: page(f"{cursor}+"), next_of, max_pages=5))
