"""Google Analytics over the sandbox, and by the answers that its documents and public connectors show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.analytics.data_v1beta import BetaAnalyticsDataClient
from google.analytics.data_v1beta.services.beta_analytics_data.transports import BetaAnalyticsDataRestTransport
from google.analytics.data_v1beta.types import DateRange, Dimension, Metric, RunReportRequest
from google.auth.credentials import AnonymousCredentials

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Page, Record, Window
from b2b_pipeline.connectors.ga4.source import SOURCE, Client, accounts, connect, probe
from b2b_pipeline.connectors.google import classify
from b2b_pipeline.connectors.http import Fatal, Outcome, Reauth, Stop, Wait
from b2b_pipeline.core.control import reconcile
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, QuotaError, TransientError
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.warehouse.contract import Enforced, enforce
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import web_traffic_daily
from b2b_pipeline_tests.support.end_to_end import build, clock, environment, inside
from b2b_pipeline_tests.support.google import conforms
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import ga4, tokens
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
OURS = Account("412345678", "Our Company | Web", "EUR", "Europe/Berlin")
THEIRS = Account("498765432", "Our Company | US", "USD", "America/New_York")
WINDOW = Window.of_days(UNTIL - timedelta(days=9), UNTIL - timedelta(days=2), ZoneInfo("UTC"))
DATA, ADMIN = "https://analyticsdata.googleapis.com/v1beta", "https://analyticsadmin.googleapis.com/v1beta"
REPORT = f"{DATA}/properties/{OURS.id}:runReport"
TOKENS = "https://oauth2.googleapis.com/token"
SETTINGS = "start_date: 2026-06-06\ntimezone: Europe/Berlin\nsystem_of_record: files\nsources: {ga4: {}}\n"


def config(**settings: Any) -> Config:
    given = {"start_date": "2026-05-01", "system_of_record": "files", "sources": {"ga4": settings}}
    return Config.model_validate(given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=12, leads=40)


@pytest.fixture
def sandbox(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    with served(world), time_machine.travel(clock(world)):
        yield world
    clear_faults(world)
    with world.connect() as connection:
        connection.execute("delete from setting where name = 'revoked_before.ga4'")  # each test is at the same time


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("GA4_BASE_URL", raising=False)
    for name, value in (("CLIENT_ID", "app-of-ours"), ("CLIENT_SECRET", "S3cr3t-of-app"), ("REFRESH_TOKEN", "R3fr3sh")):
        monkeypatch.setenv(f"GA4_{name}", value)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.post(TOKENS, json={"access_token": "A-1", "token_type": "Bearer", "expires_in": 3599})
        yield mock


def pages(stream: str, account: Account = OURS, window: Window = WINDOW, by: Client | None = None) -> list[Page]:
    return [*SOURCE.stream(stream).fetch(by or connect(config()), account, window)]


def fetch(*asked: Any, **more: Any) -> list[Record]:
    return [record for page in pages(*asked, **more) for record in page.records]


def doubts(stream: str, window: Window = WINDOW, **more: Any) -> dict[str, str]:
    return {day: why for page in pages(stream, window=window, **more) for day, why in page.doubts.items()}


def mapped(stream: str, records: list[Record]) -> Enforced:
    context = MappingContext(config(), "ga4", stream, OURS)
    return enforce(web_traffic_daily, SOURCE.stream(stream).feeds["web_traffic_daily"](flattened(records), context))


# -- what answers mean


def means(status: int, error: Mapping[str, Any] | None = None, **headers: str) -> Outcome:
    made = requests.Response()
    made.status_code, made.url = status, REPORT
    made._content = json.dumps({"error": error} if error else {}).encode()
    made.headers.update({"Content-Type": "application/json", **headers})
    return classify(made)


def test_a_quota_that_is_used_up_is_waited_for_as_long_as_it_lasts() -> None:
    back = "These quota tokens will return in under"
    per_hour = f"Exhausted property tokens for a project per hour. {back} an hour."
    per_day = f"Exhausted property tokens per day. {back} 24 hours."
    with time_machine.travel(datetime(2026, 6, 16, 20, 30, tzinfo=UTC), tick=False):
        for message, until in (
            (per_hour, datetime(2026, 6, 16, 21, 30, tzinfo=UTC)),
            ("Exhausted potentially thresholded requests quota.", datetime(2026, 6, 16, 21, 30, tzinfo=UTC)),
            (per_day, datetime(2026, 6, 17, 7, 0, tzinfo=UTC)),  # midnight Pacific time
        ):
            assert means(429, {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message}) == Stop(until, message)
    busy = "Exhausted concurrent requests quota. Please send fewer requests concurrently."
    assert means(429, {"code": 429, "message": busy}) == Wait(30.0, busy)
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"}
    assert means(429, {"code": 429, "message": "Quota", "details": [retry]}) == Wait(12.5, "Quota")
    assert means(403, {"code": 403, "message": "x", "errors": [{"reason": "userRateLimitExceeded"}]}) == Wait(
        60.0, "userRateLimitExceeded x"
    )


def test_an_error_tells_credentials_from_what_is_switched_off_and_from_trouble_that_passes() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}
    off = means(403, {"code": 403, "message": "has not been used", "details": [info]})
    assert isinstance(off, Fatal)
    assert (off.auth, "enable this API" in off.fix) == (True, True)
    assert means(403, {"code": 403, "message": "User does not have"}) == Fatal("User does not have", auth=True)
    assert isinstance(means(401, {"code": 401, "status": "UNAUTHENTICATED", "message": "x"}), Reauth)
    field = "Field roi is not a valid metric."
    assert means(400, {"code": 400, "status": "INVALID_ARGUMENT", "message": field}) == Fatal(field)
    assert means(503, {"code": 503, "message": "busy"}) == Wait(20.0, "busy")
    assert isinstance(means(200, {"code": 500, "message": "in a 200"}), Wait)
    for odd in ({"details": "x", "errors": "y", "code": "z"}, {"details": [None], "errors": [None, {}]}):
        assert isinstance(means(400, odd), Fatal)


# -- reports


def answered(rows: list[list[str]], dimensions: tuple[str, ...], metrics: tuple[str, ...], **more: Any) -> Record:
    return {
        "dimensionHeaders": [{"name": name} for name in dimensions],
        "metricHeaders": [{"name": name, "type": "TYPE_INTEGER"} for name in metrics],
        "rows": [
            {"dimensionValues": [{"value": cell} for cell in row[: len(dimensions)]],
             "metricValues": [{"value": cell} for cell in row[len(dimensions) :]]}
            for row in rows
        ],
        "rowCount": len(rows), "metadata": {"currencyCode": "EUR", "timeZone": "Europe/Berlin"},
        "kind": "analyticsData#runReport", **more,
    }  # fmt: skip


COUNTS = ("sessions", "engagedSessions", "newUsers", "screenPageViews", "keyEvents", "userEngagementDuration")
OF_SOURCE = ("date", "sessionSource", "sessionMedium", "sessionCampaignName")
JULY = Window.of_days(date(2026, 7, 1), date(2026, 7, 3), ZoneInfo("Europe/Berlin"))
LATER = datetime(2026, 7, 20, 9, tzinfo=UTC)
RECORDED = answered(
    [
        ["20260701", "google", "CPC", "Brand | DE", "12", "9", "4", "30", "2.5", "1506"],
        ["20260701", "(direct)", "(none)", "(direct)", "7", "3", "1", "9", "0", "77"],
        ["20260701", "(not set)", "(not set)", "(not set)", "1", "0", "0", "0", "0", "0"],
        ["20260702", "", "", "", "2", "1", "1", "3", "0", "12"],
    ],
    OF_SOURCE, COUNTS,
)  # fmt: skip


def test_a_report_becomes_visits_by_channel_and_no_key_is_empty(vendor: responses.RequestsMock) -> None:
    vendor.post(REPORT, json=RECORDED)
    with time_machine.travel(LATER):
        stored = mapped("source_daily", fetch("source_daily", window=JULY))
    assert stored.rejects.empty
    assert stored.duplicates == 0
    columns = ["date_day", "channel", "utm_source", "utm_medium", "campaign_id", "landing_page", "sessions",
               "key_events", "engagement_seconds", "users"]  # fmt: skip
    found = [[str(row[name]) for name in columns] for row in stored.rows.astype(object).to_dict("records")]
    assert found == [
        ["2026-07-01", "paid_search", "google", "CPC", "Brand | DE", "-", "12", "2.500000", "1506.000000", "None"],
        ["2026-07-01", "direct", "(direct)", "(none)", "(direct)", "-", "7", "0.000000", "77.000000", "None"],
        ["2026-07-01", "unknown", "(not set)", "(not set)", "(not set)", "-", "1", "0.000000", "0.000000", "None"],
        ["2026-07-02", "unknown", "(empty)", "(empty)", "(empty)", "-", "2", "0.000000", "12.000000", "None"],
    ]


def test_the_question_is_as_documented_with_both_days_included_and_an_order(vendor: responses.RequestsMock) -> None:
    vendor.post(REPORT, json=RECORDED)
    with time_machine.travel(LATER):
        fetch("source_daily", window=JULY)
    request = vendor.calls[-1].request
    assert json.loads(request.body or "") == {
        "dateRanges": [{"startDate": "2026-07-01", "endDate": "2026-07-02"}],
        "dimensions": [{"name": name} for name in OF_SOURCE], "metrics": [{"name": name} for name in COUNTS],
        "orderBys": [{"dimension": {"dimensionName": name}} for name in OF_SOURCE], "limit": "10000", "offset": "0",
    }  # fmt: skip
    assert request.headers["Authorization"] == "Bearer A-1"
    assert not any(word in str(call.request.url) for call in vendor.calls for word in ("S3cr3t", "R3fr3sh", "A-1"))


def test_a_cell_that_is_no_number_costs_its_row_alone() -> None:
    good = {"date": "2026-07-01", "landingPage": "/", **dict.fromkeys(COUNTS, "1")}
    for broken in ({"sessions": "1.5"}, {"keyEvents": "many"}, {"date": "(other)"}, {"sessions": "1,200"}):
        stored = mapped("landing_page_daily", [good, {**good, "landingPage": "/b", **broken}])
        assert (len(stored.rows), len(stored.rejects)) == (1, 1), broken


def test_pages_are_followed_until_all_rows_are_there_and_fewer_than_announced_are_told(
    vendor: responses.RequestsMock,
) -> None:
    one, two = (
        answered([["20260701", *"1111111"]], ("date",), (*COUNTS, "totalUsers"), rowCount=2),
        answered([["20260702", *"2222222"]], ("date",), (*COUNTS, "totalUsers"), rowCount=2),
    )
    nothing = {**one, "rows": []}
    with time_machine.travel(LATER):
        for second in (two, nothing):
            vendor.post(REPORT, json=one)
            vendor.post(REPORT, json=second)
            if second is two:
                assert [row["date"] for row in fetch("property_daily", window=JULY)] == ["2026-07-01", "2026-07-02"]
                assert json.loads(vendor.calls[-1].request.body or "")["offset"] == "1"
            else:
                with pytest.raises(TransientError, match="2 rows announced, 1 received"):
                    fetch("property_daily", window=JULY)
            vendor.remove(responses.POST, REPORT)


def test_columns_that_were_not_asked_for_and_an_answer_without_any_are_refused(vendor: responses.RequestsMock) -> None:
    for odd in (answered([], ("date",), ("sessions",)), {"kind": "analyticsData#runReport"}, {}):
        vendor.post(REPORT, json=odd)
        with pytest.raises(TransientError, match="an answer with the columns"):
            fetch("property_daily", window=JULY)
        vendor.remove(responses.POST, REPORT)


@pytest.mark.parametrize("account", [OURS, THEIRS])
def test_the_visits_of_every_day_are_those_of_the_world(
    sandbox: World, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(sandbox, ga4={"page_size": 7}) as url:
        monkeypatch.setenv("GA4_BASE_URL", f"{url}/ga4")
        records = fetch("source_daily", account)
    found: dict[str, int] = {}
    for row in records:
        found[row["date"]] = found.get(row["date"], 0) + int(row["sessions"])
    expected: dict[str, int] = {}
    with sandbox.connect() as connection:
        for visits in ga4.visits_at(connection, sandbox.now())[account.id]:
            if str(WINDOW.start) <= visits.dimensions[0] < str(WINDOW.end):
                day = visits.dimensions[0]
                expected[day] = expected.get(day, 0) + visits.counts["sessions"]
    assert found == expected
    assert len(found) == 7


# -- days that are not whole


FLAGS: dict[str, tuple[Record, str]] = {
    "sampled": ({"samplingMetadatas": [{"samplesReadCount": "9000000", "samplingSpaceSize": "30000000"}]},
                "Google sampled it: 9000000 of 30000000 events were read"),
    "thresholded": ({"subjectToThresholding": True}, "Google may have withheld small rows of it (thresholding)"),
    "rolled up": ({"dataLossFromOtherRow": True}, 'Google rolled rows of it up into "(other)"'),
    "restricted": ({"schemaRestrictionResponse": {"activeMetricRestrictions": [{"metricName": "keyEvents"}]}},
                   "Google withholds keyEvents from this user"),
    "empty": ({"emptyReason": "NO_DATA"}, "Google says that it is empty: NO_DATA"),
    "cut": ({"dataTruncationReasons": [{"dataTruncationType": "DATA_TRUNCATION_TYPE_PROPERTY"}]},
            "Google cut it off: DATA_TRUNCATION_TYPE_PROPERTY"),
}  # fmt: skip


@pytest.mark.parametrize("flag", FLAGS)
def test_a_day_of_which_google_says_that_it_is_not_whole_is_told_and_no_other(
    sandbox: World, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    says, why = FLAGS[flag]
    with running(sandbox, ga4={"told": {"2026-06-09": says}}) as url:
        monkeypatch.setenv("GA4_BASE_URL", f"{url}/ga4")
        assert doubts("source_daily") == {"2026-06-09": why}
        assert len({row["date"] for row in fetch("source_daily")}) == 7
        before = Window.of_days(date(2026, 6, 6), date(2026, 6, 9), ZoneInfo("UTC"))
        assert doubts("source_daily", before) == {}


def test_what_is_cut_off_before_a_day_or_in_a_span_concerns_those_days_alone(vendor: responses.RequestsMock) -> None:
    span = {"startDate": "2026-07-02", "endDate": "2026-07-09"}
    for reason, days in (
        ({"dataTruncationDate": "2026-07-02"}, {"2026-07-01"}),
        ({"dataTruncationDate": "2026-07-01"}, set()),
        ({"dataTruncationDateRanges": [span]}, {"2026-07-02"}),
        ({"dataTruncationDateRanges": [span], "dataTruncationDate": "2026-07-02"}, {"2026-07-01", "2026-07-02"}),
    ):
        told = {"dataTruncationReasons": [{"dataTruncationType": "X", **reason}]}
        vendor.post(REPORT, json=answered([], ("date",), (*COUNTS, "totalUsers"), metadata=told))
        with time_machine.travel(LATER):
            assert doubts("property_daily", JULY).keys() == days, reason
        vendor.remove(responses.POST, REPORT)


def test_a_row_of_others_is_a_doubt_even_where_nothing_else_says_so(vendor: responses.RequestsMock) -> None:
    rows = [["20260701", "/", *"111111"], ["20260702", "(other)", *"111111"]]
    vendor.post(REPORT, json=answered(rows, ("date", "landingPage"), COUNTS))
    with time_machine.travel(LATER):
        assert doubts("landing_page_daily", JULY) == {"2026-07-02": 'Google rolled rows of it up into "(other)"'}


def test_a_day_is_not_whole_for_72_hours_and_nothing_is_known_of_those_before_the_property(
    vendor: responses.RequestsMock,
) -> None:
    vendor.post(REPORT, json=answered([], ("date",), (*COUNTS, "totalUsers")))
    by = connect(config())
    by.made[OURS.id] = datetime(2026, 7, 1, 9, 30, tzinfo=UTC)
    for now, days in (
        (datetime(2026, 7, 5, 21, 59, tzinfo=UTC), {"2026-07-01", "2026-07-02"}),
        (datetime(2026, 7, 5, 22, 1, tzinfo=UTC), {"2026-07-01"}),
    ):
        with time_machine.travel(now):
            found = doubts("property_daily", JULY, by=by)
        assert found.keys() == days
        assert found["2026-07-01"] == "the property was made on 2026-07-01"


@pytest.fixture
def own(world: World, tmp_path: Path) -> Iterator[Installation]:
    (tmp_path / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    found = Installation(tmp_path, world)
    with environment(found) as patch, time_machine.travel(clock(world)):
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield found


def empty(own: Installation) -> str:
    """A warehouse with its schema."""
    url = f"duckdb:///{own.folder / 'warehouse.duckdb'}"
    migrated(Warehouse(url))
    return url


def test_a_split_adds_up_to_the_property_and_says_itself_what_it_lacks(
    own: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a day that are withheld from its sources: the total is whole all the same, the split is not."""
    told = {"2026-06-09": {"subjectToThresholding": True}}
    pipeline = own.pipeline()
    for stream, flags in (("property_daily", {}), ("source_daily", told), ("landing_page_daily", told)):
        with running(own.world, ga4={"told": flags}) as url:
            monkeypatch.setenv("GA4_BASE_URL", f"{url}/ga4")
            assert not pipeline.ingest("ga4", stream, WINDOW.start, WINDOW.end, "first").failed
    found = reconcile(pipeline.landing, SOURCE, SOURCE.control)  # type: ignore[arg-type]
    assert (found.differences, found.days_compared) == ([], 12), "a day in doubt is not compared"
    monkeypatch.setenv("GA4_BASE_URL", "http://127.0.0.1:9")
    shop, _ = build(own, empty(own))
    days = date(2026, 6, 8), date(2026, 6, 9)
    with inside(own):
        (total,) = ask(shop.warehouse, shop.config, ["sessions"], *days)
        split = ask(shop.warehouse, shop.config, ["sessions"], *days, ["channel"])
        by_day = ask(shop.warehouse, shop.config, ["sessions"], *days, ["day", "channel"])
        (pages_,) = ask(shop.warehouse, shop.config, ["landing_page_sessions"], *days)
    assert total.complete
    assert sum(answer.value or 0 for answer in split) == total.value
    (beside,) = (answer.value for answer in split if answer.keys["channel"] is None)
    assert beside
    assert beside > 5, "what was withheld, and not only what an estimate differs by"
    assert {answer.keys["date"] for answer in by_day if not answer.complete} == {days[1]}
    (why,) = {reason for answer in split for reason in answer.reasons if OURS.id in reason}
    assert why == f"ga4/source_daily ({OURS.id}): Google may have withheld small rows of it (thresholding)"
    assert not pages_.complete


def test_sources_without_the_property_give_no_total_and_none_that_is_zero(
    own: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SETTINGS.replace("{ga4: {}}", "{ga4: {streams: [source_daily]}}")
    (own.folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    pipeline = own.pipeline()
    with running(own.world) as url:
        monkeypatch.setenv("GA4_BASE_URL", f"{url}/ga4")
        assert not pipeline.ingest("ga4", "source_daily", WINDOW.start, WINDOW.end, "first").failed
    shop, _ = build(own, empty(own))
    with inside(own):
        (total,) = ask(shop.warehouse, shop.config, ["sessions"], WINDOW.start, date(2026, 6, 12))
    assert total.value is None
    assert "switch ga4 on" in total.why_null


# -- accounts and credentials


def test_properties_have_currency_and_time_zone_and_one_of_the_visits_of_others_is_read_where_it_is_named(
    sandbox: World,
) -> None:
    by = connect(config())
    assert list(accounts(by, config()).read) == [OURS, THEIRS]
    assert by.made[OURS.id] == datetime(2024, 2, 1, 9, 30, 0, 123000, tzinfo=UTC)
    named = config(accounts=["455555555"])
    assert [found.id for found in accounts(connect(named), named).read] == ["455555555"]
    with pytest.raises(ConfigError, match="1 not among the accounts"):
        accounts(connect(config()), config(accounts=["1"]))


def test_a_property_in_the_bin_is_left_out_as_closed(vendor: responses.RequestsMock) -> None:
    listed = {"accountSummaries": [{"propertySummaries": [{"property": "properties/1"}]}, {"name": "without any"}]}
    vendor.get(f"{ADMIN}/accountSummaries", json=listed)
    vendor.get(f"{ADMIN}/properties/1", json={"name": "properties/1", "deleteTime": "2026-01-01T00:00:00Z"})
    (skipped,) = accounts(connect(config()), config()).skipped
    assert (skipped.account, skipped.closed) == ("1", True)
    assert vendor.calls[-1].request.headers["Authorization"] == "Bearer A-1"


def service_account(**changes: Any) -> tuple[Record, str]:
    """A key, and its public half as PEM."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key = {"type": "service_account", "client_email": "b2b@ours.iam.gserviceaccount.com", "private_key_id": "k1"}
    return {**key, "private_key": pem.decode(), **changes}, public.decode()


def test_a_service_account_signs_for_itself_by_its_key_or_the_path_of_it(
    sandbox: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, public = service_account()
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key), encoding="utf-8")
    for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN"):
        monkeypatch.delenv(f"GA4_{name}")
    with running(sandbox, ga4={"service_key": public}) as url:
        monkeypatch.setenv("GA4_BASE_URL", f"{url}/ga4")
        for given in (str(file), json.dumps(key)):
            monkeypatch.setenv("GA4_SERVICE_ACCOUNT", given)
            assert fetch("property_daily")
        add_fault(sandbox, "ga4", "expire_token", path_contains="runReport")
        assert fetch("property_daily")
        other, _ = service_account(private_key_id="k2")
        monkeypatch.setenv("GA4_SERVICE_ACCOUNT", json.dumps(other))
        with pytest.raises(AuthError, match=r"invalid_grant: Invalid JWT Signature") as caught:
            fetch("property_daily")
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_key_that_is_none_is_told_by_the_name_of_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("/no/such/file.json", "{}", '{"private_key": "x", "client_email": "a@b.example"}', "{"):
        monkeypatch.setenv("GA4_SERVICE_ACCOUNT", given)
        with pytest.raises(AuthError, match="GA4_SERVICE_ACCOUNT is neither the JSON key") as caught:
            connect(config())
        assert "a@b.example" not in str(caught.value)


def test_a_token_that_is_refused_is_renewed_once_and_a_grant_that_was_taken_back_is_told(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_fault(sandbox, "ga4", "expire_token", path_contains="runReport")
    assert fetch("property_daily")
    monkeypatch.setenv("GA4_REFRESH_TOKEN", "taken-back")
    with pytest.raises(AuthError, match="invalid_grant") as caught:
        fetch("property_daily")
    assert "taken-back" not in str(caught.value)


def test_a_day_s_quota_is_left_to_the_orchestrator_and_a_total_that_is_wrong_is_told(sandbox: World) -> None:
    add_fault(sandbox, "ga4", "throttle", path_contains="runReport", daily=True)
    with pytest.raises(QuotaError):
        fetch("property_daily")
    add_fault(sandbox, "ga4", "total_mismatch", path_contains="runReport", count=2)
    with pytest.raises(TransientError, match="rows announced"):
        fetch("property_daily")


def test_doctor_tells_what_is_left_of_the_quota_and_what_is_not_granted(sandbox: World) -> None:
    found = probe(connect(config()), config())
    assert all(finding.ok for finding in found)
    assert found[-1].what == (
        f"Google Analytics, property {THEIRS.id}: 199,987 tokens are left of the day, 13,987 of the hour"
    )
    add_fault(sandbox, "ga4", "missing_scope", path_contains="runReport", scope="analytics.readonly")
    refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert len(refused) == 6
    assert all("agree anew" in finding.fix for finding in refused)


# -- the twin


def test_google_s_own_client_reads_the_twin(sandbox: World) -> None:
    with running(sandbox) as url:
        host = url.removeprefix("http://")

        class Bearer(AnonymousCredentials):  # type: ignore[misc]
            def before_request(self, request: Any, method: str, url: str, headers: dict[str, str]) -> None:
                headers["Authorization"] = f"Bearer {tokens.issue('ga4', 60)}"

        transport = BetaAnalyticsDataRestTransport(host=f"{host}/ga4", url_scheme="http", credentials=Bearer())
        asked = RunReportRequest(
            property=f"properties/{OURS.id}", date_ranges=[DateRange(start_date="2026-06-06", end_date="2026-06-09")],
            dimensions=[Dimension(name="date")], metrics=[Metric(name="sessions"), Metric(name="keyEvents")],
            return_property_quota=True,
        )  # fmt: skip
        found = BetaAnalyticsDataClient(transport=transport).run_report(asked)
    ours = {row["date"].replace("-", ""): row["sessions"] for row in fetch("property_daily")}
    theirs = {row.dimension_values[0].value: row.metric_values[0].value for row in found.rows}
    assert len(theirs) == found.row_count == 4
    assert theirs.items() <= ours.items()
    assert found.metadata.time_zone == "Europe/Berlin"
    assert found.property_quota.tokens_per_day.remaining == 199_987


def test_the_twin_s_answers_are_those_of_google_s_discovery_documents(sandbox: World) -> None:
    headers = {"Authorization": f"Bearer {tokens.issue('ga4', 60)}"}
    asked = {"dateRanges": [{"startDate": "2026-06-06", "endDate": "2026-06-07"}], "returnPropertyQuota": True,
             "dimensions": [{"name": "date"}, {"name": "landingPage"}], "metrics": [{"name": "sessions"}]}  # fmt: skip
    with running(
        sandbox, ga4={"told": {"2026-06-06": {key: v for says, _ in FLAGS.values() for key, v in says.items()}}}
    ) as url:
        report = requests.post(
            f"{url}/ga4/v1beta/properties/{OURS.id}:runReport", json=asked, headers=headers, timeout=9
        )
        listed = requests.get(f"{url}/ga4/v1beta/accountSummaries", headers=headers, timeout=9)
        single = requests.get(f"{url}/ga4/v1beta/properties/{OURS.id}", headers=headers, timeout=9)
        wrong = requests.post(f"{url}/ga4/v1beta/properties/{OURS.id}:runReport", headers=headers, timeout=9,
                              json={**asked, "metrics": [{"name": "roi"}]})  # fmt: skip
    conforms("analyticsdata.v1beta", "RunReportRequest", asked)
    conforms("analyticsdata.v1beta", "RunReportResponse", report.json())
    conforms("analyticsadmin.v1beta", "GoogleAnalyticsAdminV1betaListAccountSummariesResponse", listed.json())
    conforms("analyticsadmin.v1beta", "GoogleAnalyticsAdminV1betaProperty", single.json())
    assert (wrong.status_code, wrong.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
