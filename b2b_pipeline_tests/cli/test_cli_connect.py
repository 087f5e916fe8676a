"""`b2b connect`: a user logs in at the vendor, agrees, and the refresh token is where `b2b` reads it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from typer.testing import CliRunner

from b2b_pipeline.cli import app as cli
from b2b_pipeline.connectors.authorize import Authorization, Login
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.errors import AuthError
from b2b_pipeline_tests.support.installation import served
from b2b_sandbox.generate import make_world

TOKEN = {
    "google_ads": "GOOGLE_ADS", "hubspot": "HUBSPOT", "linkedin_ads": "LINKEDIN_ADS",
    "linkedin_pages": "LINKEDIN_PAGES", "microsoft_ads": "MICROSOFT_ADS",
    "reddit_ads": "REDDIT_ADS", "salesforce": "SALESFORCE",
    "zoho_crm": "ZOHO_CRM",
    "klaviyo": "KLAVIYO",
    "ga4": "GA4", "search_console": "SEARCH_CONSOLE",
    "typeform": "TYPEFORM", "zendesk": "ZENDESK",
    "youtube": "YOUTUBE",
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    world = make_world(tmp_path_factory.mktemp("world") / "world", until=date(2026, 6, 1), days=2, leads=2)
    with served(world) as url:
        yield url


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def run(folder: Path, *words: str) -> subprocess.Popen[str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("B2B_", "MAILCHIMP_", "X_", "TIKTOK_ADS", *TOKEN.values()))
    }
    command = [sys.executable, "-m", "b2b_pipeline.cli", "connect", *words]
    return subprocess.Popen(command, cwd=folder, env=own, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("source", TOKEN)
def test_who_agrees_has_the_refresh_token_in_env_and_nothing_of_it_is_shown(
    source: str, sandbox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, environment = TOKEN[source], tmp_path / ".env"
    environment.write_text(
        f"# ours\n{prefix}_BASE_URL={sandbox}/{source}\n{prefix}_CLIENT_ID=sandbox-client\n"
        f"{prefix}_CLIENT_SECRET=sandbox-secret\n# {prefix}_REFRESH_TOKEN=\nLAST=1\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(prefix)]:
        monkeypatch.delenv(name)
    with ThreadPoolExecutor(1) as person:
        opened: list[tuple[str, Future[requests.Response]]] = []
        opens = lambda page: opened.append((page, person.submit(requests.get, page, timeout=10)))  # noqa: E731
        monkeypatch.setattr("webbrowser.open", opens)
        done = CliRunner().invoke(cli, ["connect", source, "--port", str(free_port())])
        said = done.output
        ((page, answer),) = opened
        closing = answer.result()
    assert done.exit_code == 0, said
    assert "You may close this page" in closing.text
    lines = environment.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# ours"
    assert lines[-2:] == [f"{prefix}_REFRESH_TOKEN=sandbox-refresh", "LAST=1"]
    assert environment.stat().st_mode & 0o777 == 0o600
    assert "sandbox-refresh" not in said
    assert "sandbox-secret" not in page + said


def test_where_a_token_does_not_end_it_is_the_one_that_is_kept(sandbox: str, tmp_path: Path) -> None:
    environment = tmp_path / ".env"
    environment.write_text(
        f"MAILCHIMP_BASE_URL={sandbox}/mailchimp\nMAILCHIMP_CLIENT_ID=sandbox-client\n"
        "MAILCHIMP_CLIENT_SECRET=sandbox-secret\n",
        encoding="utf-8",
    )
    with run(tmp_path, "mailchimp", "--no-browser", "--port", str(free_port())) as process:
        assert process.stderr is not None
        page = process.stderr.readline().rpartition(" ")[2].strip()
        requests.get(page, timeout=10)
        said = process.stderr.read()
    assert process.returncode == 0, said
    asked = parse_qs(urlsplit(page).query)
    assert "scope" not in asked
    assert urlsplit(asked["redirect_uri"][0]).hostname == "127.0.0.1", "Mailchimp knows no localhost"
    kept = environment.read_text(encoding="utf-8").splitlines()[-1]
    assert kept.startswith("MAILCHIMP_ACCESS_TOKEN=")
    assert kept.partition("=")[2] not in said


NOT_REFRESHED = {
    "x_ads": {
        "X_ADS_API_KEY": "sandbox-client", "X_ADS_API_SECRET": "sandbox-secret",
        "X_ADS_ACCESS_TOKEN": "sandbox-token", "X_ADS_ACCESS_TOKEN_SECRET": "sandbox-refresh",
    },
    "x": {
        "X_API_KEY": "sandbox-client", "X_API_SECRET": "sandbox-secret",
        "X_ACCESS_TOKEN": "sandbox-token", "X_ACCESS_TOKEN_SECRET": "sandbox-refresh",
    },
    "tiktok_ads": {
        "TIKTOK_ADS_APP_ID": "sandbox-client", "TIKTOK_ADS_APP_SECRET": "sandbox-secret",
        "TIKTOK_ADS_ACCESS_TOKEN": "sandbox-token",
    },
}  # fmt: skip


@pytest.mark.parametrize("source", NOT_REFRESHED)
def test_who_agrees_at_a_vendor_with_ways_of_its_own_has_in_env_what_lasts_there(
    source: str, sandbox: str, tmp_path: Path
) -> None:
    environment, kept = tmp_path / ".env", NOT_REFRESHED[source]
    ours = [f"{name}={value}" for name, value in kept.items()][:2]
    environment.write_text("\n".join([f"{source.upper()}_BASE_URL={sandbox}/{source}", *ours]), encoding="utf-8")
    with run(tmp_path, source, "--no-browser", "--port", str(free_port())) as process:
        assert process.stderr is not None
        page = process.stderr.readline().rpartition(" ")[2].strip()
        assert "Done." in requests.get(page, timeout=10).text
        said = process.stderr.read()
    assert process.returncode == 0, said
    lines = environment.read_text(encoding="utf-8").splitlines()
    assert lines[1:] == [f"{name}={value}" for name, value in kept.items()]
    assert environment.stat().st_mode & 0o777 == 0o600
    assert not [word for word in ("sandbox-token", "sandbox-refresh", "sandbox-secret") if word in page + said]


def test_a_source_that_needs_no_login_or_that_nobody_knows_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for source, said in (("ecb", "needs no login"), ("hubspt", "did you mean hubspot?")):
        done = CliRunner().invoke(cli, ["connect", source])
        assert (done.exit_code, said in done.stderr) == (2, True), done.output


def test_a_scope_that_is_named_is_asked_for_beside_the_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def token(app: Authorization, *others: object) -> tuple[str, ...]:
        asked.append(app.scopes)
        return ("a-new-token",)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Authorization, "agree", token)
    for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN"):
        monkeypatch.setenv(f"LINKEDIN_ADS_{name}", "a-new-token")
    words = ["connect", "linkedin_ads", "--scope", "r_marketing_leadgen_automation"]
    assert CliRunner().invoke(cli, words).exit_code == 0
    assert asked == [("r_ads", "r_ads_reporting", "r_marketing_leadgen_automation")]


def agree(app: Login, alter: Callable[[str], None], **more: float) -> tuple[str, ...]:
    return app.agree("sandbox-client", "sandbox-secret", 0, alter, **more)


@pytest.fixture
def login(sandbox: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Login]:
    """How one logs in at a vendor of the sandbox."""

    def of(source: str) -> Login:
        monkeypatch.setenv(f"{source.upper()}_BASE_URL", f"{sandbox}/{source}")
        authorization = SOURCES[source].authorization
        assert authorization
        return authorization()

    return of


@pytest.fixture
def app(login: Callable[[str], Login]) -> Authorization:
    found = login("google_ads")
    assert isinstance(found, Authorization)
    return found


def in_background(url: str) -> None:
    threading.Thread(target=lambda: requests.get(url, timeout=10).close()).start()


def callback(page: str, **answer: str) -> str:
    asked = parse_qs(urlsplit(page).query)
    told = "&".join(f"{name}={value}" for name, value in {"state": asked["state"][0], **answer}.items())
    return f"{asked['redirect_uri'][0]}?{told}"


def test_who_does_not_agree_is_told_so(app: Authorization) -> None:
    with pytest.raises(AuthError, match="not agreed: access_denied"):
        agree(app, lambda page: in_background(callback(page, error="access_denied")))


def test_a_code_that_nobody_asked_for_is_not_listened_to(app: Authorization) -> None:
    with pytest.raises(AuthError, match="nobody agreed within 3 s"):
        agree(app, lambda page: in_background(callback(page, code="stolen", state="another")), wait=3)


def test_a_code_of_another_is_refused_by_the_vendor(app: Authorization) -> None:
    with pytest.raises(AuthError, match="invalid_grant"):
        agree(app, lambda page: in_background(callback(page, code="made-up")))


def test_without_lasting_access_there_is_no_refresh_token_and_the_cure_is_told(app: Authorization) -> None:
    short = Authorization(app.page, app.token_url, app.scopes, app.variables)
    with pytest.raises(AuthError, match="gave no refresh token: allow offline access"):
        agree(short, in_background)


# -- X, which speaks OAuth 1.0, and TikTok, which has words of its own


@pytest.mark.parametrize("source", ["x_ads", "tiktok_ads"])
def test_who_does_not_agree_at_a_vendor_with_ways_of_its_own_is_told_so(
    source: str, login: Callable[[str], Login], sandbox: str
) -> None:
    def refuse(page: str) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
        if source == "x_ads":
            in_background(f"{page}&cancel=true")
        else:
            in_background(f"{asked['redirect_uri']}?state={asked['state']}")

    with pytest.raises(AuthError, match=r"not agreed: (access_denied|no auth_code came back)"):
        agree(login(source), refuse)


@pytest.mark.parametrize(("source", "words"), [
    ("x_ads", "oauth_token=another&oauth_verifier=stolen"), ("x_ads", "oauth_verifier=stolen"), ("x_ads", "denied="),
    ("tiktok_ads", "state=another&auth_code=stolen"), ("tiktok_ads", "auth_code=stolen"),
])  # fmt: skip
def test_what_another_sends_back_is_not_listened_to(source: str, words: str, login: Callable[[str], Login]) -> None:
    port = free_port()
    with pytest.raises(AuthError, match="nobody agreed within 2 s"):
        login(source).agree(
            "sandbox-client", "sandbox-secret", port,
            lambda page: in_background(f"http://127.0.0.1:{port}/callback?{words}"), 2,
        )  # fmt: skip


def test_a_verifier_that_x_did_not_give_brings_no_token(login: Callable[[str], Login]) -> None:
    port = free_port()

    def forge(page: str) -> None:
        token = parse_qs(urlsplit(page).query)["oauth_token"][0]
        in_background(f"http://127.0.0.1:{port}/callback?oauth_token={token}&oauth_verifier=made-up")

    with pytest.raises(AuthError, match="access_token: status 401, no token: log in again"):
        login("x_ads").agree("sandbox-client", "sandbox-secret", port, forge)


def test_a_code_that_tiktok_did_not_give_brings_no_token(login: Callable[[str], Login]) -> None:
    def forge(page: str) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
        in_background(f"{asked['redirect_uri']}?state={asked['state']}&auth_code=made-up")

    with pytest.raises(AuthError, match="code 40110: see the app's id and secret, and log in again"):
        agree(login("tiktok_ads"), forge)


@pytest.mark.parametrize("source", ["x_ads", "tiktok_ads"])
def test_a_wrong_secret_of_the_app_is_told_and_is_in_no_message(source: str, login: Callable[[str], Login]) -> None:
    with pytest.raises(AuthError, match=r"no token: is http://127.0.0.1:|code 40101") as caught:
        login(source).agree("sandbox-client", "not-our-secret", 0, in_background)
    assert "not-our-secret" not in str(caught.value)


def test_x_takes_no_callback_on_localhost(login: Callable[[str], Login]) -> None:
    with pytest.raises(AuthError, match="status 403, no token: is http://localhost:"):
        agree(replace(login("x_ads"), host="localhost"), in_background)  # type: ignore[type-var]


def test_a_vendor_without_scopes_is_asked_for_none(tmp_path: Path) -> None:
    with run(tmp_path, "x_ads", "--scope", "everything") as process:
        assert process.stderr is not None
        assert "x_ads: knows no scopes" in process.stderr.read()
    assert process.returncode == 2
