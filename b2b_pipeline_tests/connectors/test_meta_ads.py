"""Meta Ads over the sandbox, and by the answers that its documents and public connectors show."""

from __future__ import annotations

import json
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
from facebook_business.adobjects.adaccount import AdAccount  # type: ignore[import-untyped]
from facebook_business.adobjects.adsinsights import AdsInsights  # type: ignore[import-untyped]
from facebook_business.adobjects.campaign import Campaign  # type: ignore[import-untyped]
from facebook_business.api import FacebookAdsApi  # type: ignore[import-untyped]
from facebook_business.session import FacebookSession  # type: ignore[import-untyped]

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Fatal, Outcome, Reauth, Split, Stop, Wait
from b2b_pipeline.connectors.meta_ads.source import (
    ACCOUNT,
    CAMPAIGN,
    METRICS,
    OF_CAMPAIGN,
    SOURCE,
    STATUSES,
    accounts,
    classify,
    connect,
    probe,
)
from b2b_pipeline.core.control import reconcile
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, SplitError, TransientError
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import campaign, spend
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served, settle
from b2b_sandbox import tokens
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
OURS = Account("1201500000000001", "Europe", "EUR", "Europe/Berlin")
WINDOW = Window.of_days(UNTIL - timedelta(days=40), UNTIL, ZoneInfo("UTC"))
BASE = "https://graph.facebook.com/v26.0"
SETTINGS = "start_date: 2026-05-01\nsystem_of_record: files\nsources: {meta_ads: {}}\n"


def config(**settings: Any) -> Config:
    given = {"start_date": "2026-05-01", "system_of_record": "files", "sources": {"meta_ads": settings}}
    return Config.model_validate(given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=45, leads=180, rough=True)


@pytest.fixture
def sandbox(world: World) -> Iterator[World]:
    with served(world):
        yield world
    clear_faults(world)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    for name in [*CREDENTIALS, "META_ADS_BASE_URL"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("META_ADS_ACCESS_TOKEN", "EAAB-system-user")
    with responses.RequestsMock() as mock:
        yield mock


def fetch(stream: str, account: Account = OURS, window: Window = WINDOW) -> list[Record]:
    pages = SOURCE.stream(stream).fetch(connect(config()), account, window)
    return [record for page in pages for record in page.records]


def mapped(table: Any, stream: str, records: list[Record], **settings: Any) -> list[dict[str, Any]]:
    context = MappingContext(config(**settings), "meta_ads", stream, OURS)
    stored = enforce(table, SOURCE.stream(stream).feeds[table.name](flattened(records), context))
    assert stored.rejects.empty
    found: list[dict[str, Any]] = stored.rows.astype(object).to_dict("records")
    return found


def days_of(world: World, account: str) -> list[tuple[str, str, int, int]]:
    """Day, campaign, clicks and micros as they are now, without a day on which nothing was shown."""
    query = """
        select date_day, campaign_id, clicks, cost_micros from (
            select *, max(known_at) from ad_day where vendor = 'meta_ads' and account_id = ? and known_at <= ?
            and date_day >= ? and date_day < ? group by campaign_id, date_day)
        where impressions > 0 order by 1, 2"""
    with world.connect() as connection:
        found = connection.execute(query, (account, world.now(), str(WINDOW.start), str(WINDOW.end)))
        return [tuple(row) for row in found]


# -- what answers mean


def means(status: int, error: dict[str, Any] | None, headers: dict[str, str] | None = None) -> Outcome:
    made = requests.Response()
    made.status_code, made.url = status, f"{BASE}/act_1/insights"
    made._content = json.dumps({"error": error} if error else {"data": []}).encode()
    made.headers.update({"Content-Type": "application/json", **(headers or {})})
    return classify(made)


def usage(minutes: int) -> dict[str, str]:
    kinds = [{"type": "ads_insights", "call_count": 100, "estimated_time_to_regain_access": minutes},
             {"type": "ads_management", "call_count": 2, "estimated_time_to_regain_access": 0}]  # fmt: skip
    return {"x-business-use-case-usage": json.dumps({"1201500000000001": kinds})}


def test_throttling_is_by_the_code_and_the_time_by_the_usage_header() -> None:
    many = {"code": 80000, "error_subcode": 2446079, "message": "(#80000) There have been too many calls"}
    assert means(400, many, usage(7)) == Wait(420.0, "error 80000, 2446079")
    with time_machine.travel(datetime(2026, 6, 16, 6, tzinfo=UTC), tick=False):
        assert means(400, many, usage(120)) == Stop(datetime(2026, 6, 16, 8, tzinfo=UTC), "error 80000, 2446079")
        locked = means(403, {"code": 17, "error_subcode": 2446079, "message": "User request limit reached"})
    assert locked == Stop(datetime(2026, 6, 16, 7, tzinfo=UTC), "error 17, 2446079")
    for code in (4, 17, 32, 613, 80004):
        assert isinstance(means(400, {"code": code, "message": "too many"}), Wait), code


def test_what_passes_is_asked_again_and_what_is_too_much_in_halves() -> None:
    for error in ({"code": 2, "message": "An unexpected error has occurred. Please retry your request later."},
                  {"code": 100, "is_transient": True, "message": "x"}):  # fmt: skip
        assert isinstance(means(400, error), Wait)
    much = {"code": 1, "message": "Please reduce the amount of data you're asking for, then retry your request"}
    assert isinstance(means(500, much), Split)
    for code, subcode in ((100, 1487534), (100, 1504018), (2, 1504038)):  # documented as: try a smaller date range
        assert isinstance(means(400, {"code": code, "error_subcode": subcode, "message": "x"}), Split)


def test_credentials_versions_and_what_is_too_long_ago_are_told_with_their_cure() -> None:
    assert isinstance(means(400, {"code": 190, "error_subcode": 463, "message": "Session has expired"}), Reauth)
    assert means(403, {"code": 200, "message": "(#200) Requires ads_read"}) == Fatal("error 200", auth=True)
    for code, cure in ((2635, "options.api_version"), (3018, "b2b backfill --from")):
        found = means(400, {"code": code, "message": "x"})
        assert isinstance(found, Fatal)
        assert cure in found.fix


# -- reports


RECORDED = {
    "data": [
        {"account_id": "1201500000000001", "account_currency": "EUR", "campaign_id": "23853619670350398",
         "campaign_name": "Leads, one", "spend": "12.34", "impressions": "1703", "clicks": "41",
         "inline_link_clicks": "20", "date_start": "2026-05-20", "date_stop": "2026-05-20",
         "actions": [{"action_type": "link_click", "value": "20"}, {"action_type": "lead", "value": "3"},
                     {"action_type": "offsite_conversion.fb_pixel_lead", "value": "2"},
                     {"action_type": "onsite_conversion.lead_grouped", "value": "1"}],
         "action_values": [{"action_type": "lead", "value": "150.5"}]},
        {"account_id": "1201500000000001", "account_currency": "EUR", "campaign_id": "7", "campaign_name": "No action",
         "spend": "0", "impressions": "1", "clicks": "0", "date_start": "2026-05-20", "date_stop": "2026-05-20"},
    ],
    "paging": {"cursors": {"before": "MAZDZD", "after": "MQZDZD"}},
}  # fmt: skip


def test_a_report_becomes_spend_and_leads_are_counted_once(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/act_{OURS.id}/insights", json=RECORDED)
    records = fetch("campaign_daily")
    columns = ["campaign_id", "spend", "clicks", "conversions_platform", "conv_value_platform", "account_tz"]
    rows = [[str(row[name]) for name in columns] for row in mapped(spend, "campaign_daily", records)]
    assert rows == [
        ["23853619670350398", "12.340000", "41", "3.000000", "150.500000", "Europe/Berlin"],
        ["7", "0.000000", "0", "0.000000", "0.000000", "Europe/Berlin"],
    ]
    chosen = {"conversions": "onsite_conversion.lead_grouped"}
    first, _ = mapped(spend, "campaign_daily", records, options=chosen)
    assert first["conversions_platform"] == 1


def test_the_token_is_in_a_header_and_the_last_day_is_included(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/act_{OURS.id}/insights", json={"data": []})
    fetch("campaign_daily", window=Window.of_days(date(2026, 5, 20), date(2026, 5, 22), ZoneInfo("UTC")))
    request = vendor.calls[0].request
    assert request.headers["Authorization"] == "Bearer EAAB-system-user"
    assert "EAAB" not in str(request.url)
    asked = request.params  # type: ignore[attr-defined]
    assert json.loads(asked["time_range"]) == {"since": "2026-05-20", "until": "2026-05-21"}
    assert json.loads(asked["filtering"])[0]["value"] == list(STATUSES)
    assert (asked["level"], asked["time_increment"]) == ("campaign", "1")


def test_the_days_of_every_campaign_are_those_of_the_world_deleted_ones_too(sandbox: World) -> None:
    found = sorted((row["date_start"], row["campaign_id"], int(row["clicks"]), Decimal(row["spend"]))
                   for row in fetch("campaign_daily"))  # fmt: skip
    expected = [(*row[:3], Decimal(row[3]).scaleb(-6)) for row in days_of(sandbox, OURS.id)]
    assert expected
    assert found == expected
    status = {row["id"]: row["effective_status"] for row in fetch("campaign")}
    assert status["120210000000010002"] == "DELETED"
    assert "120210000000010002" in {row[1] for row in found}


def test_a_page_is_the_last_when_there_is_no_address_of_a_next_one(vendor: responses.RequestsMock) -> None:
    """A short page need not be the last, and the last has a cursor, too."""
    url = f"{BASE}/act_{OURS.id}/campaigns"
    rows = [{"id": str(n), "name": "x", "effective_status": "PAUSED"} for n in range(3)]
    more = {"cursors": {"after": "QVFI"}, "next": f"{url}?access_token=EAAB&after=QVFI"}
    vendor.get(url, json={"data": rows[:1], "paging": more})
    vendor.get(url, json={"data": rows[1:], "paging": {"cursors": {"after": "end"}}})
    assert len(fetch("campaign")) == 3
    assert "after=QVFI" in str(vendor.calls[1].request.url)
    assert "access_token" not in str(vendor.calls[1].request.url)


def test_an_action_whose_value_is_none_costs_its_row_and_one_that_nobody_has_is_unknown() -> None:
    def row(*actions: dict[str, Any]) -> Record:
        return {**RECORDED["data"][0], "actions": list(actions), "action_values": []}

    def conversions(records: list[Record], **options: str) -> list[Any]:
        context = MappingContext(config(options=options), "meta_ads", "campaign_daily", OURS)
        found = enforce(spend, SOURCE.stream("campaign_daily").feeds["spend"](flattened(records), context))
        return [*found.rows["conversions_platform"].astype(object), *found.rejects["reason"]]

    lead = {"action_type": "lead", "value": "2"}
    assert conversions([row(lead)]) == [2]
    assert conversions([row()]) == [0]
    for broken in ({"action_type": "lead", "value": None}, {"action_type": "lead"}):
        assert conversions([row(broken)]) == ["not an amount"]
    assert [str(found) for found in conversions([row(lead)], conversions="leeds")] == ["<NA>"]
    both = [row(lead), {**row(), "campaign_id": "8"}]
    assert conversions(both, conversions="lead,purchase") == [2, 0], "nobody bought: Meta leaves out what is 0"
    assert [str(found) for found in conversions(both, conversions="lead,leeds")] == ["<NA>", "<NA>"]
    custom = {"action_type": "offsite_conversion.custom.81", "value": "3"}
    assert conversions([row(lead, custom), both[1]], conversions="lead,offsite_conversion.custom.81") == [5, 0]
    with pytest.raises(ConfigError, match=r"options\.conversions"):
        connect(config(options={"conversions": "lead,"}))


def test_a_next_page_without_a_cursor_is_no_end(vendor: responses.RequestsMock) -> None:
    url = f"{BASE}/act_{OURS.id}/campaigns"
    vendor.get(url, json={"data": [{"id": "1"}], "paging": {"next": f"{url}?after=x"}})
    with pytest.raises(TransientError, match="there is a next page"):
        fetch("campaign")


def test_a_list_that_is_too_much_is_read_again_and_not_in_halves_of_days(vendor: responses.RequestsMock) -> None:
    much = {"code": 1, "message": "Please reduce the amount of data you're asking for, then retry your request"}
    vendor.get(f"{BASE}/act_{OURS.id}/campaigns", json={"error": much}, status=500)
    with pytest.raises(TransientError, match="it has to be read again"):
        fetch("campaign")
    assert "limit=100" in str(vendor.calls[0].request.url)


def test_rounding_is_forgiven_by_the_row_and_a_click_never(own: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SOURCE.control
    with running(own.world) as url:
        monkeypatch.setenv("META_ADS_BASE_URL", f"{url}/meta_ads")
        pipeline = Pipeline.from_environment()
        for stream in ("campaign_daily", "account_daily"):
            assert not pipeline.ingest("meta_ads", stream, UNTIL - timedelta(days=2), UNTIL, "first").failed
    for name, off, is_told in (("spend", "0.009", False), ("spend", "0.03", True), ("clicks", "1", True)):
        landing = Changed(pipeline, name, Decimal(off))
        differences = reconcile(landing, SOURCE, SOURCE.control).differences  # type: ignore[arg-type]
        assert bool(differences) is is_told, (name, off)


class Changed:
    """A landing in which one field of each account's day is off by so much."""

    def __init__(self, pipeline: Pipeline, name: str, off: Decimal) -> None:
        self._landing, self._name, self._off = pipeline.landing, name, off

    def __getattr__(self, name: str) -> Any:
        return getattr(self._landing, name)

    def records(self, item: Any) -> list[Record]:
        moved = self._off if item.stream == "account_daily" else Decimal(0)
        return [{**row, self._name: Decimal(row[self._name]) + moved} for row in self._landing.records(item)]


@pytest.fixture
def own(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    (tmp_path / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    found = Installation(tmp_path, world)
    settle(found, monkeypatch)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        yield found


def test_a_report_that_is_too_large_is_asked_for_in_halves(own: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(own.world, meta_ads={"most": 12, "page_size": 5}) as url:
        monkeypatch.setenv("META_ADS_BASE_URL", f"{url}/meta_ads")
        pipeline = Pipeline.from_environment()
        assert not pipeline.ingest("meta_ads", "campaign_daily", WINDOW.start, WINDOW.end, "first").failed
    slices = pipeline.landing.slices("meta_ads", "campaign_daily", OURS.id)
    assert len(slices) > 3
    found = sorted((row["date_start"], row["campaign_id"]) for item in slices for row in pipeline.landing.records(item))
    assert found == [row[:2] for row in days_of(own.world, OURS.id)]


def test_a_day_that_is_too_large_fails_and_is_not_there(own: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(own.world, meta_ads={"most": 0}) as url:
        monkeypatch.setenv("META_ADS_BASE_URL", f"{url}/meta_ads")
        report = Pipeline.from_environment().ingest(
            "meta_ads", "campaign_daily", UNTIL - timedelta(days=1), UNTIL, "first"
        )
    assert isinstance(report.failed[OURS.id], SplitError)


def test_campaigns_add_up_to_the_account(own: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(own.world) as url:
        monkeypatch.setenv("META_ADS_BASE_URL", f"{url}/meta_ads")
        pipeline = Pipeline.from_environment()
        for stream in ("campaign_daily", "account_daily"):
            assert not pipeline.ingest("meta_ads", stream, WINDOW.start, WINDOW.end, "first").failed
    assert SOURCE.control
    found = reconcile(pipeline.landing, SOURCE, SOURCE.control)
    assert found.days_compared > 60
    assert not found.differences


# -- accounts, campaigns, credentials


def test_an_account_that_is_disabled_is_read_and_one_that_is_not_set_up_left_out(sandbox: World) -> None:
    found = accounts(connect(config()), config())
    assert {account.id: account.time_zone for account in found.read} == {
        "1201500000000001": "Europe/Berlin", "1201500000000002": "America/New_York",
        "1201500000000003": "Europe/Berlin",
    }  # fmt: skip
    assert [item.account for item in found.skipped] == ["1201500000000004"]
    one = config(accounts=["act_1201500000000002"], ended={"act_1201500000000002": "2026-06-10"})
    assert [account.id for account in accounts(connect(one), one).read] == ["1201500000000002"]
    assert one.last_day("meta_ads", "1201500000000002") == date(2026, 6, 10)
    assert one.last_day("meta_ads", "1201500000000001") is None, "the ids begin with the same fifteen digits"


def test_campaigns_are_as_they_are_now(sandbox: World) -> None:
    rows = {row["name"]: row for row in mapped(campaign, "campaign", fetch("campaign"))}
    assert rows["Lookalike | Leads"]["campaign_type"] == "OUTCOME_LEADS"
    assert [name for name, row in rows.items() if row["is_deleted"]] == ["Retargeting \U0001f3ac Film"]


def test_a_token_that_ended_is_one_clear_error_that_does_not_say_it(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("META_ADS_ACCESS_TOKEN", "EAAB-ended")
    with pytest.raises(AuthError) as caught:
        accounts(connect(config()), config())
    assert "EAAB" not in str(caught.value)


def test_a_wrong_proof_is_refused_and_without_a_secret_there_is_none(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accounts(connect(config()), config()).read
    monkeypatch.setenv("META_ADS_APP_SECRET", "another app's")
    with pytest.raises(PermanentError, match="error 100"):
        accounts(connect(config()), config())
    monkeypatch.delenv("META_ADS_APP_SECRET")
    assert accounts(connect(config()), config()).read


def test_a_long_wait_is_left_to_the_orchestrator(sandbox: World) -> None:
    add_fault(sandbox, "meta_ads", "throttle", path_contains="insights", retry_after=1800)
    with pytest.raises(QuotaError):
        fetch("campaign_daily")


def test_a_version_that_is_not_served_is_one_error_with_the_cure(sandbox: World) -> None:
    old = config(options={"api_version": "v20.0"})
    with pytest.raises(PermanentError, match="not served any more") as caught:
        accounts(connect(old), old)
    assert "sources.meta_ads.options.api_version" in caught.value.fix


def test_doctor_names_the_streams_of_each_account_and_the_permission_that_is_missing(sandbox: World) -> None:
    assert all(finding.ok for finding in probe(connect(config()), config()))
    add_fault(sandbox, "meta_ads", "missing_scope", path_contains="insights", scope="ads_read")
    refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert len(refused) == 6
    assert all("ads_read" in finding.fix for finding in refused)


def test_doctor_names_a_type_of_action_that_no_account_ever_had(sandbox: World) -> None:
    asked = config(options={"conversions": "lead, offsite_conversion.custom.81"})
    (found,) = (finding for finding in probe(connect(asked), asked) if not finding.ok)
    assert "offsite_conversion.custom.81" in found.what
    assert "offsite_conversion.fb_pixel_lead" in found.fix
    fine = config(options={"conversions": "offsite_conversion.fb_pixel_lead, purchase"})
    assert all(finding.ok for finding in probe(connect(fine), fine))


# -- the twin, and the vendor's own words


def test_meta_has_every_field_and_status_that_is_asked_for() -> None:
    def known(kind: Any) -> set[str]:
        return {value for name, value in vars(kind).items() if not name.startswith("_")}

    assert {*METRICS, *OF_CAMPAIGN} <= known(AdsInsights.Field)
    assert {*CAMPAIGN} <= known(Campaign.Field)
    assert {*ACCOUNT} <= known(AdAccount.Field)
    assert set(STATUSES) == known(Campaign.EffectiveStatus)


def test_meta_s_own_client_reads_the_twin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(world, meta_ads={"page_size": 3}) as url:
        monkeypatch.setattr(FacebookSession, "GRAPH", f"{url}/meta_ads")
        api = FacebookAdsApi.init("1", tokens.CLIENT_SECRET, tokens.PRIVATE_APP_TOKEN, api_version="v26.0")
        account = AdAccount(f"act_{OURS.id}", api=api)
        filtering = [{"field": "campaign.effective_status", "operator": "IN", "value": list(STATUSES)}]
        span = {"since": str(WINDOW.start), "until": str(WINDOW.end - timedelta(days=1))}
        asked = {"level": "campaign", "time_increment": 1, "time_range": span, "filtering": filtering}
        rows = list(account.get_insights(fields=["campaign_id", "clicks"], params=asked))
        assert [(row["date_start"], row["campaign_id"], int(row["clicks"])) for row in rows] == [
            row[:3] for row in days_of(world, OURS.id)
        ]
        names = {each["name"] for each in account.get_campaigns(fields=["name"])}
        assert "Lookalike | Leads" in names
        assert "Retargeting \U0001f3ac Film" not in names, "a deleted one is there only for who asks for it"
