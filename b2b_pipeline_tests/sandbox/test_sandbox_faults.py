"""Faults are shown over HTTP as each vendor would show them, as often as asked for, then are gone."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
import requests
from requests_oauthlib import OAuth1

from b2b_pipeline.connectors.auth import basic
from b2b_sandbox import tokens
from b2b_sandbox.faults import FOREVER, KINDS, add_fault, clear_faults, list_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

CAMPAIGNS = {"query": "SELECT campaign.id, campaign.name FROM campaign"}
NAMES = (  # of the member of an answer that holds its rows
    "results", "records", "data", "elements", "Campaigns", "list", "value", "campaigns", "accountSummaries",
    "siteEntry", "events", "items", "tickets", "conversations", "result", "reports",
    "users",
)  # fmt: skip
VENDORS = (
    "google_ads", "hubspot", "salesforce", "linkedin_ads", "meta_ads", "microsoft_ads", "reddit_ads", "tiktok_ads",
    "x_ads", "pipedrive", "ecb", "stripe", "chargebee",
    "dynamics",
    "zoho_crm",
    "mailchimp",
    "klaviyo",
    "discourse",
    "demandbase",
    "linkedin_pages",
    "ga4", "search_console",
    "typeform", "zendesk", "intercom",
    "marketo",
    "youtube", "x",
    "collector", "clarity",
    "zoom_webinars",
)  # fmt: skip


class Sandbox:
    """One list request per vendor, and its following page."""

    def __init__(self, url: str, world: World) -> None:
        self.url, self.world = url, world

    def get(self, vendor: str, path: str = "", token: str = "", **params: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {token or tokens.issue(vendor, 60)}"}
        match vendor:
            case "google_ads":
                headers |= {"login-customer-id": "4100000000"}
                url = f"{self.url}/google_ads/v26/customers/4100000001/googleAds:search"
                return requests.post(url, json=CAMPAIGNS | params, headers=headers, timeout=10)
            case "linkedin_ads":
                headers |= {"LinkedIn-Version": "202607"}
                url = f"{self.url}/linkedin_ads/rest/adAccounts/508720451/adCampaigns"
                params = {"q": "search", "pageSize": 1, **params}
            case "microsoft_ads":
                headers |= {"DeveloperToken": "x", "CustomerId": "251186883", "CustomerAccountId": "180535609"}
                url = f"{self.url}/microsoft_ads/CampaignManagement/v13/Campaigns/QueryByAccountId"
                return requests.post(url, json={"AccountId": "180535609"}, headers=headers, timeout=10)
            case "tiktok_ads":
                headers = {"Access-Token": token or tokens.PRIVATE_APP_TOKEN}
                url = f"{self.url}/tiktok_ads/open_api/v1.3/campaign/get/"
                params = {"advertiser_id": "7001035076276387841", **params}
            case "meta_ads":
                headers = {"Authorization": f"Bearer {token or tokens.PRIVATE_APP_TOKEN}"}
                url = f"{self.url}/meta_ads/v26.0/act_1201500000000001/campaigns"
                params = {"limit": 1, **params}
            case "reddit_ads":
                url = f"{self.url}/reddit_ads/api/v3/ad_accounts/a2_gq7w1x0c5rd2/campaigns"
                headers["User-Agent"], params = "python:tests:v1", {"page.size": 1, **params}
            case "hubspot":
                url = f"{self.url}/hubspot/crm/v3/objects/contacts"
                params = {"limit": 3, **params}
            case "salesforce":
                url = f"{self.url}/salesforce{path or '/services/data/v67.0/queryAll'}"
                params = {} if path else {"q": "SELECT Id, Status FROM Lead"}
            case "pipedrive":
                headers = {"x-api-token": token or tokens.PRIVATE_APP_TOKEN}
                url = f"{self.url}/pipedrive/api/v2/persons"
                params = {"limit": 3, **params}
            case "klaviyo":
                headers = {"Authorization": f"Klaviyo-API-Key {tokens.PRIVATE_APP_TOKEN}", "revision": "2026-07-15"}
                url, params = f"{self.url}/klaviyo/api/profiles", {"page[size]": 3, **params}
            case "mailchimp":
                headers = {"Authorization": basic("any", f"{tokens.PRIVATE_APP_TOKEN}-us19")}
                url, params = f"{self.url}/mailchimp/3.0/campaigns", {"count": 1, **params}
            case "stripe":
                headers = {"Authorization": f"Bearer {token or tokens.PRIVATE_APP_TOKEN}"}
                url, params = f"{self.url}/stripe/v1/customers", {"limit": 1, **params}
            case "chargebee":
                url = f"{self.url}/chargebee/api/v2/customers"
                return requests.get(url, {"limit": 1}, auth=(tokens.PRIVATE_APP_TOKEN, ""), timeout=10)
            case "typeform":
                url = f"{self.url}/typeform/forms"
                params = {"page_size": 2, **params}
            case "intercom":
                headers = {"Authorization": f"Bearer {token or tokens.PRIVATE_APP_TOKEN}"}
                query = {"field": "updated_at", "operator": ">", "value": 0}
                body = {"query": query, "pagination": {"per_page": 2, **params}}
                url = f"{self.url}/intercom/conversations/search"
                return requests.post(url, json=body, headers=headers, timeout=10)
            case "zendesk":
                url = f"{self.url}/zendesk/api/v2/incremental/tickets/cursor.json"
                params = {"start_time": 1767225600, "per_page": 2, **params}
            case "marketo":
                url, since = f"{self.url}/marketo/rest/v1/activities.json", tokens.sign({"after": [0, ""]})
                params = {"activityTypeIds": "6,12", "nextPageToken": since, **params}
            case "x_ads":
                secrets = tokens.CLIENT_SECRET, tokens.PRIVATE_APP_TOKEN, tokens.REFRESH_TOKEN
                url = f"{self.url}/x_ads/12/accounts/18ce54d4x5t/campaigns"
                return requests.get(url, auth=OAuth1(tokens.CLIENT_ID, *secrets), timeout=10)
            case "x":
                secrets = tokens.CLIENT_SECRET, tokens.PRIVATE_APP_TOKEN, tokens.REFRESH_TOKEN
                url, params = f"{self.url}/x/2/users/2244994945/tweets", {"max_results": 5, **params}
                return requests.get(url, params, auth=OAuth1(tokens.CLIENT_ID, *secrets), timeout=10)
            case "dynamics":
                url = f"{self.url}/dynamics/api/data/v9.2/leads"
                headers |= {"Prefer": "odata.maxpagesize=3"}
            case "zoho_crm":
                headers = {"Authorization": f"Zoho-oauthtoken {token or tokens.issue(vendor, 60)}"}
                url = f"{self.url}/zoho_crm/crm/v8/Leads"
                params = {"fields": "Company", "per_page": 3, "sort_order": "asc", **params}
            case "linkedin_pages":
                headers |= {"LinkedIn-Version": "202607"}
                url = f"{self.url}/linkedin_pages/rest/organizationAcls"
                params = {"q": "roleAssignee", **params}
            case "youtube":
                url, params = f"{self.url}/youtube/youtube/v3/channels", {"part": "snippet", "mine": "true", **params}
            case "demandbase":
                url = f"{self.url}/demandbase/data/intent/v1/companies/intent/query"
                asked = {"keywordSetIds": [7303], "startDate": "2025-12-01", "endDate": "2026-03-11", **params}
                return requests.post(url, json=asked, headers=headers, timeout=10)
            case "discourse":
                headers = {"Api-Key": token or tokens.PRIVATE_APP_TOKEN, "Api-Username": "reporting"}
                url = f"{self.url}/discourse/admin/reports/bulk.json"
                params = {"reports[signups][start_date]": "2026-03-01", **params}
            case "ga4":
                url = f"{self.url}/ga4/v1beta/accountSummaries"
            case "search_console":
                url = f"{self.url}/search_console/webmasters/v3/sites"
            case "collector":
                headers = {"Authorization": f"Bearer {token or tokens.PRIVATE_APP_TOKEN}"}
                url = f"{self.url}/collector/events"
                params = {"since": "2026-03-01T00:00:00Z", "until": "2026-03-12T00:00:00Z", **params}
            case "clarity":
                headers = {"Authorization": f"Bearer {token or tokens.PRIVATE_APP_TOKEN}"}
                url = f"{self.url}/clarity/export-data/api/v1/project-live-insights"
                params = {"numOfDays": 1, **params}
            case "zoom_webinars":
                url = f"{self.url}/zoom_webinars/v2/users"
                params = {"page_size": 1, **params}
            case _:
                url = f"{self.url}/ecb/service/data/EXR/D.USD.EUR.SP00.A"
                params = {"format": "csvdata"}
        return requests.get(url, params={k: str(v) for k, v in params.items()}, headers=headers, timeout=10)

    def following(self, vendor: str, page: dict[str, Any]) -> requests.Response:
        if vendor == "google_ads":
            return self.get(vendor, pageToken=page["nextPageToken"])
        if vendor == "linkedin_ads":
            return self.get(vendor, pageToken=page["metadata"]["nextPageToken"])
        if vendor == "meta_ads":
            return self.get(vendor, after=page["paging"]["cursors"]["after"])
        if vendor == "hubspot":
            return self.get(vendor, after=page["paging"]["next"]["after"])
        if vendor == "zendesk":
            return self.get(vendor, cursor=page["after_cursor"])
        if vendor == "intercom":
            return self.get(vendor, starting_after=page["pages"]["next"]["starting_after"])
        if vendor == "marketo":
            return self.get(vendor, nextPageToken=page["nextPageToken"])
        if vendor == "pipedrive":
            return self.get(vendor, cursor=page["additional_data"]["next_cursor"])
        if vendor == "zoho_crm":
            return self.get(vendor, page_token=page["info"]["next_page_token"])
        if vendor == "dynamics":
            headers = {"Authorization": f"Bearer {tokens.issue(vendor, 60)}", "Prefer": "odata.maxpagesize=3"}
            return requests.get(page["@odata.nextLink"], headers=headers, timeout=10)
        return self.get(vendor, page["nextRecordsUrl"])


def cursor(vendor: str, page: dict[str, Any]) -> object:
    if vendor in ("google_ads", "marketo"):
        return page.get("nextPageToken")
    if vendor == "pipedrive":
        return page["additional_data"]["next_cursor"]
    if vendor == "dynamics":
        return page.get("@odata.nextLink")
    if vendor == "zoho_crm":
        return page["info"]["next_page_token"]
    if vendor == "zendesk":
        return page["after_cursor"]
    if vendor == "intercom":
        return page["pages"]["next"]["starting_after"]
    if vendor == "linkedin_ads":
        return page["metadata"].get("nextPageToken")
    if vendor == "meta_ads":
        return page["paging"]["cursors"]["after"]
    return page["paging"]["next"]["after"] if vendor == "hubspot" else page.get("nextRecordsUrl")


def rows(answer: requests.Response) -> list[dict[str, Any]]:
    if "csv" in answer.headers["content-type"]:
        return list(csv.DictReader(io.StringIO(answer.text)))
    body = answer.json()
    if isinstance(body, list) and "metricName" in body[0]:
        return body
    body = body["data"] if "list" in body.get("data", ()) else body
    return next(list(body[name]) for name in NAMES if name in body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    path = tmp_path_factory.mktemp("faults") / "world.sqlite"
    world = make_world(path, until=date(2026, 3, 11), days=10, leads=60)
    with running(world, google_ads={"page_size": 2}, salesforce={"page_size": 10}) as url:
        yield Sandbox(url, world)


@pytest.fixture
def sandbox(server: Sandbox) -> Iterator[Sandbox]:
    yield server
    clear_faults(server.world)


@pytest.mark.parametrize("vendor", VENDORS)
def test_without_faults_every_vendor_answers_with_rows(sandbox: Sandbox, vendor: str) -> None:
    answer = sandbox.get(vendor)
    assert (answer.status_code, bool(rows(answer))) == (200, True)


def test_google_throttles_with_a_delay_in_the_body(sandbox: Sandbox) -> None:
    add_fault(sandbox.world, "google_ads", "throttle", retry_after=900)
    answer = sandbox.get("google_ads")
    [problem] = answer.json()["error"]["details"][0]["errors"]
    assert (answer.status_code, answer.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert problem["errorCode"] == {"quotaError": "RESOURCE_TEMPORARILY_EXHAUSTED"}
    assert problem["details"]["quotaErrorDetails"]["retryDelay"] == "900s"
    assert "Retry-After" not in answer.headers


def test_google_s_platform_throttles_before_the_api_is_reached(sandbox: Sandbox) -> None:
    add_fault(sandbox.world, "google_ads", "platform_throttle", retry_after=1800)
    answer = sandbox.get("google_ads")
    info, retry = answer.json()["error"]["details"]
    assert (answer.status_code, info["reason"], retry["retryDelay"]) == (429, "RATE_LIMIT_EXCEEDED", "1800s")


@pytest.mark.parametrize("vendor", ["google_ads", "hubspot", "salesforce"])
def test_a_token_endpoint_has_troubles_of_its_own(sandbox: Sandbox, vendor: str) -> None:
    add_fault(sandbox.world, vendor, "token_error", path_contains="token")
    path = {"google_ads": "token", "hubspot": "oauth/2026-03/token", "salesforce": "services/oauth2/token"}[vendor]
    answer = requests.post(f"{sandbox.url}/{vendor}/{path}", data={}, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, "unknown_error")


def test_a_scope_that_is_not_granted_stays_so_until_cleared(sandbox: Sandbox) -> None:
    add_fault(sandbox.world, "hubspot", "missing_scope", scope="crm.objects.contacts.read")
    for _ in range(2):
        answer = sandbox.get("hubspot")
        assert (answer.status_code, answer.json()["category"]) == (403, "MISSING_SCOPES")
    clear_faults(sandbox.world)
    assert sandbox.get("hubspot").status_code == 200


def test_hubspot_names_the_policy_that_throttles(sandbox: Sandbox) -> None:
    for daily, policy in ((False, "TEN_SECONDLY_ROLLING"), (True, "DAILY")):
        add_fault(sandbox.world, "hubspot", "throttle", daily=daily, retry_after=7)
        answer = sandbox.get("hubspot")
        assert (answer.status_code, answer.json()["policyName"], answer.json()["errorType"]) == (
            429,
            policy,
            "RATE_LIMIT",
        )
        assert answer.headers["Retry-After"] == "7"


def test_salesforce_tells_a_busy_server_from_a_used_up_day(sandbox: Sandbox) -> None:
    for daily, status, code in ((False, 503, "SERVER_UNAVAILABLE"), (True, 403, "REQUEST_LIMIT_EXCEEDED")):
        add_fault(sandbox.world, "salesforce", "throttle", daily=daily)
        answer = sandbox.get("salesforce")
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (status, code)


def test_a_fault_is_shown_count_times_to_the_requests_it_fits(sandbox: Sandbox) -> None:
    add_fault(sandbox.world, "hubspot", "server_error", path_contains="objects/contacts", count=2, status=502)
    assert sandbox.get("salesforce").status_code == 200
    assert requests.get(f"{sandbox.url}/hubspot/crm/v3/objects/deals", timeout=10).status_code == 401
    assert [sandbox.get("hubspot").status_code for _ in range(3)] == [502, 502, 200]
    assert list_faults(sandbox.world) == []


def test_requests_at_the_same_time_share_the_count(sandbox: Sandbox) -> None:
    add_fault(sandbox.world, "hubspot", "throttle", count=5)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: sandbox.get("hubspot").status_code, range(16)))
    assert (statuses.count(429), statuses.count(200)) == (5, 11)


def test_a_fault_can_be_aimed_at_a_query(sandbox: Sandbox) -> None:
    add_fault(sandbox.world, "google_ads", "server_error", path_contains="FROM ad_group")
    add_fault(sandbox.world, "salesforce", "server_error", path_contains="FROM Opportunity")
    assert sandbox.get("google_ads").status_code == sandbox.get("salesforce").status_code == 200
    assert sandbox.get("google_ads", query="SELECT ad_group.id FROM ad_group").status_code == 500
    soql = {"q": "SELECT Id FROM Opportunity"}
    assert requests.get(f"{sandbox.url}/salesforce/services/data/v67.0/query", soql, timeout=10).status_code == 500


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_html_page_comes_with_200_and_a_server_error_with_500(sandbox: Sandbox, vendor: str) -> None:
    for kind, status in (("html_page", 200), ("server_error", 500)):
        add_fault(sandbox.world, vendor, kind)
        answer = sandbox.get(vendor)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (status, "text/html")
        assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_cut_body_ends_in_the_middle_and_nothing_gives_it_away(sandbox: Sandbox, vendor: str) -> None:
    whole = sandbox.get(vendor).content
    add_fault(sandbox.world, vendor, "cut_body")
    cut = sandbox.get(vendor)
    assert (cut.status_code, "Content-Length" in cut.headers) == (200, False)
    assert len(cut.content) < len(whole)
    if vendor != "ecb":
        with pytest.raises(requests.JSONDecodeError):
            cut.json()


def test_an_error_in_a_200_is_worded_as_the_vendors_errors_are(sandbox: Sandbox) -> None:
    bodies = {}
    for vendor in VENDORS[:3]:
        add_fault(sandbox.world, vendor, "error_in_200")
        answer = sandbox.get(vendor)
        assert answer.status_code == 200
        bodies[vendor] = answer.json()
    assert bodies["google_ads"]["error"]["status"] == "INTERNAL"
    assert bodies["hubspot"]["status"] == "error"
    assert bodies["salesforce"][0]["errorCode"] == "UNKNOWN_EXCEPTION"


@pytest.mark.parametrize("vendor", VENDORS[:4])
def test_a_repeated_cursor_shows_on_following_pages_only(sandbox: Sandbox, vendor: str) -> None:
    add_fault(sandbox.world, vendor, "repeat_cursor")
    first = sandbox.get(vendor).json()
    assert len(list_faults(sandbox.world)) == 1
    asked = cursor(vendor, first)
    assert cursor(vendor, sandbox.following(vendor, first).json()) == asked
    assert cursor(vendor, sandbox.following(vendor, first).json()) != asked


def test_an_expired_cursor_is_refused_in_the_dialect(sandbox: Sandbox) -> None:
    for vendor in ("google_ads", "salesforce"):
        add_fault(sandbox.world, vendor, "expire_cursor")
        first = sandbox.get(vendor).json()
        refused = sandbox.following(vendor, first)
        assert refused.status_code == 400
        assert "EXPIRED_PAGE_TOKEN" in refused.text or refused.json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"
        assert sandbox.following(vendor, first).status_code == 200


@pytest.mark.parametrize(
    ("vendor", "status", "text"),
    [
        ("google_ads", 401, "OAUTH_TOKEN_EXPIRED"),
        ("hubspot", 401, "EXPIRED_AUTHENTICATION"),
        ("salesforce", 401, "INVALID_SESSION_ID"),
    ],
)
def test_an_expired_token_stays_refused_until_a_new_one_is_fetched(
    sandbox: Sandbox, vendor: str, status: int, text: str
) -> None:
    token = tokens.issue(vendor, 60)
    assert sandbox.get(vendor, token=token).status_code == 200
    add_fault(sandbox.world, vendor, "expire_token")
    refused = sandbox.get(vendor, token=token)
    assert (refused.status_code, text in refused.text) == (status, True)
    assert sandbox.get(vendor, token=token).status_code == status
    assert sandbox.get(vendor, token=tokens.issue(vendor, 60)).status_code == 200


def test_token_routes_are_spared_unless_named(sandbox: Sandbox) -> None:
    form = {"grant_type": "refresh_token", "client_id": tokens.CLIENT_ID, "client_secret": tokens.CLIENT_SECRET}
    form |= {"refresh_token": tokens.REFRESH_TOKEN}
    add_fault(sandbox.world, "google_ads", "server_error")
    assert requests.post(f"{sandbox.url}/google_ads/token", form, timeout=10).status_code == 200
    clear_faults(sandbox.world)
    add_fault(sandbox.world, "google_ads", "server_error", path_contains="/token")
    assert requests.post(f"{sandbox.url}/google_ads/token", form, timeout=10).status_code == 500


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_is_withheld_stays_so_until_cleared(sandbox: Sandbox, vendor: str) -> None:
    add_fault(sandbox.world, vendor, "withhold")
    assert [sandbox.get(vendor).status_code for _ in range(3)] == [500, 500, 500]
    assert [fault.remaining for fault in list_faults(sandbox.world)] == [FOREVER]
    clear_faults(sandbox.world)
    assert sandbox.get(vendor).status_code == 200


def test_a_slow_answer_is_the_true_one_late(sandbox: Sandbox) -> None:
    expected = sandbox.get("ecb").content
    add_fault(sandbox.world, "ecb", "slow", seconds=0.3)
    started = time.monotonic()
    assert sandbox.get("ecb").content == expected
    assert time.monotonic() - started >= 0.3


def test_a_total_can_promise_more_rows_than_there_are(sandbox: Sandbox) -> None:
    for vendor in ("google_ads", "salesforce"):
        asked: dict[str, Any] = {"searchSettings": {"returnTotalResultsCount": True}} if vendor == "google_ads" else {}
        name = "totalResultsCount" if vendor == "google_ads" else "totalSize"
        true = int(sandbox.get(vendor, **asked).json()[name])
        add_fault(sandbox.world, vendor, "total_mismatch", by=5)
        assert int(sandbox.get(vendor, **asked).json()[name]) == true + 5


@pytest.mark.parametrize(
    ("vendor", "field"),
    [("google_ads", "campaign.name"), ("hubspot", "properties.email"), ("salesforce", "Status"), ("ecb", "OBS_VALUE")],
)
def test_a_field_can_disappear_and_another_appear(sandbox: Sandbox, vendor: str, field: str) -> None:
    *parents, name = field.split(".")

    def members() -> list[dict[str, Any]]:
        return [row[parents[0]] if parents else row for row in rows(sandbox.get(vendor))]

    true = members()
    add_fault(sandbox.world, vendor, "drop_field", field=field)
    assert members() == [{key: value for key, value in member.items() if key != name} for member in true]
    add_fault(sandbox.world, vendor, "add_field", field=".".join([*parents, "surprise"]), value="new")
    assert members() == [member | {"surprise": "new"} for member in true]
    assert members() == true


def test_a_fault_that_an_answer_cannot_show_waits_and_hides_no_other(sandbox: Sandbox) -> None:
    add_fault(sandbox.world, "hubspot", "drop_field", field="no.such")
    add_fault(sandbox.world, "hubspot", "add_field", field="new")
    add_fault(sandbox.world, "hubspot", "html_page")
    assert sandbox.get("hubspot").text.startswith("<!DOCTYPE html>")
    assert all("new" in row for row in rows(sandbox.get("hubspot")))
    assert all("new" not in row for row in rows(sandbox.get("hubspot")))
    assert [(fault.kind, fault.remaining) for fault in list_faults(sandbox.world)] == [("drop_field", 1)]


@pytest.mark.parametrize(
    ("vendor", "kind", "options", "message"),
    [
        ("ecb", "expire_token", {}, "'ecb' has no fault 'expire_token'; it has server_error"),
        ("hubspot", "melt", {}, "'hubspot' has no fault 'melt'"),
        ("myspace", "slow", {}, "'myspace' has no fault 'slow'"),
        ("hubspot", "slow", {"minutes": 1}, "takes"),
        ("hubspot", "drop_field", {}, "needs the option 'field'"),
        ("hubspot", "server_error", {"status": 404}, "status must be"),
        ("hubspot", "slow", {"count": 0}, "count must be"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused(
    sandbox: Sandbox, vendor: str, kind: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        add_fault(sandbox.world, vendor, kind, **options)
    assert list_faults(sandbox.world) == []


def test_every_kind_belongs_to_vendors_that_exist() -> None:
    assert all(set(vendors) <= set(VENDORS) for vendors, _ in KINDS.values())
