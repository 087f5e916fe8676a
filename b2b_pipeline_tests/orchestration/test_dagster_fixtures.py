"""Assets materialised from answers as the vendors document them, without the sandbox: landing, tables, rows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
import responses
import time_machine
from sqlalchemy import Column, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.orchestration.assets.core import core_assets
from b2b_pipeline.orchestration.assets.raw import raw_assets
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.orchestration.jobs import RANGE_END, RANGE_START
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.connectors import test_ecb, test_google_ads, test_hubspot, test_salesforce
from b2b_pipeline_tests.support.migrated import migrated

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRETS = {
    "GOOGLE_ADS_DEVELOPER_TOKEN", "GOOGLE_ADS_CLIENT_ID", "GOOGLE_ADS_CLIENT_SECRET", "GOOGLE_ADS_REFRESH_TOKEN",
    "HUBSPOT_ACCESS_TOKEN", "SALESFORCE_CLIENT_ID", "SALESFORCE_CLIENT_SECRET",
}  # fmt: skip


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("B2B_WAREHOUSE_URL", raising=False)
    for name in SECRETS:
        monkeypatch.setenv(name, f"fixture-{name.lower()}")
    monkeypatch.setenv("GOOGLE_ADS_LOGIN_CUSTOMER_ID", "4100000000")
    monkeypatch.setenv("SALESFORCE_BASE_URL", test_salesforce.DOMAIN)
    with time_machine.travel(NOW), responses.RequestsMock() as found:
        yield found


class Materialised:
    """The raw assets of one source, and the core tables that its streams feed, after one range run."""

    def __init__(self, source: str, folder: Path, first: date, last: date, **settings: Any) -> None:
        config = Config.model_validate(
            {
                "start_date": first,
                "timezone": "Europe/Berlin",
                "system_of_record": source,
                "sources": {source: settings},
            }
        )
        self.pipeline = Pipeline(config, folder)
        migrated(self.pipeline.warehouse)
        calendar = Calendar(config)
        self.names = {name for stream in SOURCES[source].streams for name in stream.feeds}
        raw = list(raw_assets(calendar))
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(
                [*raw, *core_assets(calendar)],
                instance=instance,
                selection=[*(key for asset in raw for key in asset.keys), *map(dg.AssetKey, sorted(self.names))],
                resources={"pipeline": self.pipeline},
                tags={RANGE_START: first.isoformat(), RANGE_END: last.isoformat()},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        self.streams = {
            asset.path[-1]: sum(event.materialization.metadata["dagster/partition_row_count"].value for event in events)  # type: ignore[operator, union-attr]
            for asset, events in _by_asset(result).items()
            if asset.path[0] == "raw"
        }

    def rows(self, *columns: Column[Any]) -> list[tuple[Any, ...]]:
        found = self.pipeline.warehouse.rows(select(*columns))
        return sorted((tuple(row.values()) for row in found), key=str)

    def filled(self) -> set[str]:
        """The tables with rows in them."""
        return {
            name for name in self.names if self.pipeline.warehouse.rows(select(tables.metadata.tables[name]).limit(1))
        }

    def quarantined(self) -> list[tuple[Any, ...]]:
        bad = tables.quarantine.c
        return self.rows(bad.stream, bad.target_table, bad.column_name, bad.reason)


def _by_asset(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, list[Any]]:
    found: dict[dg.AssetKey, list[Any]] = {}
    for event in result.get_asset_materialization_events():
        assert event.asset_key is not None
        found.setdefault(event.asset_key, []).append(event.event_specific_data)
    return found


def test_campaign_days_of_google_ads_become_spend(mock: responses.RequestsMock, tmp_path: Path) -> None:
    def search(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        question = json.loads(request.body or b"")
        name = re.findall(r"FROM (\w+)", question["query"])[0]
        if name == "customer":
            name = "account_daily"
        elif name == "campaign" and "WHERE" in question["query"]:
            name = "campaign_daily_2" if "pageToken" in question else "campaign_daily_1"
        return 200, {}, (test_google_ads.FIXTURES / f"{name}.json").read_text(encoding="utf-8")

    mock.post(test_google_ads.TOKEN, json=test_google_ads.fixture("token"))
    for url in (test_google_ads.CLIENTS, test_google_ads.SEARCH):
        mock.add_callback(responses.POST, url, search)
    done = Materialised("google_ads", tmp_path, date(2026, 10, 1), date(2026, 10, 2), accounts=["4100000001"])
    assert done.filled() == {"spend", "campaign"}
    spend = tables.spend.c
    assert [
        tuple(map(str, row)) for row in done.rows(spend.campaign_id, spend.date_day, spend.spend, spend.channel)
    ] == [
        ("21000000100", "2026-10-01", "12.340000", "paid_search"),
        ("21000000140", "2026-10-01", "0.000007", "video"),
        ("21000000150", "2026-10-02", "90071992547.409931", "paid_search"),
    ]
    assert done.quarantined() == []


def test_contacts_deals_and_e_mail_events_of_hubspot_become_rows(mock: responses.RequestsMock, tmp_path: Path) -> None:
    mock.get(f"{test_hubspot.API}/account-info/2026-03/details", json=test_hubspot.fixture("account"))
    for serve in test_hubspot.SERVE.values():
        serve(mock)
    mock.get(test_hubspot.COMPANIES, json={"results": []})
    done = Materialised("hubspot", tmp_path, date(2026, 10, 2), date(2026, 10, 2))
    assert done.filled() == done.names
    lead, event = tables.lead.c, tables.email_event.c
    assert done.rows(lead.lead_id, lead.is_deleted, lead.email_domain) == [
        ("101", False, "example.com"), ("102", False, None), ("204", False, "example.org"), ("56", True, "example.com"),
    ]  # fmt: skip
    assert Counter(kind for (kind,) in done.rows(event.event_type)) == {
        "sent": 1, "delivered": 1, "open": 1, "click": 2, "unsubscribe": 2, "dropped": 1, "other": 1,
    }  # fmt: skip
    assert done.quarantined() == [("email_event", "email_event", "sent_at", "empty")]
    # Landed by the day of their modification, not all of them on the day that was asked for.
    assert done.streams == {
        "present": 0, "contact": 3, "deal": 2, "marketing_email": 1, "email_event": 9, "form_submission": 2,
        "marketing_campaign": 2,
    }  # fmt: skip


def test_objects_and_histories_of_salesforce_become_rows(mock: responses.RequestsMock, tmp_path: Path) -> None:
    mock.assert_all_requests_are_fired = False
    test_salesforce.serve(mock)
    done = Materialised("salesforce", tmp_path, date(2026, 10, 1), date(2026, 10, 10))
    opportunity, lead = tables.opportunity.c, tables.lead.c
    assert done.filled() == done.names
    assert done.rows(lead.lead_id, lead.is_deleted, lead.email_domain) == [
        (test_salesforce.ADA, False, "brightwater.example"), (test_salesforce.KOFI, False, "example.org"),
        (test_salesforce.TWIN, True, "brightwater.example"), (test_salesforce.TESTER, False, "example.com"),
    ]  # fmt: skip
    assert done.rows(opportunity.opp_id, opportunity.date_day, opportunity.amount, opportunity.is_won) == [
        ("006Wx0000000001MAA", date(2026, 10, 5), Decimal("22700.55"), True),
        ("006Wx0000000002MAA", date(2026, 10, 7), Decimal("10000000"), False),
        ("006Wx0000000003MAA", date(2026, 10, 7), None, False),
    ]
    assert done.streams == {
        "present": 0, "lead": 4, "lead_history": 3, "contact": 2, "account": 1, "opportunity": 3,
        "opportunity_history": 2, "opportunity_contact_role": 1, "campaign": 2, "campaign_member": 6,
    }  # fmt: skip
    assert done.quarantined() == []


def test_fixings_of_the_ecb_become_rates(mock: responses.RequestsMock, tmp_path: Path) -> None:
    mock.get(test_ecb.URL, body=test_ecb.CSV)
    done = Materialised("ecb", tmp_path, date(2026, 4, 1), date(2026, 4, 7), options={"currencies": "USD GBP"})
    rate = tables.fx_rate.c
    pounds = [row for row in done.rows(rate.currency, rate.date_day, rate.per_eur) if row[0] == "GBP"]
    assert pounds[:3] == [
        ("GBP", date(2026, 4, 1), Decimal("0.86843")),
        ("GBP", date(2026, 4, 2), Decimal("0.8691")),
        ("GBP", date(2026, 4, 7), Decimal("0.87005")),
    ], "Good Friday and Easter Monday have none"
    assert done.quarantined() == []
