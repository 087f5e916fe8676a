"""Microsoft Advertising over the sandbox, and by the answers and files that public connectors recorded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
import requests

from b2b_pipeline.connectors import jobs
from b2b_pipeline.connectors.base import Account, Record, Window
from b2b_pipeline.connectors.http import Fatal, Outcome, Reauth, Wait
from b2b_pipeline.connectors.microsoft_ads import source
from b2b_pipeline.connectors.microsoft_ads.source import SOURCE, Microsoft, accounts, classify, connect, probe
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.warehouse.tables import campaign, spend
from b2b_pipeline_tests.support.asked import Asked, answer
from b2b_pipeline_tests.support.installation import served
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
OURS = Account("180535609", "Europe", "EUR", "Europe/Berlin")
WINDOW = Window.of_days(UNTIL - timedelta(days=25), UNTIL, ZoneInfo("UTC"))


POLL = "https://reporting.api.bingads.microsoft.com/Reporting/v13/GenerateReport/Poll"
ASKED = Asked(SOURCE, OURS, WINDOW)
config, mapped = ASKED.config, ASKED.rows


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=120, rough=True)


@pytest.fixture
def sandbox(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.setattr(jobs, "FIRST_PAUSE", 0.01)
    with served(world):
        yield world
    clear_faults(world)


def client() -> Microsoft:
    found = connect(config())
    accounts(found, config())
    return found


def fetch(stream: str, by: Microsoft | None = None, window: Window = WINDOW) -> list[Record]:
    return ASKED.fetch(stream, window, by=by or client())


def days_of(world: World, account: str) -> list[tuple[str, str, int, Decimal]]:
    return [(*shown, Decimal(micros).scaleb(-6)) for *shown, micros in ASKED.shown(world, account)]


# -- what answers mean


def means(status: int, code: int, of: str = "Errors") -> Outcome:
    error = {"Code": code, "ErrorCode": "Named", "Message": "x", "Detail": None}
    return classify(answer(POLL, status, {"TrackingId": "t", "Type": "AdApiFaultDetail", of: [error]}))


def test_what_answers_mean_by_the_code_inside() -> None:
    assert means(400, 117) == Wait(60.0, "error 117 (Named)")
    assert means(400, 207, "OperationErrors") == Wait(60.0, "error 207 (Named)")
    assert isinstance(means(500, 0), Wait)
    assert isinstance(means(401, 109), Reauth)
    assert means(400, 106) == Fatal("error 106 (Named)", auth=True)
    assert means(400, 2034, "BatchErrors") == Fatal("error 2034 (Named)")


# -- reports


RECORDED = """\
"TimePeriod","AccountId","CurrencyCode","Impressions","Clicks","Spend","CampaignId","CampaignName","CampaignType",\
"CampaignStatus","ConversionsQualified","Revenue"
"2023-11-11","180535609","USD","1","1","1.48","531016227","Airbyte test","Search & content","Active","0.50","12.00"
"2023-11-11","180535609","USD","3","0","0.00","7","Video, soon","Something new","Deleted","",""
"""


def test_a_recorded_report_becomes_spend_and_a_type_that_is_new_is_other() -> None:
    records = list(csv.DictReader(io.StringIO(RECORDED)))
    columns = ("campaign_id", "channel", "spend", "conversions_platform", "conv_value_platform", "currency")
    rows = [[str(row[name]) for name in columns] for row in mapped(spend, "campaign_daily", records)]
    assert rows == [
        ["531016227", "paid_search", "1.480000", "0.500000", "12.000000", "USD"],
        ["7", "other", "0.000000", "None", "None", "USD"],
    ]


def test_the_days_of_every_campaign_are_those_of_the_world_deleted_ones_too(sandbox: World) -> None:
    records = fetch("campaign_daily")
    found = sorted((row["TimePeriod"], row["CampaignId"], int(row["Clicks"]), Decimal(row["Spend"])) for row in records)
    assert found == days_of(sandbox, OURS.id)
    assert {row["CampaignStatus"] for row in records} == {"Active", "Deleted"}
    channels = {row["campaign_name"]: row["channel"] for row in mapped(spend, "campaign_daily", records)}
    assert channels['Bing | "Zielgruppe" & Mehr'] == "display"
    assert channels["Bing | Brand | DE"] == "paid_search"
    totals = {row["TimePeriod"]: Decimal(row["Spend"]) for row in fetch("account_daily")}
    day = found[0][0]
    assert totals[day] == sum(row[3] for row in found if row[0] == day)


def test_a_report_that_is_still_being_made_is_waited_for_and_taken_up_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.setattr(jobs, "FIRST_PAUSE", 0.01)
    with served(world), running(world, microsoft_ads={"pending": 3}) as url:
        monkeypatch.setenv("MICROSOFT_ADS_BASE_URL", f"{url}/microsoft_ads")
        assert len(fetch("campaign_daily")) == len(days_of(world, OURS.id))
        asked, kept = client(), jobs.Kept.of("microsoft_ads", "a test", datetime(2026, 6, 1, tzinfo=UTC))
        with pytest.raises(TransientError, match="not complete after 0 s"):
            list(jobs.read(_job(asked), kept, deadline=0.0))
        submitted = kept.id()
        assert submitted
        assert list(jobs.read(_job(asked), kept, sleep=lambda seconds: None))
        assert not kept.id(), "it was taken up, and is done with"


def _job(asked: Microsoft) -> jobs.Job:
    request = {
        "Type": "AccountPerformanceReportRequest", "Columns": list(source.OF_ACCOUNT),
        "Scope": {"AccountIds": [OURS.id]},
        "Time": {"CustomDateRangeStart": source._day(WINDOW.start), "CustomDateRangeEnd": source._day(WINDOW.start)},
    }  # fmt: skip
    return jobs.Job(
        "a report", lambda: source._submit(asked, OURS, request), lambda each: source._poll(asked, OURS, each),
        source._download,
    )  # fmt: skip


def test_a_report_without_rows_has_no_file_and_is_whole(sandbox: World) -> None:
    long_ago = Window.of_days(date(2020, 1, 1), date(2020, 1, 3), ZoneInfo("UTC"))
    assert fetch("campaign_daily", window=long_ago) == []


def test_a_file_whose_address_has_ended_or_that_is_damaged_is_asked_for_again(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("b2b_sandbox.microsoft_ads.ADDRESS_LIFETIME", -1.0)
    with pytest.raises(TransientError, match="gone while it was read"):
        fetch("campaign_daily")
    monkeypatch.undo()
    damaged = jobs.Done(url="http://127.0.0.1:9/")
    answer = requests.Response()
    answer.status_code, answer._content = 200, b"PK\x03\x04 half of it"
    monkeypatch.setattr(source.Session, "get", lambda *_: source.Answer(answer, "x"))
    with pytest.raises(TransientError, match="is damaged: BadZipFile"):
        list(source._download("1", damaged))


def test_a_report_that_microsoft_cannot_make_is_a_passing_error(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = requests.Response()
    answer.status_code, answer._content = (
        200,
        b'{"ReportRequestStatus": {"Status": "Error", "ReportDownloadUrl": null}}',
    )
    asked = client()
    monkeypatch.setattr(Microsoft, "ask", lambda *_: source.Answer(answer, "x"))
    found = source._poll(asked, OURS, "1")
    assert isinstance(found, jobs.Failed)
    assert isinstance(found.error, TransientError)


# -- accounts, campaigns, credentials


def test_an_account_that_was_deleted_or_is_not_set_up_costs_the_others_nothing(sandbox: World) -> None:
    found = accounts(connect(config()), config())
    assert {account.id: account.time_zone for account in found.read} == {
        "180519267": "America/New_York", "180535609": "Europe/Berlin",
    }  # fmt: skip
    assert {item.account for item in found.skipped} == {"180278106", "180767304"}


def test_campaigns_of_every_type_are_listed(sandbox: World) -> None:
    rows = {row["name"]: row for row in mapped(campaign, "campaign", fetch("campaign"))}
    assert rows['Bing | "Zielgruppe" & Mehr']["channel"] == "display"
    assert rows["Bing | Brand | DE"]["channel"] == "paid_search"


def test_a_token_that_ended_is_renewed_once_and_a_refresh_token_that_ended_is_told(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = client()
    add_fault(sandbox, "microsoft_ads", "expire_token", path_contains="Submit")
    assert fetch("campaign_daily", asked)
    monkeypatch.setenv("MICROSOFT_ADS_REFRESH_TOKEN", "ninety-days-old")
    with pytest.raises(AuthError, match="AADSTS70000") as caught:
        client()
    assert "ninety-days-old" not in str(caught.value)


def test_doctor_names_the_streams_of_each_account_and_who_is_not_allowed(sandbox: World) -> None:
    assert all(finding.ok for finding in probe(connect(config()), config()))
    add_fault(sandbox, "microsoft_ads", "missing_scope", path_contains="Submit")
    refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert len(refused) == 4
    assert all("b2b connect microsoft_ads" in finding.fix for finding in refused)


# -- the vendor's own models: imported here alone, for that takes each process that collects tests three seconds


def test_every_time_zone_of_microsoft_s_is_known() -> None:
    from openapi_client.models.customer.time_zone_type import TimeZoneType  # type: ignore[import-untyped]

    assert set(source._zones()) == {zone.value for zone in TimeZoneType}
    assert set(source._zones().values()) <= available_timezones()


def test_microsoft_s_own_models_take_what_we_ask_and_what_the_twin_answers(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openapi_client.models.campaign.campaign import Campaign  # type: ignore[import-untyped]
    from openapi_client.models.customer.advertiser_account import AdvertiserAccount  # type: ignore[import-untyped]
    from openapi_client.models.customer.search_accounts_request import (  # type: ignore[import-untyped]
        SearchAccountsRequest,
    )
    from openapi_client.models.reporting.report_request import ReportRequest  # type: ignore[import-untyped]

    seen: list[tuple[str, Record, Any]] = []
    ask = Microsoft.ask

    def noted(self: Microsoft, service: str, path: str, body: Record, account: str = "") -> Any:
        answer = ask(self, service, path, body, account)
        seen.append((path, body, answer.json()))
        return answer

    monkeypatch.setattr(Microsoft, "ask", noted)
    by = client()
    for stream in SOURCE.streams:
        fetch(stream.name, by)

    def said(model: Any) -> Any:
        return json.loads(model.model_dump_json(by_alias=True, exclude_none=True))

    asked = {path: (body, answer) for path, body, answer in seen}
    for body in (body for path, body, _ in seen if path.endswith("Submit")):
        assert said(ReportRequest.from_dict(body["ReportRequest"])) == body["ReportRequest"]
    search, found = asked["Accounts/Search"]
    assert said(SearchAccountsRequest.from_dict(search)) == search
    for account in (each for each in found["Accounts"] if each["CurrencyCode"]):
        assert AdvertiserAccount.from_dict(account).id == account["Id"]
    for each in asked["Campaigns/QueryByAccountId"][1]["Campaigns"]:
        assert Campaign.from_dict(each).id == each["Id"]
