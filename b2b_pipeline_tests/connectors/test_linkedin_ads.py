"""LinkedIn Ads over the sandbox, and by the answers that its documents and public connectors show."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
import time_machine
from linkedin_api.clients.restli.client import RestliClient  # type: ignore[import-untyped]

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Stop, Wait
from b2b_pipeline.connectors.linkedin_ads import source
from b2b_pipeline.connectors.linkedin_ads.source import (
    CONVERSIONS,
    SOURCE,
    accounts,
    classify,
    connect,
    probe,
    restate_days,
)
from b2b_pipeline.core.control import reconcile
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, SplitError, TransientError
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import campaign, spend
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served, settle
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import tokens
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.generate_platforms import LINKEDIN
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
NOW = datetime(2026, 6, 16, 6, tzinfo=UTC)
ACCOUNT = Account("508720451", "Europe", "EUR", "UTC")
WINDOW = Window.of_days(date(2026, 6, 1), date(2026, 6, 11), ZoneInfo("UTC"))
BASE = "https://api.linkedin.com/rest"
SETTINGS = "start_date: 2026-05-17\nsystem_of_record: files\nsources: {linkedin_ads: {}}\n"


def config(**settings: Any) -> Config:
    given = {"start_date": "2026-05-17", "system_of_record": "files", "sources": {"linkedin_ads": settings}}
    return Config.model_validate(given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=120, rough=True)


@pytest.fixture
def sandbox(world: World) -> Iterator[World]:
    with served(world):
        yield world
    clear_faults(world)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    for name in [*CREDENTIALS, "LINKEDIN_ADS_BASE_URL"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LINKEDIN_ADS_ACCESS_TOKEN", "AQX-sixty-days")
    with responses.RequestsMock() as mock:
        yield mock


def fetch(stream: str, window: Window = WINDOW, account: Account = ACCOUNT) -> list[Record]:
    client = connect(config())
    return [record for page in SOURCE.stream(stream).fetch(client, account, window) for record in page.records]


def days_of(world: World, account: str, start: date, end: date) -> list[tuple[str, str, int, int]]:
    """Campaign, day, clicks and micros as they are now; `end` is not included."""
    query = """
        select campaign_id, date_day, clicks, cost_micros from (
            select *, max(known_at) from ad_day where vendor = 'linkedin_ads' and account_id = ? and known_at <= ?
            and date_day >= ? and date_day < ? group by campaign_id, date_day)
        where clicks + impressions > 0 order by 1, 2"""
    with world.connect() as connection:
        return [tuple(row) for row in connection.execute(query, (account, world.now(), str(start), str(end)))]


# -- what answers mean


def means(status: int, body: Any, headers: dict[str, str] | None = None) -> Outcome:
    made = requests.Response()
    made.status_code, made.url, made._content = status, f"{BASE}/adAnalytics", json.dumps(body).encode()
    made.headers.update({"Content-Type": "application/json", **(headers or {})})
    return classify(made)


def test_what_answers_mean_by_their_own_words() -> None:
    throttled = "Resource level throttle APPLICATION_AND_MEMBER DAY limit for calls to this resource is reached."
    day = {"status": 429, "serviceErrorCode": 101, "code": "TOO_MANY_REQUESTS", "message": throttled}
    with time_machine.travel(NOW):
        daily = means(429, day)
    assert isinstance(daily, Stop)
    assert daily.until == datetime(2026, 6, 17, tzinfo=UTC)
    values = {"status": 429, "message": "Data request limit: 45 million metric values in 5 minutes"}
    assert means(429, values) == Wait(330.0, "metric values")
    assert isinstance(means(429, {"status": 429}), Wait)
    gone = means(
        426, {"status": 426, "code": "NONEXISTENT_VERSION", "message": "Requested version 20250201 is not active"}
    )
    assert isinstance(gone, Fatal)
    assert "options.api_version" in gone.fix
    expired = {"status": 401, "serviceErrorCode": 65602, "code": "EXPIRED_ACCESS_TOKEN", "message": "has expired"}
    assert means(401, expired) == Reauth("EXPIRED_ACCESS_TOKEN")
    denied = {"status": 403, "serviceErrorCode": 100, "code": "ACCESS_DENIED", "message": "Not enough permissions"}
    assert means(403, denied) == Fatal("ACCESS_DENIED", auth=True)
    assert isinstance(means(200, {"elements": []}), Ok)


# -- reports


RECORDED = {  # by Airbyte, of an account of its own
    "paging": {"start": 0, "count": 10, "links": []},
    "elements": [
        {"clicks": 106, "impressions": 19464, "costInLocalCurrency": "99.99999999999996",
         "externalWebsiteConversions": 2, "conversionValueInLocalCurrency": "0",
         "pivotValues": ["urn:li:sponsoredCampaign:252074216"],
         "dateRange": {"start": {"month": 8, "day": 25, "year": 2023}, "end": {"month": 8, "day": 25, "year": 2023}}},
        {"clicks": 0, "impressions": 1, "costInLocalCurrency": "-2E-18",
         "pivotValues": ["urn:li:sponsoredCampaign:7"],
         "dateRange": {"start": {"month": 8, "day": 26, "year": 2023}, "end": {"month": 8, "day": 26, "year": 2023}}},
    ],
}  # fmt: skip


def test_a_recorded_report_becomes_spend_and_what_is_not_said_stays_unknown(vendor: responses.RequestsMock) -> None:
    listed = {"elements": [{"id": 252074216, "name": "Campaign, one"}], "metadata": {}}
    vendor.get(f"{BASE}/adAccounts/508720451/adCampaigns", json=listed)
    vendor.get(f"{BASE}/adAnalytics", json=RECORDED)
    context = MappingContext(config(), "linkedin_ads", "campaign_daily", ACCOUNT)
    mapped = SOURCE.stream("campaign_daily").feeds["spend"](flattened(fetch("campaign_daily")), context)
    stored = enforce(spend, mapped)
    assert stored.rejects.empty
    columns = ["date_day", "campaign_id", "campaign_name", "clicks", "spend", "currency", "conversions_platform"]
    first, second = stored.rows[columns].astype(object).to_dict("records")
    assert [str(first[name]) for name in columns] == [
        "2023-08-25", "252074216", "Campaign, one", "106", "100.000000", "EUR", "2.000000"
    ]  # fmt: skip
    assert (second["spend"], str(second["campaign_name"]), second["conversions_platform"]) == (0, "None", None)


def test_a_report_is_asked_for_in_the_encoding_that_is_understood(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/adAnalytics", json={"elements": []})
    fetch("account_daily")
    request = vendor.calls[-1].request
    assert request.url == (
        f"{BASE}/adAnalytics?q=analytics&pivot=ACCOUNT&timeGranularity=DAILY"
        "&dateRange=(start:(year:2026,month:6,day:1),end:(year:2026,month:6,day:10))"
        "&accounts=List(urn%3Ali%3AsponsoredAccount%3A508720451)&fields=dateRange,pivotValues,impressions,clicks,"
        "costInLocalCurrency,externalWebsiteConversions,conversionValueInLocalCurrency"
    )
    assert request.headers["LinkedIn-Version"] == SOURCE.api_version
    assert request.headers["X-Restli-Protocol-Version"] == "2.0.0"
    assert request.headers["Authorization"] == "Bearer AQX-sixty-days"


def test_the_days_of_an_account_are_those_of_the_world(sandbox: World) -> None:
    found = sorted(
        (row["campaign"], row["day"], row["clicks"], row["costInLocalCurrency"]) for row in fetch("campaign_daily")
    )
    expected = days_of(sandbox, ACCOUNT.id, WINDOW.start, WINDOW.end)
    assert expected
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    for (*_, told), (*_, micros) in zip(found, expected, strict=True):
        assert round(Decimal(told), 6) == Decimal(micros).scaleb(-6)


def test_a_report_that_may_have_been_cut_is_asked_for_in_halves_until_it_is_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more rows than it may have, an answer leaves the rest out without a word."""
    start, end = date(2026, 5, 17), UNTIL + timedelta(days=1)
    with opened(world, tmp_path, monkeypatch, most=10) as pipeline:
        assert not pipeline.ingest("linkedin_ads", "campaign_daily", start, end, "first").failed
    landing = pipeline.landing
    slices = landing.slices("linkedin_ads", "campaign_daily", ACCOUNT.id)
    assert len(slices) > 4
    found = [(row["campaign"], row["day"]) for item in slices for row in landing.records(item)]
    assert sorted(found) == [row[:2] for row in days_of(world, ACCOUNT.id, start, end)]


def test_a_day_with_too_many_rows_for_a_report_is_not_there_rather_than_cut(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(world, tmp_path, monkeypatch, most=2) as pipeline:
        report = pipeline.ingest("linkedin_ads", "campaign_daily", UNTIL, UNTIL + timedelta(days=1), "first")
    assert isinstance(report.failed[ACCOUNT.id], SplitError)
    assert not [item for item in report.slices if item.account["id"] == ACCOUNT.id]


class opened:
    """An installation with LinkedIn alone, over a sandbox whose reports have at most so many rows."""

    def __init__(self, world: World, folder: Path, patch: pytest.MonkeyPatch, **options: int) -> None:
        (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
        settle(Installation(folder, world), patch)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setattr(source, "MOST", options.get("most", source.MOST))
        self._patch, self._running = patch, running(world, linkedin_ads=options)
        self._clock = time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC))

    def __enter__(self) -> Pipeline:
        self._patch.setenv("LINKEDIN_ADS_BASE_URL", f"{self._running.__enter__()}/linkedin_ads")
        self._clock.start()
        return Pipeline.from_environment()

    def __exit__(self, *error: Any) -> None:
        self._clock.stop()
        self._running.__exit__(None, None, None)


def test_campaigns_add_up_to_the_account_but_for_rounding_and_a_lost_row_is_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, end = UNTIL - timedelta(days=5), UNTIL + timedelta(days=1)
    control = SOURCE.control
    assert control
    with opened(world, tmp_path, monkeypatch) as pipeline:
        for stream in (control.stream, control.totals):
            assert not pipeline.ingest("linkedin_ads", stream, start, end, "first").failed
    sound = reconcile(pipeline.landing, SOURCE, control)
    assert sound.days_compared > 10
    assert not sound.differences
    sums = Counter(row["day"] for item in pipeline.landing.slices("linkedin_ads", control.stream, ACCOUNT.id)
                   for row in pipeline.landing.records(item))  # fmt: skip
    lossy = LossyLanding(pipeline, max(sums))
    told = reconcile(lossy, SOURCE, control).differences  # type: ignore[arg-type]
    assert any(f"{ACCOUNT.id} {max(sums)}: costInLocalCurrency" in line for line in told)


class LossyLanding:
    """A landing without the first campaign's row of a day."""

    def __init__(self, pipeline: Pipeline, day: str) -> None:
        self._landing, self._day = pipeline.landing, day

    def __getattr__(self, name: str) -> Any:
        return getattr(self._landing, name)

    def records(self, item: Any) -> list[Record]:
        found = list(self._landing.records(item))
        lost = next((row for row in found if row["day"] == self._day and "campaign" in row), None)
        return [row for row in found if row is not lost]


# -- accounts, campaigns, look-backs


def test_an_account_that_cannot_spend_costs_the_others_nothing(sandbox: World) -> None:
    found = accounts(connect(config()), config())
    assert [(account.id, account.currency, account.time_zone) for account in found.read] == [
        ("508720451", "EUR", "UTC"), ("508774356", "USD", "UTC")
    ]  # fmt: skip
    why = {item.account: item.reason for item in found.skipped}
    assert why.keys() == {account.id for account in LINKEDIN.rough_accounts}
    assert "a test account" in why["508777244"]
    assert "has no currency" in why["508777245"]
    with pytest.raises(ConfigError, match="1 not among the accounts that the credentials reach"):
        accounts(connect(config()), config(accounts=["1"]))


def test_a_full_last_page_of_a_listing_is_the_last(vendor: responses.RequestsMock) -> None:
    """LinkedIn leaves out the token of a page that there is not; and a short page need not be the last."""
    pages = [([{"id": n, "name": "x"} for n in range(2)], "more"), ([{"id": 9, "name": "y"}], "again"),
             ([{"id": n, "name": "z"} for n in range(20, 1020)], None)]  # fmt: skip
    for rows, token in pages:
        vendor.get(f"{BASE}/adAccounts/508720451/adCampaigns",
                   json={"elements": rows, "metadata": {"nextPageToken": token} if token else {}})  # fmt: skip
    assert len(fetch("campaign")) == 1003
    assert "pageToken=again" in str(vendor.calls[-1].request.url)


def test_campaigns_are_as_they_are_now(sandbox: World) -> None:
    context = MappingContext(config(), "linkedin_ads", "campaign", ACCOUNT)
    stored = enforce(campaign, SOURCE.stream("campaign").feeds["campaign"](flattened(fetch("campaign")), context))
    assert stored.rejects.empty
    rows = {row["name"]: row for row in stored.rows.to_dict("records")}
    assert rows["li-2026q2-abm"]["channel"] == "paid_social"
    assert rows["Demo | <b>Message</b> & Film"]["campaign_type"] == "SPONSORED_INMAILS"
    assert not any(row["is_deleted"] for row in rows.values())


def test_days_change_as_long_as_an_enabled_conversion_looks_back(sandbox: World) -> None:
    client = connect(config())
    assert restate_days(client, ACCOUNT) == 90
    for fault in ("missing_scope", "throttle"):
        more = {"scope": "r_ads"} if fault == "missing_scope" else {"daily": True}
        add_fault(sandbox, "linkedin_ads", fault, path_contains="conversions", **more)
        assert restate_days(client, ACCOUNT) == 365, "as long as LinkedIn allows, where nobody can look"
        clear_faults(sandbox)


@pytest.mark.parametrize(("rules", "days"), [
    ([], 30),
    ([{"enabled": False, "postClickAttributionWindowSize": 90, "viewThroughAttributionWindowSize": 90}], 30),
    ([{"enabled": True, "postClickAttributionWindowSize": 7, "viewThroughAttributionWindowSize": 60}], 60),
    ([{"enabled": True}], 365),
])  # fmt: skip
def test_of_a_conversion_that_does_not_say_it_is_the_longest(
    vendor: responses.RequestsMock, rules: list[Record], days: int
) -> None:
    for elements in [rules, []] if rules else [[]]:
        vendor.get(f"{BASE}/conversions", json={"elements": elements, "paging": {"start": 0, "count": 100}})
    assert restate_days(connect(config()), ACCOUNT) == days


def test_a_list_that_goes_in_circles_ends(vendor: responses.RequestsMock) -> None:
    rules = [{"id": n, "enabled": False} for n in range(100)]
    vendor.get(f"{BASE}/conversions", json={"elements": rules, "paging": {"start": 0, "count": 100}})
    with pytest.raises(TransientError, match="is the one before it"):
        list(CONVERSIONS.records(connect(config()).session, "rest/conversions"))


# -- accounts that are not read


def gaps(pipeline: Pipeline) -> tuple[bool, str]:
    """Whether impressions are complete, and why not."""
    rebuild(pipeline, "derive", replay=False)
    end = UNTIL - timedelta(days=1)
    (answer,) = ask(pipeline.warehouse, pipeline.config, ["impressions"], end - timedelta(days=3), end)
    assert answer.value, "the other account was read"
    return answer.complete, "; ".join(answer.reasons)


def test_an_account_that_failed_when_it_was_first_read_is_missed_until_it_is_read(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other account's days would pass for all there is: who never landed is known to nobody else."""
    start, end = date(2026, 5, 17), UNTIL
    with opened(world, tmp_path, monkeypatch) as pipeline:
        migrated(pipeline.warehouse)
        add_fault(world, "linkedin_ads", "missing_scope", path_contains=ACCOUNT.id, scope="r_ads_reporting")
        for stream in SOURCE.streams:
            assert ACCOUNT.id in pipeline.ingest("linkedin_ads", stream.name, start, end, "first").failed
        is_complete, why = gaps(pipeline)
        assert not is_complete
        assert f"{ACCOUNT.id}: " in why
        assert "403" in why
        clear_faults(world)
        for stream in SOURCE.streams:
            assert not pipeline.ingest("linkedin_ads", stream.name, start, end, "second").failed
        assert gaps(pipeline) == (True, "")


def test_an_account_that_a_killed_read_did_not_come_to_is_missed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    names = source._names

    def killed(client: Any, account: Account) -> dict[str, str]:
        if account.id == ACCOUNT.id:
            time.sleep(0.5)  # until the other one has landed
            raise Killed
        return names(client, account)

    with opened(world, tmp_path, monkeypatch) as pipeline:
        migrated(pipeline.warehouse)
        monkeypatch.setattr(source, "_names", killed)
        with pytest.raises(Killed):
            pipeline.ingest("linkedin_ads", "campaign_daily", date(2026, 5, 17), UNTIL, "first")
        is_complete, why = gaps(pipeline)
    assert not is_complete
    assert f"{ACCOUNT.id}: was never read to its end" in why


# -- credentials, versions, doctor


def test_a_token_that_ended_is_renewed_once_and_the_report_goes_on(sandbox: World) -> None:
    before = fetch("campaign_daily")
    add_fault(sandbox, "linkedin_ads", "expire_token", path_contains="adAnalytics")
    assert fetch("campaign_daily") == before


def test_a_refresh_token_that_ended_is_one_clear_error(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKEDIN_ADS_REFRESH_TOKEN", "a-year-old")
    with pytest.raises(AuthError, match="refresh token is invalid, expired or revoked") as caught:
        fetch("campaign_daily")
    assert "a-year-old" not in str(caught.value)


def test_a_version_that_is_not_served_is_one_error_with_the_cure(sandbox: World) -> None:
    with pytest.raises(PermanentError, match="not served") as caught:
        accounts(connect(config(options={"api_version": "202502"})), config())
    assert "sources.linkedin_ads.options.api_version" in caught.value.fix


def test_the_calls_of_a_day_come_back_at_midnight_utc(sandbox: World) -> None:
    add_fault(sandbox, "linkedin_ads", "throttle", path_contains="adAnalytics", daily=True)
    with pytest.raises(QuotaError) as caught:
        fetch("campaign_daily")
    assert caught.value.until.time().isoformat() == "00:00:00"


def test_doctor_names_the_streams_of_each_account_and_the_scope_that_is_missing(sandbox: World) -> None:
    assert all(finding.ok for finding in probe(connect(config()), config()))
    add_fault(sandbox, "linkedin_ads", "missing_scope", path_contains="adAnalytics", scope="r_ads_reporting")
    found = {finding.what: finding for finding in probe(connect(config()), config())}
    refused = [finding for what, finding in found.items() if "account_daily" in what]
    assert refused
    assert all(not finding.ok and "r_ads_reporting" in finding.fix for finding in refused)
    assert any(finding.ok and what.endswith("campaign is readable") for what, finding in found.items())


# -- the twin


def test_linkedin_s_own_client_reads_the_twin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.issue("linkedin_ads", 60.0)
    with running(world, linkedin_ads={"page_size": 2}) as url:
        monkeypatch.setattr("linkedin_api.common.constants.VERSIONED_BASE_URL", f"{url}/linkedin_ads/rest")
        client = RestliClient()
        said = client.finder(resource_path="/adAccounts", finder_name="search", access_token=token,
                             version_string="202607", query_params={"pageSize": 10})  # fmt: skip
        assert [account["id"] for account in said.elements] == [508720451, 508774356]
        first, last = ({"year": 2026, "month": 6, "day": day} for day in (1, 10))
        report = client.finder(
            resource_path="/adAnalytics", finder_name="analytics", access_token=token, version_string="202607",
            query_params={
                "pivot": "CAMPAIGN", "timeGranularity": "DAILY", "accounts": ["urn:li:sponsoredAccount:508720451"],
                "dateRange": {"start": first, "end": last},
                "fields": "pivotValues,dateRange,clicks",
            },
        )  # fmt: skip
        assert report.status_code == 200
        clicks = sum(row["clicks"] for row in report.elements)
        assert clicks == sum(row[2] for row in days_of(world, ACCOUNT.id, WINDOW.start, WINDOW.end)) > 0


def test_who_has_no_role_in_an_account_gets_an_empty_report(sandbox: World) -> None:
    assert fetch("campaign_daily", account=Account("508720451999")) == []
