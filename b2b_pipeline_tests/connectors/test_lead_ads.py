"""Leads of forms in ads, at LinkedIn and at Meta, by the answers that their documents show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import responses
import time_machine
from facebook_business.adobjects.ad import Ad  # type: ignore[import-untyped]
from facebook_business.adobjects.adaccount import AdAccount  # type: ignore[import-untyped]
from facebook_business.adobjects.lead import Lead  # type: ignore[import-untyped]
from facebook_business.api import FacebookAdsApi  # type: ignore[import-untyped]
from facebook_business.session import FacebookSession  # type: ignore[import-untyped]
from linkedin_api.clients.restli.client import RestliClient  # type: ignore[import-untyped]

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Accounts, MappingContext, Record, Window
from b2b_pipeline.connectors.meta_ads.source import AD_STATUSES, LEAD
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.core.load import load_table
from b2b_pipeline.derived.coverage import update_coverage
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.landing.ingest import ingest
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import coverage, metadata
from b2b_pipeline_tests.support.installation import CREDENTIALS
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import lead_forms, tokens
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

LINKEDIN, META = "https://api.linkedin.com/rest/leadFormResponses", "https://graph.facebook.com/v26.0"
ACCOUNT = Account("508720451", "Europe", "EUR", "UTC")
WINDOW = Window.of_days(date(2026, 6, 1), date(2026, 6, 8), ZoneInfo("UTC"))
AT = int(datetime(2026, 6, 2, 10, tzinfo=UTC).timestamp() * 1000)


def config(vendor: str, **settings: Any) -> Config:
    given = {"start_date": "2026-05-01", "system_of_record": "files", "sources": {vendor: settings}}
    return Config.model_validate(given)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    for name in [*CREDENTIALS, "META_ADS_BASE_URL", "LINKEDIN_ADS_BASE_URL"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("META_ADS_ACCESS_TOKEN", "EAAB-system-user")
    monkeypatch.setenv("LINKEDIN_ADS_ACCESS_TOKEN", "AQV-member")
    with responses.RequestsMock() as mock, time_machine.travel(datetime(2026, 6, 8, 6, tzinfo=UTC), tick=False):
        yield mock


def fetch(name: str, window: Window = WINDOW) -> list[Record]:
    source = SOURCES[name]
    pages = source.stream("lead").fetch(source.connect(config(name)), ACCOUNT, window)
    return [dict(record) for page in pages for record in page.records]


def mapped(name: str, table: str, records: list[Record]) -> list[dict[str, Any]]:
    context = MappingContext(config(name), name, "lead", ACCOUNT)
    stored = enforce(metadata.tables[table], SOURCES[name].stream("lead").feeds[table](flattened(records), context))
    assert stored.rejects.empty
    found: list[dict[str, Any]] = stored.rows.astype(object).to_dict("records")
    return found


def response(identifier: str, **more: Any) -> dict[str, Any]:
    answers = {107: "Ada", 207: "ada@work.example", 307: "Analytics Ltd", 407: "call me on +49 30 1"}
    asked = {107: "FIRST_NAME", 207: "WORK_EMAIL", 307: "COMPANY_NAME", 407: None}
    questions = [{"questionId": n, "name": "q", **({"predefinedField": f} if f else {})} for n, f in asked.items()]
    return {
        "id": identifier, "submittedAt": AT, "testLead": False,
        "leadMetadata": {"sponsoredLeadMetadata": {"campaign": "urn:li:sponsoredCampaign:1111"}},
        "associatedEntity": {"associatedCreative": "urn:li:sponsoredCreative:241257736"},
        "form": {"id": 7234246, "name": "Demo", "content": {"questions": questions}},
        "formResponse": {"consentResponses": [], "answers": [
            {"questionId": n, "answerDetails": {"textQuestionAnswer": {"answer": text}}} for n, text in answers.items()
        ]}, **more,
    }  # fmt: skip


def page(*elements: dict[str, Any], total: int, start: int = 0) -> dict[str, Any]:
    return {"paging": {"start": start, "count": 100, "links": [], "total": total}, "elements": list(elements)}


def test_of_a_lead_at_linkedin_only_address_and_company_are_kept_and_tests_are_left_out(
    vendor: responses.RequestsMock,
) -> None:
    vendor.get(LINKEDIN, json=page(response("a-4"), response("b-4", testLead=True), total=3))
    vendor.get(LINKEDIN, json=page({"id": "c-4", "submittedAt": AT}, total=3, start=2))
    records = fetch("linkedin_ads")
    assert [record["id"] for record in records] == ["a-4", "c-4"]
    assert not [word for word in ("Ada", "+49") if word in json.dumps(records)]
    lead, nothing = mapped("linkedin_ads", "lead", records)
    assert (lead["company"], lead["capture_type"], nothing["email_hash"]) == ("Analytics Ltd", "lead_ad", None)
    event, _ = mapped("linkedin_ads", "form_event", records)
    assert (event["form_name"], event["campaign_id"], event["channel"]) == ("Demo", "1111", "paid_social")
    url = str(vendor.calls[0].request.url)
    assert "owner=(sponsoredAccount:urn%3Ali%3AsponsoredAccount%3A508720451)" in url
    assert "submittedAtTimeRange=(start:1780272000000,end:1780876800000)" in url
    assert "start=2" in str(vendor.calls[1].request.url)


def test_leads_that_are_announced_and_do_not_come_are_an_error(vendor: responses.RequestsMock) -> None:
    vendor.get(LINKEDIN, json=page(total=2))
    with pytest.raises(TransientError, match="0 of 2"):
        fetch("linkedin_ads")


def test_a_token_without_the_scope_is_told(vendor: responses.RequestsMock) -> None:
    body = {"status": 403, "code": "ACCESS_DENIED", "message": "Not enough permissions to access: leadFormResponses"}
    vendor.get(LINKEDIN, json=body, status=403)
    with pytest.raises(AuthError, match="ACCESS_DENIED"):
        fetch("linkedin_ads")


def test_leads_at_meta_are_read_ad_by_ad_and_only_those_of_the_window(vendor: responses.RequestsMock) -> None:
    ads = [{"id": "61", "campaign_id": "120"}, {"id": "62", "campaign_id": "121"}]
    vendor.get(f"{META}/act_{ACCOUNT.id}/ads", json={"data": ads})
    given = {"email": "ada@home.example", "company_name": "Analytics Ltd", "full_name": "Ada Lovelace", "wann?": "bald"}
    fields = [{"name": name, "values": [value]} for name, value in given.items()]
    found = [{"id": str(n), "created_time": f"2026-06-0{n}T08:49:14+0000", "form_id": "9", "field_data": fields}
             for n in (8, 7)]  # fmt: skip
    vendor.get(f"{META}/61/leads", json={"data": found})
    vendor.get(f"{META}/62/leads", json={"data": []})
    records = fetch("meta_ads")
    assert [(record["id"], record["campaign_id"], record["ad_id"]) for record in records] == [("7", "120", "61")]
    assert not [word for word in ("Lovelace", "bald") if word in json.dumps(records)]
    filtered = json.loads(vendor.calls[1].request.params["filtering"])  # type: ignore[attr-defined]
    assert filtered == [{"field": "time_created", "operator": "GREATER_THAN", "value": 1780272000 - 1}]
    (touch,) = mapped("meta_ads", "touchpoint", records)
    assert (touch["touch_id"], touch["channel"], touch["campaign_id"]) == ("meta_ads:lead:7", "paid_social", "120")


def test_leads_of_an_outage_that_meta_keeps_no_more_are_lost_and_said_to_be(
    vendor: responses.RequestsMock, tmp_path: Path
) -> None:
    """From the twentieth of January to the seventh of June nobody read: of that Meta still has the last 90 days."""
    vendor.get(f"{META}/act_{ACCOUNT.id}/ads", json={"data": [{"id": "61", "campaign_id": "120"}]})
    vendor.get(f"{META}/61/leads", json={"data": []})
    landing = Landing(tmp_path, Pseudonyms(b"key", tmp_path / "gone.json"))
    given = {"start_date": "2026-01-01", "system_of_record": "files", "sources": {"meta_ads": {"streams": ["lead"]}}}
    ours, meta = Config.model_validate(given), SOURCES["meta_ads"]

    def night(run: str, now: datetime, start: date) -> None:
        with time_machine.travel(now, tick=False):
            report = ingest(
                meta, meta.stream("lead"), meta.connect(ours), Accounts([ACCOUNT]), start, now.date(),
                config=ours, landing=landing, run_id=run,
            )  # fmt: skip
        assert not report.failed

    night("1", datetime(2026, 1, 20, 6, tzinfo=UTC), date(2026, 1, 1))
    night("2", datetime(2026, 6, 8, 6, tzinfo=UTC), date(2026, 6, 7))
    warehouse = Warehouse(f"duckdb:///{tmp_path / 'warehouse.duckdb'}")
    migrated(warehouse)
    for table in ("lead", "touchpoint", "form_event", "identity_link"):
        load_table(warehouse, landing, ours, metadata.tables[table], "1")
    update_coverage(warehouse, landing, ours, date(2026, 6, 8))
    of_leads = coverage.select().where(coverage.c.target_table == "lead")
    days = {row["date_day"]: row["reason"] for row in warehouse.rows(of_leads)}
    told = "and Meta Ads tells it for 90 days alone"
    assert days[date(2026, 1, 5)] == f"meta_ads/lead was not read between 2026-01-20 and 2026-03-11, {told}"
    assert days[date(2026, 2, 1)] == f"meta_ads/lead was not read for this day, {told}"
    assert {day for day, reason in days.items() if reason} == {
        date(2026, 1, 1) + timedelta(days=n) for n in range((date(2026, 3, 12) - date(2026, 1, 1)).days)
    }


@pytest.mark.parametrize("name", ["linkedin_ads", "meta_ads"])
def test_leads_are_read_only_where_the_configuration_names_them(name: str) -> None:
    def on(**settings: Any) -> set[str]:
        return {stream.name for stream in SOURCES[name].switched_on(config(name, **settings))}

    assert on() == {"campaign_daily", "account_daily", "campaign"}
    assert on(streams=["campaign", "lead"]) == {"campaign", "lead"}


# -- the twins, by the vendors' own clients


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=date(2026, 6, 15), days=30, leads=120)


def given(world: World, name: str) -> list[lead_forms.Lead]:
    with world.connect() as connection:
        return lead_forms.leads(connection, world.now(), name)


def test_linkedin_s_own_client_reads_the_leads_of_the_twin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    urn = f"urn:li:sponsoredAccount:{ACCOUNT.id}"
    with running(world) as url:
        monkeypatch.setattr("linkedin_api.common.constants.VERSIONED_BASE_URL", f"{url}/linkedin_ads/rest")
        said = RestliClient().finder(
            resource_path="/leadFormResponses", finder_name="owner", access_token=tokens.issue("linkedin_ads", 60.0),
            version_string="202607",
            query_params={
                "owner": {"sponsoredAccount": urn}, "leadType": {"leadType": "SPONSORED"}, "count": 100,
                "limitedToTestLeads": False, "submittedAtTimeRange": {"start": 0, "end": world.now()},
            },
        )  # fmt: skip
    ours = [each for each in given(world, "linkedin_ads") if each.account == ACCOUNT.id]
    assert [element["submittedAt"] for element in said.elements] == [each.at for each in ours]
    assert said.paging.total == len(ours) > 0


def test_meta_s_own_client_reads_the_leads_of_the_twin_and_has_every_field(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(kind: Any) -> set[str]:
        return {value for name, value in vars(kind).items() if not name.startswith("_")}

    assert {*LEAD} <= known(Lead.Field)
    assert set(AD_STATUSES) == known(Ad.EffectiveStatus)
    ours = [each for each in given(world, "meta_ads") if not each.is_test]
    with running(world, meta_ads={"page_size": 2}) as url:
        monkeypatch.setattr(FacebookSession, "GRAPH", f"{url}/meta_ads")
        api = FacebookAdsApi.init("1", tokens.CLIENT_SECRET, tokens.PRIVATE_APP_TOKEN, api_version="v26.0")
        found = set()
        filtering = [{"field": "effective_status", "operator": "IN", "value": list(AD_STATUSES)}]
        for account in {each.account for each in ours}:
            for ad in AdAccount(f"act_{account}", api=api).get_ads(["campaign_id"], {"filtering": filtering}):
                found |= {(ad["campaign_id"], int(each["id"]) - 10**14) for each in ad.get_leads(list(LEAD))}
    assert found == {(each.campaign, each.number) for each in ours}
    assert found
