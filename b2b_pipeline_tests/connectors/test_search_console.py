"""Search Console over the sandbox, and by the answers that its documents show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httplib2
import pytest
import responses
import time_machine
from googleapiclient.discovery import build as build_client

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Page, Record, Window
from b2b_pipeline.connectors.google import classify
from b2b_pipeline.connectors.search_console.source import SOURCE, accounts, connect, probe
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, QuotaError, TransientError
from b2b_pipeline.warehouse.contract import Enforced, enforce
from b2b_pipeline.warehouse.tables import search_console_daily
from b2b_pipeline_tests.support.end_to_end import clock
from b2b_pipeline_tests.support.google import conforms
from b2b_pipeline_tests.support.installation import served
from b2b_sandbox import search_console, tokens
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
ZONE = "America/Los_Angeles"
OURS = Account("sc-domain:ourcompany.example", "sc-domain:ourcompany.example", None, ZONE)
WINDOW = Window.of_days(UNTIL - timedelta(days=6), UNTIL + timedelta(days=1), ZoneInfo("UTC"))
API = "https://searchconsole.googleapis.com/webmasters/v3"
QUERY = f"{API}/sites/sc-domain%3Aourcompany.example/searchAnalytics/query"
TOKENS = "https://oauth2.googleapis.com/token"


def config(**settings: Any) -> Config:
    given = {"start_date": "2026-05-01", "system_of_record": "files", "sources": {"search_console": settings}}
    return Config.model_validate(given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=8, leads=4)


@pytest.fixture
def sandbox(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    with served(world), time_machine.travel(clock(world)):
        yield world
    clear_faults(world)


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("SEARCH_CONSOLE_BASE_URL", raising=False)
    for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN"):
        monkeypatch.setenv(f"SEARCH_CONSOLE_{name}", f"our-{name}")
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.post(TOKENS, json={"access_token": "A-1", "token_type": "Bearer", "expires_in": 3599})
        yield mock


def pages(stream: str, window: Window = WINDOW, account: Account = OURS) -> list[Page]:
    return [*SOURCE.stream(stream).fetch(connect(config()), account, window)]


def fetch(*asked: Any) -> list[Record]:
    return [record for page in pages(*asked) for record in page.records]


def doubts(*asked: Any) -> dict[str, str]:
    return {day: why for page in pages(*asked) for day, why in page.doubts.items()}


def answers(vendor: responses.RequestsMock, *shown: list[Record]) -> None:
    """The rows of the pages, and one without any; whoever asks again has that once more."""
    for each in shown:
        vendor.post(QUERY, json={"rows": each})
    vendor.post(QUERY, json={"responseAggregationType": "byProperty"})


def mapped(stream: str, records: list[Record]) -> Enforced:
    context = MappingContext(config(), "search_console", stream, OURS)
    return enforce(
        search_console_daily, SOURCE.stream(stream).feeds["search_console_daily"](flattened(records), context)
    )


# -- reports


def row(*keys: str, clicks: float = 3.0, impressions: float = 7.0, position: float = 2.142857142857143) -> Record:
    return {
        "keys": [*keys],
        "clicks": clicks,
        "impressions": impressions,
        "ctr": clicks / impressions,
        "position": position,
    }


JULY = Window.of_days(date(2026, 7, 1), date(2026, 7, 3), ZoneInfo("Europe/Berlin"))
LATER = datetime(2026, 7, 20, 9, tzinfo=UTC)


def test_a_report_becomes_searches_with_the_sum_of_its_positions(vendor: responses.RequestsMock) -> None:
    answers(vendor, [row("2026-07-01"), row("2026-07-02", impressions=1.0, position=48.0)])
    with time_machine.travel(LATER):
        stored = mapped("site_daily", fetch("site_daily", JULY))
    assert stored.rejects.empty
    columns = ["date_day", "site", "search_type", "level", "query", "page", "impressions", "clicks", "position_sum"]
    assert [[str(each[name]) for name in columns] for each in stored.rows.astype(object).to_dict("records")] == [
        ["2026-07-01", OURS.id, "web", "site", "-", "-", "7", "3", "15.000000"],
        ["2026-07-02", OURS.id, "web", "site", "-", "-", "1", "3", "48.000000"],
    ]


def test_a_cell_that_is_no_number_costs_its_row_alone() -> None:
    good = {"date": "2026-07-01", "query": "a", "clicks": 1.0, "impressions": 2.0, "position": 1.5}
    for broken in ({"impressions": "many"}, {"clicks": 0.5}, {"date": "soon"}, {"position": "first"}):
        stored = mapped("query_daily", [good, {**good, "query": "b", **broken}])
        assert (len(stored.rows), len(stored.rejects)) == (1, 1), broken


def test_the_question_is_as_documented_and_pages_end_with_one_that_has_no_rows(vendor: responses.RequestsMock) -> None:
    answers(vendor, [row("2026-07-01", "a"), row("2026-07-01", "b")], [row("2026-07-01", "c")])
    with time_machine.travel(LATER):
        assert [each["query"] for each in fetch("query_daily", JULY)] == ["a", "b", "c"]
    asked = [json.loads(call.request.body or "") for call in list(vendor.calls)[1:]]
    assert [(each["startDate"], each["endDate"], each["startRow"]) for each in asked] == [
        ("2026-07-01", "2026-07-01", 0), ("2026-07-01", "2026-07-01", 2), ("2026-07-01", "2026-07-01", 3),
        ("2026-07-02", "2026-07-02", 0),
    ]  # fmt: skip
    assert {name: asked[0][name] for name in ("dimensions", "type", "dataState", "rowLimit")} == {
        "dimensions": ["date", "query"], "type": "web", "dataState": "all", "rowLimit": 25_000,
    }  # fmt: skip
    conforms("searchconsole.v1", "SearchAnalyticsQueryRequest", asked[0])


def test_a_row_with_other_keys_than_were_asked_for_and_a_page_that_comes_again_are_refused(
    vendor: responses.RequestsMock,
) -> None:
    vendor.post(QUERY, json={"rows": [row("2026-07-01", "a")]})
    with pytest.raises(TransientError, match="a row with 2 keys, 1 were asked for"):
        fetch("site_daily", JULY)
    with pytest.raises(TransientError, match="the page from 1 on is the one before it"):
        fetch("query_daily", JULY)


def test_queries_and_pages_are_all_there_and_add_up_to_less_than_the_site(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(sandbox, search_console={"page_size": 3}) as url:
        monkeypatch.setenv("SEARCH_CONSOLE_BASE_URL", f"{url}/search_console")
        of_site, of_query, of_page = (fetch(f"{name}_daily") for name in ("site", "query", "page"))
    start = date.fromisoformat(sandbox.setting("start"))
    expected = [each for each in search_console.searches_of(OURS.id, start, sandbox.now())
                if str(WINDOW.start) <= each.day < str(WINDOW.end)]  # fmt: skip
    assert sum(each["impressions"] for each in of_site) == sum(each.impressions for each in expected)
    named = [each for each in expected if each.query]
    assert len(of_query) == len(named) > 20
    assert sum(each["clicks"] for each in of_query) == sum(each.clicks for each in named)
    assert sum(each["impressions"] for each in of_query) < sum(each["impressions"] for each in of_site)
    assert len({(each["date"], each["page"]) for each in of_page}) == len(of_page) > 7


# -- days that are not whole


def test_days_from_the_first_that_is_incomplete_on_are_told_and_have_what_there_is(sandbox: World) -> None:
    """The clock stands in the night of the 15th in Pacific time; a day is counted 60 hours after its end."""
    for stream in ("site_daily", "query_daily", "page_daily"):
        assert doubts(stream) == dict.fromkeys(
            ("2026-06-13", "2026-06-14", "2026-06-15"), "Google is still counting it"
        )
        assert {each["date"] for each in fetch(stream)} >= {"2026-06-12", "2026-06-13"}


def test_where_google_does_not_say_the_last_days_are_not_whole_nor_one_of_which_nothing_is_told(
    vendor: responses.RequestsMock,
) -> None:
    counting, nothing = "Google is still counting it", "Google tells nothing of it yet"
    for now, found in (
        (
            datetime(2026, 7, 4, 6, tzinfo=UTC),
            {"2026-07-01": counting, "2026-07-02": counting},
        ),  # the 3rd in Los Angeles
        (datetime(2026, 7, 5, 6, tzinfo=UTC), {"2026-07-02": counting}),
        (datetime(2026, 7, 6, 6, tzinfo=UTC), {"2026-07-02": nothing}),
        (datetime(2026, 7, 9, 6, tzinfo=UTC), {}),
        (datetime(2027, 11, 2, 9, tzinfo=UTC), {"2026-07-01": "Google keeps no more than 16 months"}),
    ):
        answers(vendor, [row("2026-07-01")])
        with time_machine.travel(now):
            assert doubts("site_daily", JULY) == found, now
        vendor.remove(responses.POST, QUERY)


def test_what_the_first_page_says_holds_though_the_last_one_says_nothing(vendor: responses.RequestsMock) -> None:
    for name in ("firstIncompleteDate", "first_incomplete_date"):
        vendor.post(QUERY, json={"rows": [row("2026-07-01")], "metadata": {name: "2026-07-02"}})
        answers(vendor)
        with time_machine.travel(LATER):
            assert doubts("site_daily", JULY) == {"2026-07-02": "Google is still counting it"}
        vendor.remove(responses.POST, QUERY)


def test_a_day_with_as_many_rows_as_are_told_is_not_whole(vendor: responses.RequestsMock) -> None:
    day = Window.of_days(date(2026, 7, 1), date(2026, 7, 2), ZoneInfo("UTC"))
    answers(vendor, *([row("2026-07-01", f"{page}-{n}") for n in range(25_000)] for page in range(2)))
    with time_machine.travel(LATER):
        assert doubts("query_daily", day) == {"2026-07-01": "Google tells no more than 50,000 rows of a day"}


# -- sites, credentials, doctor


def test_a_property_within_another_one_is_read_only_where_it_is_named(sandbox: World) -> None:
    found = accounts(connect(config()), config())
    assert [each.id for each in found.read] == ["https://shop.partner.example/", OURS.id]
    assert found.read[1] == OURS
    assert not found.skipped
    named = config(accounts=["https://www.ourcompany.example/"])
    assert [each.id for each in accounts(connect(named), named).read] == ["https://www.ourcompany.example/"]
    both = config(accounts=["https://old.example/", OURS.id])
    assert [each.account for each in accounts(connect(both), both).skipped] == ["https://old.example/"]
    with pytest.raises(ConfigError, match=r"sc-domain:not\.ours not among the accounts"):
        accounts(connect(config()), config(accounts=["sc-domain:not.ours"]))


def test_a_site_that_is_not_the_user_s_and_quotas_that_are_used_up_are_told(sandbox: World) -> None:
    other = Account("https://old.example/", "", None, ZONE)
    with pytest.raises(AuthError, match="sufficient permission for site"):
        pages("site_daily", WINDOW, other)
    add_fault(sandbox, "search_console", "throttle", path_contains="searchAnalytics", retry_after=1)
    assert fetch("site_daily")
    add_fault(sandbox, "search_console", "throttle", path_contains="searchAnalytics", daily=True)
    with pytest.raises(QuotaError) as caught:
        fetch("site_daily")
    assert timedelta(minutes=14) < caught.value.until - datetime.now(UTC) <= timedelta(minutes=15)
    assert classify is SOURCE.classify


def test_doctor_looks_at_each_stream_of_each_site(sandbox: World) -> None:
    found = probe(connect(config()), config())
    assert len(found) == 6
    assert all(finding.ok for finding in found)
    add_fault(sandbox, "search_console", "missing_scope", path_contains="searchAnalytics", scope="webmasters.readonly")
    refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert len(refused) == 6
    assert all("agree anew" in finding.fix for finding in refused)


# -- the twin


class Bearer(httplib2.Http):  # type: ignore[misc]
    def request(self, uri: str, *given: Any, headers: Any = None, **more: Any) -> Any:
        told = {**(headers or {}), "authorization": f"Bearer {tokens.issue('search_console', 60)}"}
        return super().request(uri, *given, headers=told, **more)


def test_google_s_own_client_reads_the_twin_whose_answers_are_those_of_its_document(sandbox: World) -> None:
    with running(sandbox) as url:
        options = {"api_endpoint": f"{url}/search_console/"}
        http = Bearer()
        client = build_client("searchconsole", "v1", http=http, client_options=options, static_discovery=True)
        listed = client.sites().list().execute()
        asked = {"startDate": "2026-06-10", "endDate": "2026-06-15", "dimensions": ["DATE"], "dataState": "ALL"}
        found = client.searchanalytics().query(siteUrl=OURS.id, body=asked).execute()
        final = client.searchanalytics().query(siteUrl=OURS.id, body={**asked, "dataState": "FINAL"}).execute()
        for connection in http.connections.values():
            connection.close()
    conforms("searchconsole.v1", "SitesListResponse", listed)
    conforms("searchconsole.v1", "SearchAnalyticsQueryResponse", found)
    assert found["metadata"] == {"firstIncompleteDate": "2026-06-13"}
    assert [each["keys"][0] for each in final["rows"]][-1] < "2026-06-13"
    ours = {each["date"]: each["impressions"] for each in fetch("site_daily")}
    assert {each["keys"][0]: each["impressions"] for each in found["rows"]}.items() <= ours.items()
