"""Reddit Ads over the sandbox, and by the answers that its document and public connectors show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
import time_machine

from b2b_pipeline.connectors.base import Account, Record, Window
from b2b_pipeline.connectors.http import Fatal, Outcome, Reauth, Stop, Wait
from b2b_pipeline.connectors.reddit_ads.source import SIZE, SOURCE, accounts, classify, connect, probe
from b2b_pipeline.core.control import reconcile
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, TransientError
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.privacy import mask
from b2b_pipeline.warehouse.tables import campaign, spend
from b2b_pipeline_tests.support.asked import Asked, answer
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, settle
from b2b_sandbox import tokens
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
OURS = Account("a2_gq7w1x0c5rd2", "Europe", "EUR", "Europe/Berlin")
THEIRS = Account("a2_h08n4k2v9tb6", "North America", "USD", "America/New_York")
WINDOW = Window.of_days(UNTIL - timedelta(days=25), UNTIL, ZoneInfo("UTC"))
HOST = "https://ads-api.reddit.com"
BASE = f"{HOST}/api/v3"
TOKENS = "https://www.reddit.com/api/v1/access_token"
REPORTS = f"{BASE}/ad_accounts/{OURS.id}/reports"
SETTINGS = "start_date: 2026-05-01\nsystem_of_record: files\nsources: {reddit_ads: {}}\n"


ASKED = Asked(SOURCE, OURS, WINDOW)
config, fetch, mapped, days_of = ASKED.config, ASKED.fetch, ASKED.mapped, ASKED.shown


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=150, rough=True)


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("REDDIT_ADS_BASE_URL", raising=False)
    for name, value in (("CLIENT_ID", "app-of-ours"), ("CLIENT_SECRET", "S3cr3t-of-app"), ("REFRESH_TOKEN", "R3fr3sh")):
        monkeypatch.setenv(f"REDDIT_ADS_{name}", value)
    with responses.RequestsMock() as mock:
        mock.post(TOKENS, json={"access_token": "A-1", "token_type": "bearer", "expires_in": 86400, "scope": "adsread"})
        yield mock


# -- what answers mean


def means(status: int, error: dict[str, Any] | None = None, **headers: str) -> Outcome:
    return classify(answer(REPORTS, status, {"error": error} if error else {"data": []}, **headers))


def test_throttling_is_waited_for_as_long_as_the_policy_that_is_used_up_says() -> None:
    told = '"ads-reporting-burst";r=3;t=900,"ads-reporting";r=0;t=42'
    assert means(429, {"code": 429, "message": "Too Many Requests"}, RateLimit=told) == Wait(42.0, "throttled")
    assert means(429, RateLimit='"a";r=0;t=42,"b";r=0;t=5') == Wait(42.0, "throttled")
    assert means(429) == Wait(60.0, "throttled")
    with time_machine.travel(datetime(2026, 6, 16, 6, tzinfo=UTC), tick=False):
        assert means(429, RateLimit='"a";r=0;t=7200') == Stop(datetime(2026, 6, 16, 8, tzinfo=UTC), "throttled")


def test_a_refusal_names_the_fields_and_not_all_that_might_have_stood_there() -> None:
    fields = [{"field": "data.fields.0", "message": f"'X' is not one of [{', '.join(['CLICKS'] * 400)}]"}]
    found = means(400, {"code": 400, "message": "Bad Request", "fields": fields})
    assert found == Fatal("Bad Request data.fields.0")
    for odd in ("x", {"field": "a"}, ["a", None, {}]):
        assert means(400, {"code": 400, "message": "Bad Request", "fields": odd}) == Fatal("Bad Request")
    assert isinstance(means(401, {"code": 401, "message": "Unauthorized"}), Reauth)
    assert means(403, {"code": 403, "message": "Forbidden"}) == Fatal("Forbidden", auth=True)
    assert isinstance(means(500, {"code": 500, "message": "x"}), Wait)


# -- reports

NAMES = {"data": [{"id": "1684291704682361243", "name": "r/selbstständig | Leads", "effective_status": "ACTIVE"}],
         "pagination": {}}  # fmt: skip
RECORDED: dict[str, Any] = {
    "data": {
        "metrics": [
            {"campaign_id": "1684291704682361243", "date": "2026-07-01", "currency": "EUR", "impressions": 6379,
             "clicks": 100, "spend": 51036973, "key_conversion_total_count": 3},
            {"campaign_id": "7", "date": "2026-07-02", "currency": "EUR", "impressions": 5, "clicks": 0, "spend": 0},
        ],
        "metrics_updated_at": "2026-07-20T02:16:44Z",
    },
    "pagination": {},
}  # fmt: skip
JULY = Window.of_days(date(2026, 7, 1), date(2026, 7, 3), ZoneInfo("Europe/Berlin"))


def test_a_report_becomes_spend_in_units_and_what_it_does_not_say_is_unknown(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/ad_accounts/{OURS.id}/campaigns", json=NAMES)
    vendor.post(REPORTS, json=RECORDED)
    stored = mapped(spend, "campaign_daily", fetch("campaign_daily", window=JULY))
    assert stored.rejects.empty
    columns = ["campaign_id", "campaign_name", "spend", "currency", "clicks", "conversions_platform",
               "conv_value_platform", "channel", "account_tz"]  # fmt: skip
    found = [[str(row[name]) for name in columns] for row in stored.rows.astype(object).to_dict("records")]
    assert found == [
        ["1684291704682361243", "r/selbstständig | Leads", "51.036973", "EUR", "100", "3.000000", "None",
         "paid_social", "Europe/Berlin"],
        ["7", "None", "0.000000", "EUR", "0", "None", "None", "paid_social", "Europe/Berlin"],
    ]  # fmt: skip


def test_a_cell_that_is_no_amount_or_no_day_costs_its_row_alone() -> None:
    good = {**RECORDED["data"]["metrics"][0], "campaign_name": "x"}
    broken = [{**good, "spend": "12,5"}, {**good, "spend": 12.5}, {**good, "date": "soon"}, {**good, "clicks": "many"},
              {**good, "key_conversion_total_count": "three"}, {**good, "campaign_id": None}]  # fmt: skip
    for each in broken:
        stored = mapped(spend, "campaign_daily", [{**good, "campaign_id": "8"}, each])
        assert (len(stored.rows), len(stored.rejects)) == (1, 1), each


def test_the_question_is_as_documented_a_day_wider_and_ends_with_the_hour(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/ad_accounts/{OURS.id}/campaigns", json=NAMES)
    vendor.post(REPORTS, json=RECORDED)
    fetch("campaign_daily", window=JULY)
    request = vendor.calls[-1].request
    assert request.params == {"page.size": "700"}  # type: ignore[attr-defined]
    assert json.loads(request.body or "") == {
        "data": {
            "breakdowns": ["CAMPAIGN_ID", "DATE"],
            "fields": ["CAMPAIGN_ID", "DATE", "CURRENCY", "IMPRESSIONS", "CLICKS", "SPEND",
                       "KEY_CONVERSION_TOTAL_COUNT"],
            "time_zone_id": "Europe/Berlin", "starts_at": "2026-06-30T00:00:00Z", "ends_at": "2026-07-04T00:00:00Z",
        }
    }  # fmt: skip
    with time_machine.travel(datetime(2026, 7, 2, 21, 34, 56, tzinfo=UTC)):
        fetch("account_daily", window=JULY)
    asked = json.loads(vendor.calls[-1].request.body or "")["data"]
    assert (asked["breakdowns"], asked["ends_at"]) == (["DATE"], "2026-07-03T00:00:00Z"), "the hour in Berlin"


def test_days_beside_the_window_are_left_out_and_a_row_without_a_day_is_seen(vendor: responses.RequestsMock) -> None:
    days = ["2026-06-30", "2026-07-01", "2026-07-02", "2026-07-03", "2026-07-04", None, "July"]
    vendor.post(REPORTS, json={"data": {"metrics": [{"date": day} for day in days]}, "pagination": {}})
    assert [row["date"] for row in fetch("account_daily", window=JULY)] == ["2026-07-01", "2026-07-02", None, "July"]


@pytest.mark.parametrize("beyond", [0, 24])
@pytest.mark.parametrize("account", [OURS, THEIRS])
def test_the_days_of_every_campaign_are_those_of_the_world_wherever_a_report_ends(
    sandbox: World, account: Account, beyond: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(sandbox, reddit_ads={"page_size": 7, "beyond": beyond}) as url:
        monkeypatch.setenv("REDDIT_ADS_BASE_URL", f"{url}/reddit_ads")
        records = fetch("campaign_daily", account=account)
        totals = {row["date"]: row["spend"] for row in fetch("account_daily", account=account)}
    found = sorted((row["date"], row["campaign_id"], row["clicks"], row["spend"]) for row in records)
    assert found == days_of(sandbox, account.id)
    assert all(row["campaign_name"] for row in records)
    by_day = {day: sum(row[3] for row in found if row[0] == day) for day, *_ in found}
    assert totals == by_day


def test_a_day_that_begins_at_no_full_hour_is_whole_all_the_same(sandbox: World) -> None:
    kolkata = Account(OURS.id, "", "EUR", "Asia/Kolkata")
    found = sorted((row["date"], row["campaign_id"], row["clicks"], row["spend"])
                   for row in fetch("campaign_daily", account=kolkata))  # fmt: skip
    assert found == days_of(sandbox, OURS.id)


# -- pages


def test_the_next_page_is_at_its_address_and_asked_for_with_the_same_body(vendor: responses.RequestsMock) -> None:
    more = {"next_url": f"{REPORTS}?page.size=700&page.token=abc", "previous_url": None}
    for metrics, pagination in (([{"date": "2026-07-01"}], more), ([{"date": "2026-07-02"}], {"next_url": None})):
        vendor.post(REPORTS, json={"data": {"metrics": metrics}, "pagination": pagination})
    assert len(fetch("account_daily", window=JULY)) == 2
    first, second = (call.request for call in list(vendor.calls)[-2:])
    assert second.params["page.token"] == "abc"  # type: ignore[attr-defined]
    assert (second.method, second.body) == (first.method, first.body)


def test_a_link_to_another_host_is_not_followed_and_a_page_that_repeats_is_told(vendor: responses.RequestsMock) -> None:
    url = f"{BASE}/ad_accounts/{OURS.id}/campaigns"
    vendor.get(url, json={"data": [], "pagination": {"next_url": "https://evil.example/api/v3/x?page.token=a"}})
    with pytest.raises(PermanentError, match=r"refused to follow a link to another host: evil\.example"):
        fetch("campaign")
    vendor.replace(responses.GET, url, json={"data": [], "pagination": {"next_url": f"{url}?page.token=a"}})
    with pytest.raises(TransientError, match="repeats"):
        fetch("campaign")


def test_an_answer_without_records_and_a_full_page_without_its_end_are_none(vendor: responses.RequestsMock) -> None:
    vendor.post(REPORTS, json={"data": [], "pagination": {}})
    with pytest.raises(TransientError, match=r"without 'data\.metrics'"):
        fetch("account_daily", window=JULY)
    url = f"{BASE}/ad_accounts/{OURS.id}/campaigns"
    vendor.get(url, json={"data": [{"id": str(n)} for n in range(SIZE)]})
    with pytest.raises(TransientError, match="a full page without 'pagination'"):
        fetch("campaign")
    vendor.replace(responses.GET, url, json={"data": [{"id": "1"}]})
    assert len(fetch("campaign")) == 1


# -- control, accounts, campaigns


@pytest.fixture
def own(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    (tmp_path / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    found = Installation(tmp_path, world)
    settle(found, monkeypatch)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        yield found


def test_campaigns_add_up_to_the_account(own: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(own.world) as url:
        monkeypatch.setenv("REDDIT_ADS_BASE_URL", f"{url}/reddit_ads")
        pipeline = Pipeline.from_environment()
        for stream in ("campaign_daily", "account_daily"):
            assert not pipeline.ingest("reddit_ads", stream, WINDOW.start, WINDOW.end, "first").failed
    assert SOURCE.control
    found = reconcile(pipeline.landing, SOURCE, SOURCE.control)
    assert found.days_compared >= 50
    assert not found.differences
    for off, is_told in ((Decimal("0.4"), False), (Decimal(10_000), True)):
        changed = Changed(pipeline, off)
        assert bool(reconcile(changed, SOURCE, SOURCE.control).differences) is is_told  # type: ignore[arg-type]


class Changed:
    """A landing in which the spend of each account's day is off by so many micros."""

    def __init__(self, pipeline: Pipeline, off: Decimal) -> None:
        self._landing, self._off = pipeline.landing, off

    def __getattr__(self, name: str) -> Any:
        return getattr(self._landing, name)

    def records(self, item: Any) -> list[Record]:
        off = self._off if item.stream == "account_daily" else 0
        return [{**row, "spend": row["spend"] + off} for row in self._landing.records(item)]


def test_accounts_have_currency_and_time_zone_and_one_that_has_none_is_left_out(sandbox: World) -> None:
    found = accounts(connect(config()), config())
    assert list(found.read) == [OURS, THEIRS]
    assert [(item.account, item.closed) for item in found.skipped] == [("a2_j3m5z8p1ye47", True)]
    one = config(accounts=[THEIRS.id])
    assert list(accounts(connect(one), one).read) == [THEIRS]
    with pytest.raises(ConfigError, match="a2_nobody not among the accounts"):
        accounts(connect(config(accounts=["a2_nobody"])), config(accounts=["a2_nobody"]))


def test_an_account_that_was_shared_is_in_no_list_and_read_where_it_is_named(vendor: responses.RequestsMock) -> None:
    shared = {"id": "t2_shared", "name": "Client", "currency": "GBP", "time_zone_id": "Europe/London"}
    vendor.get(f"{BASE}/me/businesses", json={"data": [{"id": "b-1"}], "pagination": {}})
    vendor.get(f"{BASE}/businesses/b-1/ad_accounts", json={"data": [], "pagination": {}})
    vendor.get(f"{BASE}/ad_accounts/t2_shared", json={"data": shared})
    named = config(accounts=["t2_shared"])
    assert list(accounts(connect(named), named).read) == [Account("t2_shared", "Client", "GBP", "Europe/London")]
    vendor.replace(responses.GET, f"{BASE}/ad_accounts/t2_shared", json={"error": {"code": 403}}, status=403)
    with pytest.raises(ConfigError, match="t2_shared not among the accounts"):
        accounts(connect(named), named)
    vendor.replace(responses.GET, f"{BASE}/ad_accounts/t2_shared", json={})
    with pytest.raises(TransientError, match="an answer without 'data'"):
        accounts(connect(named), named)


def test_campaigns_are_as_they_are_now_and_a_deleted_one_is_told() -> None:
    listed = [
        {
            "id": "1",
            "name": "A",
            "objective": "CLICKS",
            "effective_status": status,
            "modified_at": "2026-06-01T09:00:00Z",
        }
        for status in ("ACTIVE", "DELETED")
    ]
    stored = mapped(campaign, "campaign", [listed[0], {**listed[1], "id": "2"}])
    assert stored.rejects.empty
    assert stored.rows["is_deleted"].tolist() == [False, True]
    assert stored.rows["campaign_type"].tolist() == ["CLICKS", "CLICKS"]


# -- credentials


def test_the_client_is_in_the_header_as_reddit_wants_it_and_nothing_secret_in_an_address(
    vendor: responses.RequestsMock,
) -> None:
    vendor.get(f"{BASE}/me/businesses", json={"data": [], "pagination": {}})
    accounts(connect(config()), config())
    token, first = vendor.calls[0].request, vendor.calls[1].request
    assert token.headers["Authorization"] == requests.auth._basic_auth_str("app-of-ours", "S3cr3t-of-app")
    assert dict(parse_qsl(str(token.body))) == {"grant_type": "refresh_token", "refresh_token": "R3fr3sh"}
    assert first.headers["Authorization"] == "Bearer A-1"
    assert token.headers["User-Agent"] == first.headers["User-Agent"] == "python:b2b-pipeline.app-of-ours:v1"
    assert not any(word in str(call.request.url) for call in vendor.calls for word in ("S3cr3t", "R3fr3sh", "A-1"))
    told = mask(f"{token.headers['Authorization']} S3cr3t-of-app R3fr3sh")
    assert not any(word in told for word in ("S3cr3t", "R3fr3sh", str(token.headers["Authorization"])[6:]))


def test_a_token_that_is_refused_is_renewed_once(sandbox: World, vendor_calls: list[str]) -> None:
    by = connect(config())
    assert fetch("account_daily", by=by)
    add_fault(sandbox, "reddit_ads", "expire_token", path_contains="reports")
    assert fetch("account_daily", by=by)
    assert sum("access_token" in url for url in vendor_calls) == 2


@pytest.fixture
def vendor_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    send = requests.Session.send

    def noted(self: requests.Session, request: Any, **how: Any) -> Any:
        found.append(str(request.url))
        return send(self, request, **how)

    monkeypatch.setattr(requests.Session, "send", noted)
    return found


def test_what_is_refused_even_with_a_new_token_and_a_grant_that_was_taken_back_are_told(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        add_fault(sandbox, "reddit_ads", "expire_token", path_contains="reports")
    with pytest.raises(AuthError, match="even with a new token"):
        fetch("account_daily")
    clear_faults(sandbox)
    monkeypatch.setenv("REDDIT_ADS_REFRESH_TOKEN", "taken-back")
    with pytest.raises(AuthError, match="invalid_grant") as caught:
        fetch("account_daily")
    assert "taken-back" not in str(caught.value)
    monkeypatch.setenv("REDDIT_ADS_CLIENT_SECRET", "another-app-s")
    with pytest.raises(AuthError, match="status 401") as caught:
        fetch("account_daily")
    assert "another-app-s" not in str(caught.value)


def test_a_long_wait_is_left_to_the_orchestrator_and_a_short_one_sat_out(sandbox: World) -> None:
    add_fault(sandbox, "reddit_ads", "throttle", path_contains="reports", retry_after=1)
    assert fetch("account_daily")
    add_fault(sandbox, "reddit_ads", "throttle", path_contains="reports", retry_after=1800)
    with pytest.raises(QuotaError):
        fetch("account_daily")


def test_doctor_names_the_streams_of_each_account_and_who_has_no_role(sandbox: World) -> None:
    assert all(finding.ok for finding in probe(connect(config()), config()))
    add_fault(sandbox, "reddit_ads", "missing_scope", path_contains="reports", scope="adsread")
    refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert len(refused) == 4
    assert all("b2b connect reddit_ads" in finding.fix for finding in refused)


def test_the_twin_knows_an_agent_like_many_and_a_question_that_is_wrong(world: World) -> None:
    with running(world) as url:
        base = f"{url}/reddit_ads/api/v3/ad_accounts/{OURS.id}"
        headers = {"Authorization": f"Bearer {tokens.issue('reddit_ads', 60)}"}
        assert requests.get(f"{base}/campaigns", headers=headers, timeout=10).status_code == 429
        headers["User-Agent"] = "python:tests:v1"
        asked = {"breakdowns": ["DATE"], "fields": ["CLICKS"], "starts_at": "2026-06-01T00:30:00Z"}
        answer = requests.post(f"{base}/reports", json={"data": asked}, headers=headers, timeout=10)
        assert answer.status_code == 400
        assert answer.json()["error"]["fields"][0]["field"] == "data.starts_at"
