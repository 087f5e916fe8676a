"""X Ads over the sandbox, and by the answers that its documents and its SDK's fixtures show."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
import time_machine
from requests_oauthlib import OAuth1Session
from sqlalchemy import Table
from twitter_ads import http as sdk_http  # type: ignore[import-untyped]
from twitter_ads.campaign import Campaign  # type: ignore[import-untyped]
from twitter_ads.client import Client  # type: ignore[import-untyped]

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Split, Stop, Wait
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.x_ads.source import SOURCE, accounts, classify, connect, probe
from b2b_pipeline.core.control import reconcile
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, TransientError
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.privacy import mask
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import campaign, spend
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served, settle
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import tokens
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
NOW = datetime(2026, 6, 16, 6, tzinfo=UTC)
OURS = Account("18ce54d4x5t", "Europe", None, "Europe/Berlin")
WINDOW = Window.of_days(date(2026, 5, 17), date(2026, 6, 16), ZoneInfo("UTC"))
WEEK = Window.of_days(date(2026, 5, 20), date(2026, 5, 22), ZoneInfo("UTC"))
BASE = "https://ads-api.x.com/12"
SETTINGS = "start_date: 2026-05-17\nsystem_of_record: files\nsources: {ecb: {}, x_ads: {}}\n"


def config(**settings: Any) -> Config:
    given = {"start_date": "2026-05-17", "system_of_record": "files", "sources": {"x_ads": settings}}
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
    monkeypatch.delenv("X_ADS_BASE_URL", raising=False)
    for name in ("API_KEY", "API_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET"):
        monkeypatch.setenv(f"X_ADS_{name}", f"of-the-user-{name.lower()}")
    with time_machine.travel(datetime(2026, 5, 23, tzinfo=UTC)), responses.RequestsMock() as mock:
        yield mock


def fetch(stream: str, window: Window = WINDOW, **settings: Any) -> list[Record]:
    client = connect(config(**settings))
    return [record for page in SOURCE.stream(stream).fetch(client, OURS, window) for record in page.records]


def mapped(table: Table, stream: str, records: list[Record], **settings: Any) -> list[dict[str, Any]]:
    context = MappingContext(config(**settings), "x_ads", stream, OURS)
    found = enforce(table, SOURCE.stream(stream).feeds[table.name](flattened(records), context))
    assert found.rejects.empty
    return found.rows.to_dict("records")


def days_of(world: World, account: str) -> list[tuple[str, str, int, int]]:
    """Day, campaign, clicks and micros as they are now."""
    query = """
        select date_day, campaign_id, clicks, cost_micros from (
            select *, max(known_at) from ad_day where vendor = 'x_ads' and account_id = ? and known_at <= ?
            group by campaign_id, date_day)
        where clicks + impressions > 0 order by 1, 2"""
    with world.connect() as connection:
        return [tuple(row) for row in connection.execute(query, (account, world.now()))]


# -- what answers mean


def means(status: int, code: str, headers: dict[str, str] | None = None) -> Outcome:
    made = requests.Response()
    body = {"errors": [{"code": code, "message": "x"}], "request": {"params": {}}}
    made.status_code, made.url, made._content = status, f"{BASE}/accounts", json.dumps(body).encode()
    made.headers.update({"Content-Type": "application/json", **(headers or {})})
    return classify(made)


def test_calls_are_let_through_again_at_the_moment_that_x_names() -> None:
    with time_machine.travel(NOW, tick=False):
        at = str(int(NOW.timestamp()) + 90)
        assert means(429, "TOO_MANY_REQUESTS", {"x-rate-limit-reset": at}) == Wait(91.0, "TOO_MANY_REQUESTS")
        of_account = {"x-rate-limit-reset": at, "x-account-rate-limit-reset": str(int(NOW.timestamp()) + 800)}
        assert isinstance(means(429, "TOO_MANY_REQUESTS", of_account), Stop), "the ad account's comes first"
    assert means(503, "OVER_CAPACITY", {"retry-after": "7"}) == Wait(7.0, "OVER_CAPACITY")
    assert means(423, "LOCK_ACQUISITION_TIMEOUT") == Wait(10.0, "LOCK_ACQUISITION_TIMEOUT")


def test_what_answers_mean_by_x_s_own_words() -> None:
    assert means(401, "UNAUTHORIZED_ACCESS") == Reauth("UNAUTHORIZED_ACCESS")
    assert means(403, "UNAUTHORIZED_CLIENT_APPLICATION") == Fatal("UNAUTHORIZED_CLIENT_APPLICATION", auth=True)
    assert means(400, "REQUEST_TOO_COMPLEX") == Split("REQUEST_TOO_COMPLEX")
    gone = means(404, "ROUTE_NOT_FOUND")
    assert isinstance(gone, Fatal)
    assert "options.api_version" in gone.fix
    made = requests.Response()
    made.status_code, made.url, made._content = 200, f"{BASE}/accounts", b'{"data": []}'
    assert isinstance(classify(made), Ok)


# -- reports


def active(*campaigns: str, placements: tuple[str, ...] = ("ALL_ON_TWITTER",)) -> dict[str, Any]:
    times = {"activity_start_time": "2026-05-20T01:30:07Z", "activity_end_time": "2026-05-21T07:42:55Z"}
    return {"data": [{"entity_id": each, **times, "placements": list(placements)} for each in campaigns]}


def stats(length: int = 2, **metrics: Any) -> dict[str, Any]:
    """In the form of the SDK's fixture."""
    data = [{"id": "2wap7", "id_data": [{"segment": None, "metrics": {"follows": None, **metrics}}]}]
    return {"data_type": "stats", "time_series_length": length, "data": data, "request": {"params": {}}}


LISTED = {
    "data": [
        {
            "id": "2wap7",
            "name": "Intelligent Granite Computer",
            "currency": "USD",
            "created_at": "2015-08-12T20:26:24Z",
        },
        {"id": "2wap9", "name": "Made later", "currency": "USD", "created_at": "2026-05-22T20:26:24Z"},
    ],
    "next_cursor": None,
}
STATS = f"{BASE}/stats/accounts/{OURS.id}"


def test_days_are_sums_over_the_placements_and_null_is_as_good_as_zeros(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/accounts/{OURS.id}/campaigns", json=LISTED)
    vendor.get(f"{STATS}/active_entities", json=active("2wap7", placements=("TREND", "ALL_ON_TWITTER")))
    kind = {"post_view": None, "post_engagement": [1, 0], "metric": [1, 0], "sale_amount": [0, 0]}
    vendor.get(STATS, json=stats(
        impressions=[1233, 20], url_clicks=[58, 1], billed_charge_local_micro=[12_340_000, 1], conversion_sign_ups=kind,
    ))  # fmt: skip
    none = {"post_view": None, "post_engagement": None, "metric": None, "sale_amount": None}
    vendor.get(STATS, json=stats(
        impressions=[7, 0], url_clicks=None, billed_charge_local_micro=[60_000, 0], conversion_sign_ups=none,
    ))  # fmt: skip
    records = fetch("campaign_daily", WEEK)
    columns = ["date_day", "impressions", "clicks", "spend", "currency", "conversions_platform", "campaign_name"]
    rows = [[str(row[name]) for name in columns] for row in mapped(spend, "campaign_daily", records)]
    name = "Intelligent Granite Computer"
    assert rows == [
        ["2026-05-20", "1240", "58", "12.400000", "USD", "1.000000", name],
        ["2026-05-21", "20", "1", "0.000001", "USD", "0.000000", name],
    ]
    assert records[0]["placements"]["TREND"]["billed_charge_local_micro"] == 60_000
    assert [call.request.params["placement"] for call in vendor.calls if "placement" in call.request.params] == [  # type: ignore[attr-defined]
        "ALL_ON_TWITTER", "TREND"
    ]  # fmt: skip


def test_what_one_placement_does_not_tell_is_not_known_of_all(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/accounts/{OURS.id}/campaigns", json=LISTED)
    vendor.get(f"{STATS}/active_entities", json=active("2wap7", placements=("TREND", "ALL_ON_TWITTER")))
    cost = {"billed_charge_local_micro": [5, 0]}
    vendor.get(STATS, json=stats(impressions=[9, 0], url_clicks=[2, 0], **cost))
    vendor.get(STATS, json=stats(impressions=[1, 0], **cost))
    (row,) = mapped(spend, "campaign_daily", fetch("campaign_daily", WEEK))
    assert (row["impressions"], row["clicks"], str(row["spend"])) == (10, None, "0.000010")


def test_days_are_asked_for_as_dates_and_the_secrets_are_nowhere(vendor: responses.RequestsMock) -> None:
    """Dates are midnights in the account's time zone. What signs a request is not in it."""
    vendor.get(f"{BASE}/accounts/{OURS.id}/campaigns", json=LISTED)
    vendor.get(f"{STATS}/active_entities", json={"data": []})
    fetch("campaign_daily", WEEK)
    request = vendor.calls[1].request
    assert request.params["start_time"] == "2026-05-20"  # type: ignore[attr-defined]
    assert request.params["end_time"] == "2026-05-24", "what was recorded late, too"  # type: ignore[attr-defined]
    signed = request.headers["Authorization"]
    assert signed.startswith(b"OAuth ") if isinstance(signed, bytes) else signed.startswith("OAuth ")
    assert "secret" not in f"{signed!r} {request.url}"
    assert "of-the-user" not in str(request.url)
    assert mask("of-the-user-api_secret of-the-user-access_token") == mask("x").replace("x", "*** ***")


def test_of_days_long_past_all_that_were_there_are_asked_for(vendor: responses.RequestsMock) -> None:
    """How long X keeps what changed when is documented nowhere."""
    vendor.get(f"{BASE}/accounts/{OURS.id}/campaigns", json=LISTED)
    vendor.get(f"{STATS}/active_entities", json={"data": []})
    vendor.get(STATS, json=stats(impressions=[1, 2], billed_charge_local_micro=[3, 4]))
    with time_machine.travel(datetime(2026, 8, 23, tzinfo=UTC)):
        records = fetch("campaign_daily", WEEK)
    assert [record["impressions"] for record in records] == [3, 6], "in three placements"
    asked = [call.request.params for call in vendor.calls if "placement" in call.request.params]  # type: ignore[attr-defined]
    assert [(each["placement"], each["entity_ids"]) for each in asked] == [
        ("ALL_ON_TWITTER", "2wap7"), ("SPOTLIGHT", "2wap7"), ("TREND", "2wap7"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({**stats(impressions=[1, 2]), "data": []}, "of 1 asked for, 0 are answered"),
        (stats(impressions=[1], billed_charge_local_micro=None), "not every metric has 2 days"),
        (stats(impressions=[1, 2]), "nothing is said of billed_charge_local_micro"),
        (stats(impressions=[1, 2], billed_charge_local_micro=[1, 2, 3]), "not every metric has 2 days"),
        ({**stats(), "data": [{"id": "2wap7", "id_data": []}]}, "of 1 asked for, 1 are answered"),
    ],
)
def test_an_answer_without_an_entity_or_a_day_is_no_answer(
    vendor: responses.RequestsMock, answer: dict[str, Any], told: str
) -> None:
    vendor.get(f"{BASE}/accounts/{OURS.id}/campaigns", json=LISTED)
    vendor.get(f"{STATS}/active_entities", json=active("2wap7"))
    vendor.get(STATS, json=answer)
    with pytest.raises(TransientError, match=told):
        fetch("campaign_daily", WEEK)


def test_the_money_of_a_campaign_that_is_not_listed_is_of_no_currency(vendor: responses.RequestsMock) -> None:
    """It cannot be converted, which makes its days incomplete: it is not taken for money of another campaign's."""
    vendor.get(f"{BASE}/accounts/{OURS.id}/campaigns", json={"data": [], "next_cursor": None})
    vendor.get(f"{STATS}/active_entities", json=active("2wap7"))
    vendor.get(STATS, json=stats(billed_charge_local_micro=[5, 0], impressions=[1, 0], url_clicks=None))
    (row,) = mapped(spend, "campaign_daily", fetch("campaign_daily", WEEK))
    assert (str(row["spend"]), row["currency"], row["clicks"]) == ("0.000005", None, 0)


def test_only_kinds_of_conversions_that_x_has_can_be_named_and_one_that_is_not_told_is_unknown() -> None:
    row = {"day": "2026-05-20", "campaign": "1", "currency": "EUR", "conversion_sign_ups": 2, "conversion_downloads": 1}
    counted = [
        str(mapped(spend, "campaign_daily", [row], options={"conversions": kinds})[0]["conversions_platform"])
        for kinds in ("sign_ups", "sign_ups, downloads", "sign_ups,purchases")
    ]
    assert counted == ["2.000000", "3.000000", "None"]
    with pytest.raises(ConfigError, match=r"options\.conversions: leeds not among"):
        connect(config(options={"conversions": "leeds"}))


def test_the_days_of_every_campaign_are_those_of_the_world_deleted_ones_too(sandbox: World) -> None:
    found = sorted((row["day"], row["campaign"], row["url_clicks"], row["billed_charge_local_micro"])
                   for row in fetch("campaign_daily"))  # fmt: skip
    assert found == days_of(sandbox, OURS.id)
    assert found
    gone = {row["id"] for row in fetch("campaign") if row["deleted"]}
    assert gone == {"8wku3"} <= {row[1] for row in found}


def test_campaigns_add_up_to_the_account(own: Installation) -> None:
    pipeline = Pipeline.from_environment()
    for stream in ("campaign_daily", "funding_daily"):
        assert not pipeline.ingest("x_ads", stream, WINDOW.start, WINDOW.end, "first").failed
    assert SOURCE.control
    found = reconcile(pipeline.landing, SOURCE, SOURCE.control)
    assert found.days_compared > 50
    assert not found.differences


def test_spend_is_the_world_s_in_the_reporting_currency(own: Installation) -> None:
    """From the API to the metric, in dollars and in euros."""
    pipeline = Pipeline.from_environment()
    migrated(pipeline.warehouse)
    for source in (SOURCES["ecb"], SOURCE):
        for stream in source.streams:
            assert not pipeline.ingest(source.name, stream.name, WINDOW.start, WINDOW.end, "first").failed
    rebuild(pipeline, "derive", replay=False)
    rows = pipeline.warehouse.rows(spend.select())
    of_world: dict[str, Decimal] = defaultdict(Decimal)
    for account in ("18ce54d4x5t", "18ce55gze09"):
        for _, of, _, micros in days_of(own.world, account):
            of_world[of] += Decimal(micros).scaleb(-6)
    ours: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        ours[row["campaign_id"]] += row["spend"]
    assert ours == of_world
    (answer,) = ask(pipeline.warehouse, pipeline.config, ["spend"], WINDOW.start, UNTIL, ["channel"])
    assert answer.keys["channel"] == "paid_social"
    assert answer.value == Fraction(sum(row["spend_reporting"] for row in rows))
    assert answer.complete, answer.reasons
    named = {row["name"]: row["is_deleted"] for row in pipeline.warehouse.rows(campaign.select())}
    assert named == {"X | Analysten | DE": False, "X | Founders, US": False, "X | Messe ✨ 2026": True}


@pytest.fixture
def own(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    (tmp_path / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    found = Installation(tmp_path, world)
    settle(found, monkeypatch)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)), served(world):
        yield found


# -- accounts, credentials


def test_an_account_that_is_deleted_is_left_out(sandbox: World) -> None:
    found = accounts(connect(config()), config())
    assert {account.id: account.time_zone for account in found.read} == {
        "18ce54d4x5t": "Europe/Berlin", "18ce55gze09": "America/New_York",
    }  # fmt: skip
    assert [(item.account, item.closed) for item in found.skipped] == [("18ce53uo3nm", True)]


@pytest.mark.parametrize("name", ["API_KEY", "API_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET"])
def test_each_of_the_four_words_is_looked_at_and_said_nowhere(
    sandbox: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"X_ADS_{name}", "another-one")
    with pytest.raises(AuthError, match="the signature was refused") as caught:
        accounts(connect(config()), config())
    assert "another-one" not in str(caught.value)


def test_a_long_wait_is_left_to_the_orchestrator(sandbox: World) -> None:
    add_fault(sandbox, "x_ads", "throttle", path_contains="stats", retry_after=890)
    with pytest.raises(QuotaError):
        fetch("campaign_daily")


def test_a_version_that_is_not_served_is_one_error_with_the_cure(sandbox: World) -> None:
    old = config(options={"api_version": "10"})
    with pytest.raises(PermanentError, match="not served") as caught:
        accounts(connect(old), old)
    assert "sources.x_ads.options.api_version" in caught.value.fix


def test_doctor_names_the_streams_of_each_account_and_what_is_missing(sandbox: World) -> None:
    found = probe(connect(config()), config())
    assert all(finding.ok for finding in found)
    assert any("account 18ce54d4x5t campaign_daily is readable" in finding.what for finding in found)
    add_fault(sandbox, "x_ads", "missing_scope", path_contains="stats", scope="ads")
    refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert len(refused) == 4
    assert all("role in the ad accounts" in finding.fix for finding in refused)


# -- the twin, and the vendor's own words


def test_x_s_own_client_reads_the_twin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(world, x_ads={"page_size": 1}) as url:
        monkeypatch.setattr(sdk_http.Request, "_DEFAULT_DOMAIN", f"{url}/x_ads")
        client = Client(tokens.CLIENT_ID, tokens.CLIENT_SECRET, tokens.PRIVATE_APP_TOKEN, tokens.REFRESH_TOKEN)
        account = next(each for each in client.accounts() if each.id == OURS.id)
        assert account.timezone == "Europe/Berlin"
        names = {each.id: each.name for each in account.campaigns(with_deleted=True)}
        assert names == {"8wku2": "X | Analysten | DE", "8wku3": "X | Messe ✨ 2026"}
        days = {"start_time": datetime(2026, 5, 20), "end_time": datetime(2026, 5, 27)}  # noqa: DTZ001
        found = Campaign.active_entities(account, **days)
        assert {each["entity_id"] for each in found} == {*names}
        (first,) = Campaign.all_stats(account, ["8wku2"], ["ENGAGEMENT", "BILLING"], granularity="DAY", **days)
        clicks = first["id_data"][0]["metrics"]["url_clicks"]
    of_one = {row[0]: row[2] for row in days_of(world, OURS.id) if row[1] == "8wku2"}
    assert clicks == [of_one[f"2026-05-{day}"] for day in range(20, 27)]


def test_a_signing_client_walks_the_three_legs(world: World) -> None:
    """By requests-oauthlib, which X's documents recommend among others."""
    with running(world) as url:
        base = f"{url}/x_ads/oauth"
        session = OAuth1Session(tokens.CLIENT_ID, tokens.CLIENT_SECRET, callback_uri="http://127.0.0.1:1/callback")
        session.fetch_request_token(f"{base}/request_token")
        page = requests.get(session.authorization_url(f"{base}/authorize"), allow_redirects=False, timeout=10)
        session.parse_authorization_response(page.headers["Location"])
        given = session.fetch_access_token(f"{base}/access_token")
        assert session.get(f"{url}/x_ads/12/accounts").status_code == 200
    assert given["oauth_token"] == tokens.PRIVATE_APP_TOKEN
