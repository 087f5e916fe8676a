"""The Google Ads connector against answers as Google words them, and against the sandbox."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import requests
import responses
import time_machine
from google.ads.googleads.v26.enums.types.advertising_channel_type import AdvertisingChannelTypeEnum
from google.ads.googleads.v26.errors.types.errors import GoogleAdsFailure
from google.ads.googleads.v26.services.types.google_ads_service import GoogleAdsRow, SearchGoogleAdsResponse
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from pandas.testing import assert_frame_equal

from b2b_pipeline.configuration.config import Channels, Config, SourceConfig
from b2b_pipeline.connectors.base import Account, Accounts, MappingContext, Skipped, Window
from b2b_pipeline.connectors.google_ads import source as google_ads
from b2b_pipeline.connectors.google_ads.source import SOURCE, classify
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Skip, Split, Stop, Wait
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, SplitError, TransientError
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.contract import enforce
from b2b_sandbox.faults import add_fault
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

FIXTURES = Path(__file__).parents[1] / "fixtures" / "google_ads"
SEARCH = "https://googleads.googleapis.com/v26/customers/4100000001/googleAds:search"
CLIENTS = "https://googleads.googleapis.com/v26/customers/4100000000/googleAds:search"
TOKEN = "https://oauth2.googleapis.com/token"
ACCOUNT = Account("4100000001", "Europe", "EUR", "Europe/Berlin")
WINDOW = Window.of_days(date(2026, 10, 1), date(2026, 10, 3), ZoneInfo("UTC"))
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def fixture(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return body


def make_config(**source: Any) -> Config:
    return Config.model_construct(
        start_date=date(2026, 10, 1),
        system_of_record="files",
        sources={"google_ads": SourceConfig(**source)},
    )


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_ADS_BASE_URL", raising=False)
    monkeypatch.delenv("GOOGLE_ADS_DEVELOPER_TOKEN", raising=False)
    for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN"):
        monkeypatch.setenv(f"GOOGLE_ADS_{name}", f"fixture-{name.lower()}")
    monkeypatch.setenv("GOOGLE_ADS_LOGIN_CUSTOMER_ID", "410-000-0000")
    with responses.RequestsMock() as mock:
        mock.post(TOKEN, json=fixture("token"))
        yield mock


def asked(vendor: responses.RequestsMock) -> list[dict[str, Any]]:
    """The bodies of the searches, in order."""
    return [
        json.loads(call.request.body or b"") for call in vendor.calls if "googleAds:search" in str(call.request.url)
    ]


def fetch(stream: str, config: Config | None = None) -> list[dict[str, Any]]:
    client = google_ads.connect(config or make_config())
    return [dict(r) for page in SOURCE.stream(stream).fetch(client, ACCOUNT, WINDOW) for r in page.records]


def mapped(stream: str, table: str, records: list[dict[str, Any]]) -> pd.DataFrame:
    frame = flattened(records)
    return SOURCE.stream(stream).feeds[table](frame, MappingContext(make_config(), "google_ads", stream, ACCOUNT))


def test_campaign_days_become_spend_with_exact_money_on_the_account_s_own_days(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH, json=fixture("campaign_daily_1"))
    vendor.post(SEARCH, json=fixture("campaign_daily_2"))
    frame = mapped("campaign_daily", "spend", fetch("campaign_daily"))
    columns = [
        "source_id", "date_day", "level", "ad_group_id", "channel", "impressions", "clicks",
        "conversions_platform", "conv_value_platform", "spend", "currency", "account_tz",
    ]  # fmt: skip
    expected = pd.DataFrame(
        [
            ["21000000100", "2026-10-01", "campaign", "-", "paid_search", "1000", "31", "1.500000", "60.000000",
             "12.340000", "EUR", "Europe/Berlin"],
            ["21000000140", "2026-10-01", "campaign", "-", "video", "45000", "12", "0.333333", "13.333333",
             "0.000007", "EUR", "Europe/Berlin"],
            ["21000000150", "2026-10-02", "campaign", "-", "paid_search", "1", "0", "0.000000", "0.000000",
             "90071992547.409931", "EUR", "Europe/Berlin"],
        ],
        columns=columns,
    )  # fmt: skip
    stored = enforce(tables.spend, frame).rows[columns].astype(str)
    assert_frame_equal(stored, expected, check_dtype=False)
    assert set(frame["source_account"]) == {"4100000001"}
    assert asked(vendor)[1]["pageToken"] == fixture("campaign_daily_1")["nextPageToken"]
    assert "pageSize" not in asked(vendor)[0]


def test_a_half_open_window_is_asked_for_with_both_days_included(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH, json=fixture("no_rows"))
    assert fetch("account_daily") == []
    assert asked(vendor)[0]["query"].endswith("WHERE segments.date BETWEEN '2026-10-01' AND '2026-10-02'")


def test_an_amount_that_is_no_whole_number_of_micros_cannot_pass_for_money() -> None:
    rows = [
        {"campaign": {"id": "1"}, "metrics": {"costMicros": cost}} for cost in ("12.5", "-1500000", "", None, 7, "x")
    ]
    assert mapped("campaign_daily", "spend", rows)["spend"].tolist() == [
        "12.5 micros", "-1.500000", None, None, "0.000007", "x micros",
    ]  # fmt: skip


def test_campaigns_keep_removed_ones(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH, json=fixture("campaign"))
    frame = mapped("campaign", "campaign", fetch("campaign"))
    expected = pd.DataFrame(
        {
            "campaign_id": ["21000000100", "21000000140", "21000000150"],
            "account_id": "4100000001",
            "name": ["Brand | Search | EU", "Product film | Vidéo", "Old | Hotel"],
            "status": ["ENABLED", "PAUSED", "REMOVED"],
            "campaign_type": ["SEARCH", "VIDEO", "HOTEL"],
            "channel": ["paid_search", "video", "paid_search"],
            "is_deleted": [False, False, True],
        }
    )
    assert_frame_equal(frame[list(expected)], expected, check_dtype=False)


@pytest.mark.parametrize("name", sorted(path.stem for path in FIXTURES.glob("*.json") if path.stem != "token"))
def test_google_s_own_message_types_accept_every_payload(name: str) -> None:
    ParseDict(fixture(name), SearchGoogleAdsResponse.pb()())


@pytest.mark.parametrize(
    "name",
    ["CAMPAIGN_DAILY", "ACCOUNT_DAILY", "CAMPAIGN", "CONVERSION_ACTION", "CONVERSION_CUSTOMER", "CUSTOMER_CLIENT"],
)
def test_google_has_every_field_that_a_query_selects(name: str) -> None:
    for field in re.findall(r"[a-z_]+\.[a-z_]+", getattr(google_ads, name)):
        resource, attribute = field.split(".")
        message = GoogleAdsRow.pb().DESCRIPTOR.fields_by_name[resource].message_type
        assert re.sub("_([a-z])", lambda m: m[1].upper(), attribute) in {f.json_name for f in message.fields}, field


def test_accounts_are_the_enabled_clients_below_the_manager(vendor: responses.RequestsMock) -> None:
    vendor.post(CLIENTS, json=fixture("customer_client"))
    client = google_ads.connect(make_config())
    found = google_ads.accounts(client, make_config())
    assert found.read == [ACCOUNT, Account("4100000002", "North America", "USD", "America/New_York")]
    assert found.skipped == [Skipped("4100000003", "the account is CANCELED", closed=True)]
    assert google_ads.accounts(client, make_config(accounts=["410-000-0001"])) == Accounts([ACCOUNT], [])
    with pytest.raises(ConfigError, match="none of them can be read: 4100000003: the account is CANCELED"):
        google_ads.accounts(client, make_config(accounts=["4100000003"]))
    with pytest.raises(ConfigError, match="4100000009 not among the accounts that the credentials reach"):
        google_ads.accounts(client, make_config(accounts=["410-000-0001", "4100000009"]))
    gone = make_config(accounts=["4100000001", "4100000009"], ended={"410-000-0009": "2026-05-31"})
    assert google_ads.accounts(client, gone).read == [ACCOUNT], "of an account that has ended nothing is expected"


def client_row(account: str, **more: Any) -> dict[str, Any]:
    return {
        "customerClient": {"id": account, "descriptiveName": account, "manager": False, "status": "ENABLED", **more}
    }


def test_an_account_that_is_half_set_up_costs_the_others_nothing(vendor: responses.RequestsMock) -> None:
    """As recorded of an agency's manager: an enabled client without currency and time zone."""
    brazil = {"currencyCode": "BRL", "timeZone": "America/Sao_Paulo"}
    rows = [client_row("5927993611", **brazil), client_row("8277801207"), client_row("1", status="SUSPENDED", **brazil)]
    vendor.post(CLIENTS, json={"results": rows, "fieldMask": "customerClient.id"})
    client = google_ads.connect(make_config())
    for listed in ([], ["592-799-3611", "827-780-1207"]):
        found = google_ads.accounts(client, make_config(accounts=listed))
        assert [account.id for account in found.read] == ["5927993611"]
        assert "8277801207" in {item.account for item in found.skipped if "no currency or time zone" in item.reason}


def test_without_a_manager_every_account_that_the_user_was_invited_to_is_read_by_itself(
    vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_ADS_LOGIN_CUSTOMER_ID")
    url = "https://googleads.googleapis.com/v26/customers"
    names = ["customers/4100000000", "customers/7", "customers/8"]
    vendor.get(f"{url}:listAccessibleCustomers", json={"resourceNames": names})
    vendor.post(CLIENTS, json=fixture("customer_client"))
    direct = client_row("7", currencyCode="EUR", timeZone="Europe/Berlin")
    vendor.post(f"{url}/7/googleAds:search", json={"results": [direct], "fieldMask": "x"})
    closed = failure(403, "authorizationError", "CUSTOMER_NOT_ENABLED")
    vendor.post(f"{url}/8/googleAds:search", json=closed, status=403)
    vendor.post(SEARCH, json=fixture("campaign"))
    client = google_ads.connect(make_config())
    found = google_ads.accounts(client, make_config())
    assert [account.id for account in found.read] == ["4100000001", "4100000002", "7"]
    assert [(item.account, item.closed) for item in found.skipped] == [("4100000003", True), ("8", True)]
    client.rows(ACCOUNT.id, google_ads.CAMPAIGN)
    client.rows("7", google_ads.CAMPAIGN)
    logins = [call.request.headers["login-customer-id"] for call in vendor.calls if "search" in str(call.request.url)]
    assert logins == ["4100000000", "7", "8", "4100000000", "7"]


def test_the_restatement_window_is_the_longest_look_back_of_an_enabled_conversion_action(
    vendor: responses.RequestsMock,
) -> None:
    for actions in ("conversion_action", "no_rows"):
        vendor.post(SEARCH, json=conversions_of(ACCOUNT.id))
        vendor.post(SEARCH, json=fixture(actions))
    client = google_ads.connect(make_config())
    assert google_ads.restate_days(client, ACCOUNT) == 60
    assert google_ads.restate_days(client, ACCOUNT) == 30


def conversions_of(owner: str) -> dict[str, Any]:
    """Whose conversion actions count in an account."""
    setting = {"googleAdsConversionCustomer": f"customers/{owner}"}
    return {
        "results": [{"customer": {"id": ACCOUNT.id, "conversionTrackingSetting": setting}}],
        "fieldMask": "customer",
    }


def test_conversion_actions_of_a_manager_are_looked_at_too(vendor: responses.RequestsMock) -> None:
    for answer in (conversions_of("4100000000"), fixture("no_rows")) * 3:
        vendor.post(SEARCH, json=answer)
    vendor.post(CLIENTS, json=fixture("conversion_action"))
    vendor.post(CLIENTS, json=failure(403, "authorizationError", "USER_PERMISSION_DENIED"), status=403)
    vendor.post(CLIENTS, json=failure(403, "authorizationError", "CUSTOMER_NOT_ENABLED"), status=403)
    client = google_ads.connect(make_config())
    assert google_ads.restate_days(client, ACCOUNT) == 60
    assert google_ads.restate_days(client, ACCOUNT) == 90, "as long as Google allows, where nobody can look"
    assert google_ads.restate_days(client, ACCOUNT) == 90


def test_an_expired_page_token_has_a_window_asked_for_in_halves_and_a_list_again(
    vendor: responses.RequestsMock,
) -> None:
    expired = failure(400, "requestError", "EXPIRED_PAGE_TOKEN")
    for stream, error in (("campaign_daily", SplitError), ("campaign", TransientError)):
        vendor.post(SEARCH, json=fixture("campaign_daily_1"))
        vendor.post(SEARCH, json=expired, status=400)
        with pytest.raises(error, match="EXPIRED_PAGE_TOKEN"):
            fetch(stream)


def test_a_page_is_handed_on_before_the_next_one_is_asked_for(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH, json=fixture("campaign_daily_1"))
    pages = SOURCE.stream("campaign_daily").fetch(google_ads.connect(make_config()), ACCOUNT, WINDOW)
    assert next(iter(pages)).records
    assert [call.request.url for call in vendor.calls].count(SEARCH) == 1


def test_a_page_token_that_repeats_ends_the_reading(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH, json=fixture("campaign_daily_1"))
    with pytest.raises(TransientError, match="cursor repeats"):
        fetch("campaign_daily")


def test_rows_that_are_not_as_many_as_announced_are_refused(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH, json=fixture("campaign") | {"totalResultsCount": "10"})
    with pytest.raises(TransientError, match="10 rows announced, 3 received"):
        fetch("campaign")


def test_an_answer_without_rows_and_field_mask_is_not_taken_for_no_rows(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH, json={})
    with pytest.raises(TransientError, match="neither rows nor a field mask"):
        fetch("campaign_daily")


def test_credentials_go_into_headers_and_never_into_a_message(
    vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_ADS_DEVELOPER_TOKEN", "fixture-developer-token")
    vendor.post(SEARCH, json=failure(403, "authorizationError", "USER_PERMISSION_DENIED"), status=403)
    with pytest.raises(AuthError, match="USER_PERMISSION_DENIED") as caught:
        fetch("campaign_daily")
    headers = vendor.calls[-1].request.headers
    assert headers["Authorization"] == "Bearer ya29.fixture-access-token"
    assert (headers["developer-token"], headers["login-customer-id"]) == ("fixture-developer-token", "4100000000")
    assert "fixture" not in str(caught.value)


def test_a_refused_refresh_token_is_an_error_of_the_credentials(vendor: responses.RequestsMock) -> None:
    vendor.replace(responses.POST, TOKEN, json={"error": "invalid_grant"}, status=400)
    with pytest.raises(AuthError, match="invalid_grant"):
        fetch("campaign_daily")


def test_a_missing_credential_is_named(vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.remove(responses.POST, TOKEN)
    monkeypatch.delenv("GOOGLE_ADS_REFRESH_TOKEN")
    with pytest.raises(AuthError, match="GOOGLE_ADS_REFRESH_TOKEN is not set"):
        google_ads.connect(make_config())


def test_every_campaign_type_that_google_has_is_paid_in_a_channel_of_its_own() -> None:
    types = set(AdvertisingChannelTypeEnum.AdvertisingChannelType.__members__) - {"UNSPECIFIED", "UNKNOWN"}
    rules = Channels()
    assert types <= rules.google_ads_type.keys()
    assert set(rules.google_ads_type.values()) <= {*rules.paid}


def test_the_version_comes_from_the_configuration(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH.replace("v26", "v27"), json=fixture("no_rows"))
    assert fetch("campaign", make_config(options={"api_version": "v27"})) == []
    with pytest.raises(ConfigError, match="'26' is not a version"):
        google_ads.connect(make_config(options={"api_version": "26"}))


def test_doctor_names_what_is_wrong_and_where(vendor: responses.RequestsMock) -> None:
    config = make_config(accounts=["4100000001"], fields={"owner": "label"})
    vendor.post(CLIENTS, json=fixture("customer_client"))
    vendor.post(SEARCH, json=conversions_of(ACCOUNT.id))
    vendor.post(SEARCH, json=fixture("conversion_action"))
    vendor.post(SEARCH, json=fixture("account_daily"))
    field, account = SOURCE.probe(google_ads.connect(config), config)
    assert (field.ok, field.fix) == (False, "remove owner")
    assert account.ok
    assert "4100000001 (EUR, Europe/Berlin): re-reads 60 days" in account.what


# -- the dialect


def failure(status: int, family: str, code: str, **details: Any) -> dict[str, Any]:
    """An error as the Google Ads API words it: a `GoogleAdsFailure` inside a `google.rpc.Status`."""
    error = {"errorCode": {family: code}, "message": "…"} | ({"details": details} if details else {})
    type_url = "type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure"
    inner = {"@type": type_url, "errors": [error], "requestId": "fixture"}
    return {"error": {"code": status, "message": "…", "status": "…", "details": [inner]}}


def quota(code: str, delay: str = "") -> dict[str, Any]:
    scope = {"rateScope": "DEVELOPER", "rateName": "Requests per second"} | ({"retryDelay": delay} if delay else {})
    return failure(429, "quotaError", code, quotaErrorDetails=scope)


def platform(status: int, name: str, reason: str, delay: str = "") -> dict[str, Any]:
    """An error of Google's platform, before the Google Ads API is reached: with an `ErrorInfo`."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    details = [info, *([retry] if delay else [])]
    return {"error": {"code": status, "message": "…", "status": name, "details": details}}


HTML = b"<!DOCTYPE html><html><title>Error</title></html>"
EXPIRED = failure(401, "authenticationError", "OAUTH_TOKEN_EXPIRED")
SHORT, LONG = (f"EXCESSIVE_{term}_TERM_QUERY_RESOURCE_CONSUMPTION" for term in ("SHORT", "LONG"))
NOT_SERVED = "this version of the API is not served: set sources.google_ads.options.api_version"
SERVED = "set sources.google_ads.options.api_version to one that Google serves, or upgrade b2b-pipeline"

DIALECT: list[tuple[str, int, Any, dict[str, str], Outcome]] = [
    ("rows", 200, {"results": []}, {}, Ok()),
    ("a page instead of JSON", 200, HTML, {}, Wait(3, "not an answer of the API")),
    ("JSON that is cut off", 200, b'{"results": [{"cam', {}, Wait(3, "not an answer of the API")),
    ("an error in a 200", 200, failure(500, "internalError", "INTERNAL_ERROR"), {}, Wait(3, "INTERNAL_ERROR")),
    ("a short throttle", 429, quota("RESOURCE_TEMPORARILY_EXHAUSTED", "1.500s"), {},
     Wait(1.5, "RESOURCE_TEMPORARILY_EXHAUSTED")),
    ("a throttle in a 200", 200, quota("RESOURCE_TEMPORARILY_EXHAUSTED", "5s"), {},
     Wait(5, "RESOURCE_TEMPORARILY_EXHAUSTED")),
    ("a quota that is back in 15 minutes", 429, quota("RESOURCE_EXHAUSTED", "900s"), {},
     Stop(NOW + timedelta(minutes=15), "RESOURCE_EXHAUSTED")),
    ("the day's quota", 429, quota("RESOURCE_EXHAUSTED", "86400s"), {},
     Stop(NOW + timedelta(days=1), "RESOURCE_EXHAUSTED")),
    ("a throttle that does not say how long", 429, quota("RESOURCE_EXHAUSTED"), {}, Wait(60, "RESOURCE_EXHAUSTED")),
    ("expensive queries, short term", 429, quota(SHORT), {}, Wait(300, SHORT)),
    ("expensive queries, long term", 429, quota(LONG), {}, Stop(NOW + timedelta(minutes=30), LONG)),
    ("a throttle of the platform", 429, HTML, {"Retry-After": "7"}, Wait(7, "too many requests")),
    ("a throttle of the platform that says how long", 429, platform(429, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED",
     "1800s"), {}, Stop(NOW + timedelta(minutes=30), "RATE_LIMIT_EXCEEDED")),
    ("eleven hours of quota, as recorded", 429, quota("RESOURCE_EXHAUSTED", "40591s"), {},
     Stop(NOW + timedelta(seconds=40_591), "RESOURCE_EXHAUSTED")),
    ("an outage that is announced", 503, HTML, {"Retry-After": "Sat, 21 Nov 2026 14:00:00 GMT"},
     Stop(NOW + timedelta(hours=2), "server error")),
    ("no access to the quota", 403, failure(403, "quotaError", "ACCESS_PROHIBITED"), {},
     Fatal("ACCESS_PROHIBITED", auth=True)),
    ("an expired page token", 400, failure(400, "requestError", "EXPIRED_PAGE_TOKEN"), {}, Split("EXPIRED_PAGE_TOKEN")),
    ("an expired access token", 401, EXPIRED, {}, Reauth("OAUTH_TOKEN_EXPIRED")),
    ("an expired access token, as the platform says it", 401,
     platform(401, "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED"), {}, Reauth("UNAUTHENTICATED")),
    ("a 401 without words", 401, b"", {}, Reauth("UNAUTHENTICATED")),
    ("no two-step verification", 401, failure(401, "authenticationError", "TWO_STEP_VERIFICATION_NOT_ENROLLED"), {},
     Fatal("TWO_STEP_VERIFICATION_NOT_ENROLLED", auth=True)),
    ("no permission", 403, failure(403, "authorizationError", "USER_PERMISSION_DENIED"), {},
     Fatal("USER_PERMISSION_DENIED", auth=True)),
    ("an account that is not enabled", 403, failure(403, "authorizationError", "CUSTOMER_NOT_ENABLED"), {},
     Skip("CUSTOMER_NOT_ENABLED: not yet enabled, or deactivated", closed=True)),
    ("a missing scope", 403, platform(403, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"), {},
     Fatal("ACCESS_TOKEN_SCOPE_INSUFFICIENT", auth=True)),
    ("a missing developer token, before September 2026", 400,
     failure(400, "requestError", "DEVELOPER_TOKEN_PARAMETER_MISSING"), {},
     Fatal("DEVELOPER_TOKEN_PARAMETER_MISSING", auth=True)),
    ("a query with an unknown field", 400, failure(400, "queryError", "UNRECOGNIZED_FIELD"), {},
     Fatal("UNRECOGNIZED_FIELD: this version of the API has no such field, no longer or not yet",
           fix="set sources.google_ads.options.api_version to one that has it, or upgrade b2b-pipeline")),
    ("a version that is gone", 404, HTML, {}, Fatal(NOT_SERVED, fix=SERVED)),
    ("a version that is going", 400, failure(400, "requestError", "UNSUPPORTED_VERSION"), {},
     Fatal(NOT_SERVED, fix=SERVED)),
    ("two changes at once", 400, failure(400, "databaseError", "CONCURRENT_MODIFICATION"), {},
     Wait(3, "CONCURRENT_MODIFICATION")),
    ("an outage", 503, HTML, {}, Wait(3, "server error")),
    ("an internal error", 500, failure(500, "internalError", "TRANSIENT_ERROR"), {}, Wait(3, "TRANSIENT_ERROR")),
    ("a bad gateway, without details", 502, {"error": {"code": 502, "status": "UNAVAILABLE"}}, {},
     Wait(3, "server error")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome"), [row[1:] for row in DIALECT], ids=[r[0] for r in DIALECT]
)
def test_every_answer_is_understood(status: int, body: Any, headers: dict[str, str], outcome: Outcome) -> None:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with time_machine.travel(NOW, tick=False):
        assert classify(response) == outcome


def test_doctor_says_which_field_the_version_does_not_have(vendor: responses.RequestsMock) -> None:
    refused = failure(400, "queryError", "UNRECOGNIZED_FIELD")
    refused["error"]["details"][0]["errors"][0]["message"] = "Unrecognized field in the query: 'metrics.cost_micros'."
    vendor.post(CLIENTS, json=fixture("customer_client"))
    vendor.post(SEARCH, json=conversions_of(ACCOUNT.id))
    vendor.post(SEARCH, json=fixture("conversion_action"))
    vendor.post(SEARCH, json=refused, status=400)
    config = make_config(accounts=["4100000001"])
    (account,) = SOURCE.probe(google_ads.connect(config), config)
    assert not account.ok
    assert "v26 of the API has no field metrics.cost_micros, no longer or not yet" in account.what
    other = "one that has field metrics.cost_micros"
    assert account.fix == f"set sources.google_ads.options.api_version to {other}, or upgrade b2b-pipeline"


def test_every_error_of_the_table_is_one_that_google_has() -> None:
    for _, _, body, _, _ in DIALECT:
        for detail in body.get("error", {}).get("details", []) if isinstance(body, dict) else []:
            if "errors" in detail:
                ParseDict({"errors": detail["errors"]}, GoogleAdsFailure.pb()())


def test_an_expired_access_token_is_renewed_once_and_the_question_repeated(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH, json=EXPIRED, status=401)
    vendor.post(SEARCH, json=fixture("campaign"))
    assert len(fetch("campaign")) == 3
    assert [call.request.url for call in vendor.calls] == [TOKEN, SEARCH, TOKEN, SEARCH]


def test_a_refused_query_is_permanent(vendor: responses.RequestsMock) -> None:
    vendor.post(SEARCH, json=failure(400, "queryError", "UNRECOGNIZED_FIELD"), status=400)
    with pytest.raises(PermanentError, match="UNRECOGNIZED_FIELD"):
        fetch("campaign")


# -- against the sandbox


def test_campaigns_add_up_to_the_account_and_to_what_the_sandbox_spent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = make_world(tmp_path / "world.sqlite", until=date(2026, 10, 20), days=20, leads=40)
    window = Window.of_days(date(2026, 10, 1), date(2026, 10, 21), ZoneInfo("UTC"))
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    for name, value in {
        "LOGIN_CUSTOMER_ID": "410-000-0000", "CLIENT_ID": "sandbox-client", "CLIENT_SECRET": "sandbox-secret",
        "REFRESH_TOKEN": "sandbox-refresh", "DEVELOPER_TOKEN": "sandbox-developer-token",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"GOOGLE_ADS_{name}", value)
    with running(world) as url:
        monkeypatch.setenv("GOOGLE_ADS_BASE_URL", f"{url}/google_ads")
        client = google_ads.connect(make_config())

        def read(stream: str, account: Account) -> list[dict[str, Any]]:
            return [dict(r) for page in SOURCE.stream(stream).fetch(client, account, window) for r in page.records]

        add_fault(world, "google_ads", "expire_token", path_contains="googleAds:search")
        accounts = google_ads.accounts(client, make_config()).read
        for account in accounts:
            spend = mapped("campaign_daily", "spend", read("campaign_daily", account))
            spent = spend["spend"].map(Decimal).groupby(spend["date_day"]).sum()
            totals = {
                row["segments"]["date"]: Decimal(row["metrics"]["costMicros"]) / 1_000_000
                for row in read("account_daily", account)
            }
            assert spent.to_dict() == totals
            assert spent.sum() == spent_in(world, account) > 0
            assert set(spend["campaign_id"]) <= {row["campaign"]["id"] for row in read("campaign", account)}
            assert google_ads.restate_days(client, account) == 90
        assert [(a.currency, a.time_zone) for a in accounts] == [("EUR", "Europe/Berlin"), ("USD", "America/New_York")]
        assert all(finding.ok for finding in SOURCE.probe(client, make_config()))
        add_fault(world, "google_ads", "total_mismatch", path_contains="FROM campaign")
        with pytest.raises(TransientError, match="rows announced"):
            read("campaign", accounts[0])


def spent_in(world: World, account: Account) -> Decimal:
    """What an account has spent by the sandbox's clock, straight from its database."""
    with world.connect() as connection:
        rows = connection.execute(
            "select cost_micros, max(known_at) from ad_day where account_id = ? and known_at <= ? "
            "group by campaign_id, ad_group_id, date_day",
            (account.id, world.now()),
        ).fetchall()
    return Decimal(sum(row["cost_micros"] for row in rows)) / 1_000_000
