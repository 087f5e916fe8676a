"""What docs/collector.md gives people to paste, as it stands there: the tag in a real browser, and the containers."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import compose_spec
import pytest
import yaml

from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline_tests.support.collecting import KEY, Site, collecting
from b2b_pipeline_tests.support.compose import DOCKER, TOP

TEXT = (TOP / "docs" / "collector.md").read_text(encoding="utf-8")
TAG, FORM = re.findall(r"```html\n(.*?)```", TEXT, re.DOTALL)
(TEMPLATE,) = re.findall(r"```js\n(.*?)```", TEXT, re.DOTALL)


def eventually(found: Any, patience: float = 20) -> Any:
    end = time.monotonic() + patience
    while not (value := found()) and time.monotonic() < end:
        time.sleep(0.1)
    return value


# -- the tag


class Page(BaseHTTPRequestHandler):
    """A page with the tags in it."""

    tag = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f"<!doctype html><title>A page</title>{self.tag}".encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.browser
@pytest.mark.parametrize("consent", ["granted", "denied"])
def test_the_tag_sends_what_happens_in_a_browser_and_tries_again_when_nobody_was_there(
    tmp_path: Path, page: str, consent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import sync_playwright

    names = Pseudonyms(b"k" * 32, tmp_path / "forgotten.json")
    with (
        collecting(tmp_path / "collected", names, datetime.now(UTC), origins=frozenset([page])) as site,
        sync_playwright() as playwright,
    ):
        tag = TAG.replace("https://collect.example.com/collect", f"{site.url}/collect").replace("your write key", KEY)
        monkeypatch.setattr(Page, "tag", tag.replace('CONSENT = "granted"', f'CONSENT = "{consent}"'))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        agent = "Mozilla/5.0 (X11; Linux x64) Chrome/141.0 Safari/537.36"
        tab = browser.new_context(user_agent=agent).new_page()
        tab.goto(f"{page}/pricing?utm_source=news&utm_medium=email&secret=1")
        assert eventually(site.kept)
        tab.route("**/collect*", lambda route: route.abort())
        tab.evaluate("b2bCollect('form_submit', {form_id: 'demo', email: 'ida@client.example'})")
        tab.evaluate("b2bCollect('key_event', {name: 'video'})")
        time.sleep(1)
        assert "client.example" not in tab.evaluate("localStorage.getItem('b2b_waiting')")
        tab.unroute("**/collect*")
        found = eventually(lambda: len(site.kept()) >= 3 and site.kept())
        browser.close()
        _holds(site, found, consent)


def _holds(site: Site, found: list[dict[str, Any]], consent: str) -> None:
    by_type = {event["type"]: event for event in found}
    assert {"page_view", "form_submit", "key_event"} <= by_type.keys()
    view, form = by_type["page_view"], by_type["form_submit"]
    assert (view["page"], view["utm_medium"], view["is_bot"]) == ("127.0.0.1/pricing", "email", False)
    assert len({event["id"] for event in found}) == len(found)
    if consent == "granted":
        assert {event["visitor"] for event in found} == {view["visitor"]}
        assert form["email"].endswith("@client.example")
    else:
        assert not any("visitor" in event or "email" in event for event in found)
    assert "secret" not in site.on_disk()


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_what_is_to_be_pasted_is_javascript() -> None:
    tag = re.sub(r"</?script>", "", TAG)
    form = re.sub(r"</?script>", "", FORM).replace("{{Form ID}}", "'f'").replace("{{DLV - email}}", "'e'")
    for code in (tag, form, f"function template(require, data) {{ {TEMPLATE} }}"):
        checked = subprocess.run(["node", "--check", "-"], input=code, text=True, capture_output=True, timeout=60)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_the_template_of_a_server_container_sends_what_the_collector_takes(tmp_path: Path) -> None:
    """Over what the APIs of a container give: see docs/collector.md for what is not tried."""
    names = Pseudonyms(b"k" * 32, tmp_path / "forgotten.json")
    with collecting(tmp_path / "collected", names, datetime.now(UTC)) as site:
        program = _CONTAINER % {"template": TEMPLATE, "url": f"{site.url}/collect", "token": "s" * 32}
        done = subprocess.run(["node", "-e", program], text=True, capture_output=True, timeout=60)
        assert done.stdout.strip() == "success", done.stderr
        (kept,) = site.kept()
    assert (kept["type"], kept["engaged_ms"], kept["via"], kept["country"]) == ("ping", 4200, "server", "DE")
    assert (kept["device"], kept["is_bot"], kept["page"]) == ("desktop", False, "www.ourcompany.example/a")


_CONTAINER = """
const given = {event_name: 'user_engagement', engagement_time_msec: 4200, page_location: 'https://www.ourcompany.example/a?x=1',
  user_agent: 'Mozilla/5.0 (Windows NT 10.0) Chrome/141.0', client_id: '1234.5678', user_data: {email_address: 'ida@client.example'}};
const apis = {
  getAllEventData: () => given, getRequestHeader: name => ({'x-gclb-country': 'DE'})[name], JSON: JSON,
  getTimestampMillis: () => Date.now(), generateRandom: (a, b) => a + Math.floor(Math.random() * (b - a)),
  sendHttpRequest: (url, options, body) => fetch(url, {...options, body}).then(answer => ({statusCode: answer.status})),
};
const data = {endpoint: '%(url)s', token: '%(token)s', consent: 'granted',
  gtmOnSuccess: () => console.log('success'), gtmOnFailure: () => console.log('failure')};
(function (require, data) { %(template)s })(name => apis[name], data);
"""  # noqa: E501


# -- the container


def test_the_container_is_as_closed_as_the_others_and_sees_no_credential_of_a_vendor() -> None:
    given = yaml.safe_load((DOCKER / "collector.yaml").read_text())
    whole = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    service = given["services"]["collector"]
    assert service["read_only"]
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert "env_file" not in service
    assert service["ports"] == ["${COLLECTOR_BIND:-127.0.0.1}:${COLLECTOR_PORT:-8780}:8780"]
    assert set(service["networks"]) <= whole["networks"].keys()
    assert {volume.partition(":")[0] for volume in service["volumes"] if volume[0] != "$"} <= whole["volumes"].keys()
    assert service["image"] == whole["services"]["code"]["image"]
    parts = {"services": {"collector": service}, "networks": {"outside": {}}, "volumes": {"home": {}}}
    filled = re.sub(r"\$\{(COLLECTOR_BIND|COLLECTOR_PORT|B2B_PIPELINE_YAML):-([^}]*)\}", r"\2", yaml.safe_dump(parts))
    compose_spec.PyCompose.from_yaml(filled).validate()
