"""OAuth tokens: refreshed early and once, rotated refresh tokens kept, over a real token endpoint."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from time import sleep
from typing import Any
from urllib.parse import parse_qsl

import pytest
import time_machine

from b2b_pipeline.configuration.settings import secret
from b2b_pipeline.connectors.auth import EARLY, OAuthToken, StaticToken
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.privacy import mask

GIVEN = "refresh-0"


@dataclass
class Endpoint:
    """A vendor that takes each refresh token once and gives the next, as RFC 6749 allows (section 6)."""

    rotates: bool = True
    status: int = 200
    body: bytes | None = None
    lifetime: int | None = 3600
    pause: float = 0
    url: str = ""
    valid: str = GIVEN
    forms: list[dict[str, str]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        with self.lock:
            self.forms.append(form)
            sleep(self.pause)
            number = len(self.forms)
            if self.body is not None or self.status != 200:
                return self.status, self.body or b"<html>"
            token: dict[str, Any] = {"access_token": f"access-{number}", "instance_url": "https://one.example"}
            if form["grant_type"] == "refresh_token":
                if form["refresh_token"] != self.valid:
                    return 400, b'{"error": "invalid_grant", "error_description": "refresh-0 was spent"}'
                if self.rotates:
                    self.valid = token["refresh_token"] = f"refresh-{number}"
            return 200, json.dumps(token | ({"expires_in": self.lifetime} if self.lifetime else {})).encode()


@contextmanager
def serving(endpoint: Endpoint) -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            status, body = endpoint.answer(form | {"Authorization": self.headers.get("Authorization", "")})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/token"
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def token(endpoint: Endpoint, store: Path, given: str = GIVEN, **options: Any) -> OAuthToken:
    form = {"client_id": "me", "client_secret": "client-secret", "grant_type": "refresh_token", "refresh_token": given}
    return OAuthToken(endpoint.url, form, store=store, **options)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "credentials" / "vendor.json"


def bearer(auth: OAuthToken) -> str:
    return auth.headers()["Authorization"].removeprefix("Bearer ")


# -- in time, and once


@pytest.mark.parametrize("lifetime", [3600, None])
def test_a_token_is_renewed_shortly_before_it_expires(lifetime: int | None, store: Path) -> None:
    with serving(Endpoint(lifetime=lifetime)) as endpoint, time_machine.travel(0, tick=False) as clock:
        auth = token(endpoint, store, lifetime=3600)
        assert bearer(auth) == "access-1"
        clock.shift(3600 - EARLY - 1)
        assert bearer(auth) == "access-1"
        clock.shift(2)
        assert bearer(auth) == "access-2"
    assert [form["refresh_token"] for form in endpoint.forms] == ["refresh-0", "refresh-1"]


def test_a_token_that_the_vendor_refuses_is_replaced_before_its_time(store: Path) -> None:
    with serving(Endpoint()) as endpoint:
        auth = token(endpoint, store)
        assert bearer(auth) == "access-1"
        auth.refresh()
        assert bearer(auth) == "access-2"


def test_threads_that_need_a_token_at_once_get_the_same_one(store: Path) -> None:
    with serving(Endpoint(rotates=False, pause=0.05)) as endpoint:
        auth = token(endpoint, store)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: bearer(auth), range(8))) == {"access-1"}
    assert len(endpoint.forms) == 1


def test_processes_that_need_a_token_at_once_spend_the_refresh_token_once(store: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from b2b_pipeline.connectors.auth import OAuthToken\n"
        "form = {'grant_type': 'refresh_token', 'refresh_token': sys.argv[3]}\n"
        "auth = OAuthToken(sys.argv[1], form, store=Path(sys.argv[2]))\n"
        "print('ready', flush=True); sys.stdin.readline(); print(auth.headers()['Authorization'])\n"
    )
    with serving(Endpoint(pause=0.3)) as endpoint:
        command = [sys.executable, "-c", program, endpoint.url, str(store), GIVEN]
        children = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(2)]
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        assert [child.communicate()[0] for child in children] == ["Bearer access-1\n"] * 2
    assert [form["refresh_token"] for form in endpoint.forms] == [GIVEN]


# -- refresh tokens that rotate


def test_a_rotated_refresh_token_is_kept_for_the_next_process(store: Path) -> None:
    with serving(Endpoint()) as endpoint, time_machine.travel(0, tick=False) as clock:
        assert bearer(token(endpoint, store)) == "access-1"
        assert bearer(token(endpoint, store)) == "access-1"  # what the other one got is still good
        clock.shift(3600)
        assert bearer(token(endpoint, store)) == "access-2"
    assert [form["refresh_token"] for form in endpoint.forms] == ["refresh-0", "refresh-1"]


def test_it_is_kept_before_the_token_is_used_and_for_its_owner_alone(store: Path) -> None:
    kept: list[str] = []

    def look(answer: Mapping[str, Any]) -> None:
        assert answer["instance_url"] == "https://one.example"
        kept.append(json.loads(store.read_text())["token"]["refresh_token"])

    with serving(Endpoint()) as endpoint:
        token(endpoint, store, on_token=look).refresh()
    assert kept == ["refresh-1"]
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in store.parent.iterdir()) == ["vendor.json", "vendor.json.lock"]
    assert mask("access-1 refresh-0 refresh-1 client-secret") == "*** *** *** ***"


def test_a_refresh_token_put_into_the_environment_since_takes_the_place_of_the_kept_one(store: Path) -> None:
    with serving(Endpoint()) as endpoint:
        token(endpoint, store).refresh()
        endpoint.valid = "refresh-new"
        assert bearer(token(endpoint, store, "refresh-new")) == "access-2"
        assert bearer(token(endpoint, store, "refresh-new")) == "access-2"
    assert [form["refresh_token"] for form in endpoint.forms] == [GIVEN, "refresh-new"]


def test_one_token_serves_all_processes_of_a_night_until_the_credentials_change(store: Path) -> None:
    form = {"client_id": "me", "client_secret": "client-secret", "grant_type": "client_credentials"}
    with serving(Endpoint(rotates=False)) as endpoint:
        asked = [bearer(OAuthToken(endpoint.url, form, store=store)) for _ in range(3)]
        assert asked == ["access-1"] * 3
        other = OAuthToken(endpoint.url, form | {"client_secret": "client-secret-2"}, store=store)
        assert bearer(other) == "access-2", "whether a new secret is right is found out at once"
        other.refresh()
        assert bearer(OAuthToken(endpoint.url, form | {"client_secret": "client-secret-2"}, store=store)) == "access-3"
    assert "refresh_token" not in endpoint.forms[0]
    assert "client-secret" not in store.read_text()


def test_a_rotated_refresh_token_outlives_a_new_client_secret(store: Path) -> None:
    with serving(Endpoint()) as endpoint:
        form = {"client_secret": "client-secret", "grant_type": "refresh_token", "refresh_token": GIVEN}
        assert bearer(OAuthToken(endpoint.url, form, store=store)) == "access-1"
        assert bearer(OAuthToken(endpoint.url, form | {"client_secret": "another"}, store=store)) == "access-2"
    assert [sent["refresh_token"] for sent in endpoint.forms] == [GIVEN, "refresh-1"]


# -- refusals and outages


def test_a_refused_refresh_token_is_an_authentication_error_that_tells_the_reason_and_no_secret(store: Path) -> None:
    with serving(Endpoint(valid="another")) as endpoint, pytest.raises(AuthError) as error:
        token(endpoint, store).refresh()
    place = endpoint.url.removeprefix("http://")
    assert str(error.value) == f"{place}: status 400, invalid_grant: *** was spent"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, None, TransientError),
        (503, b'{"error": "server_error"}', TransientError),
        (429, b"{}", TransientError),
        (200, b"<html>the proxy is down</html>", TransientError),
        (400, b'{"error": "unknown_error", "error_description": "retry your request"}', TransientError),
        (400, b'{"error": "server_error"}', TransientError),
        (401, b'{"error": "temporarily_unavailable"}', TransientError),
        (400, b'{"error": "inactive_user", "error_description": "user is inactive"}', AuthError),
        (400, b'{"error": "invalid_client_id"}', AuthError),
        (200, b'{"access_token": ""}', AuthError),
        (200, b"[]", AuthError),
        (404, b"<html>", AuthError),
        (302, b"", AuthError),
    ],
)
def test_an_outage_may_pass_and_a_refusal_stays(status: int, body: bytes, error: type[Exception], store: Path) -> None:
    with serving(Endpoint(status=status, body=body)) as endpoint, pytest.raises(error, match=f"status {status}") as got:
        token(endpoint, store).refresh()
    assert type(got.value) is error


def test_a_token_endpoint_that_is_down_is_a_transient_error(store: Path) -> None:
    with serving(Endpoint()) as endpoint:
        pass
    with pytest.raises(TransientError, match=r"^token endpoint of 127\.0\.0\.1: connection refused: the sandbox"):
        token(endpoint, store).headers()


def test_a_netrc_file_adds_nothing_to_the_token_request(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(Endpoint()) as endpoint:
        token(endpoint, store).refresh()
    assert endpoint.forms[0]["Authorization"] == ""


def test_a_fixed_token_that_is_refused_asks_for_a_new_one() -> None:
    auth = StaticToken("fixed-token")
    assert auth.headers() == {"Authorization": "Bearer fixed-token"}
    with pytest.raises(AuthError, match="put a new one into the environment"):
        auth.refresh()


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_missing_credential_is_an_authentication_error_that_names_it(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VENDOR_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("VENDOR_TOKEN", value)
    with pytest.raises(AuthError, match="VENDOR_TOKEN is not set"):
        secret("VENDOR_TOKEN")


def test_a_line_break_copied_along_with_a_credential_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_TOKEN", " copied-token\n")
    assert secret("VENDOR_TOKEN") == "copied-token"
