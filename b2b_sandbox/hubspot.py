"""HubSpot over REST: OAuth, CRM objects, search, associations, e-mails and their events, forms, campaigns, the account.

Every CRM and marketing route is served by its date-based path and by the legacy one that the official SDK calls.
Reference: https://developers.hubspot.com/docs/api-reference/latest/overview.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from b2b_sandbox import (
    dialects,
    hubspot_email,
    hubspot_forms,
    hubspot_objects,
    hubspot_properties,
    hubspot_search,
    tokens,
)
from b2b_sandbox.hubspot_call import Call, HubSpotError, iso
from b2b_sandbox.toolkit import DAY, Dialect, Meter, Shapes, Shown, asked_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from b2b_sandbox.world import World

VERSION = "2026-03"
TOKEN_LIFETIME = 1800.0
# The paths of Marketing Hub, which the rough world's portal has not; forms are there without it.
MARKETING = (
    "/marketing/emails",
    "/marketing/v3/emails",
    "/marketing/campaigns",
    "/marketing/v3/campaigns",
    "/email/public/",
)
SCOPES = [
    "content", "crm.objects.companies.read", "crm.objects.contacts.read", "crm.objects.deals.read",
    "crm.objects.owners.read", "forms", "marketing.campaigns.read", "oauth",
]  # fmt: skip

# The wording of RFC 6749's errors in HubSpot's own `status`.
GRANT_STATUS = {
    "unsupported_grant_type": ("BAD_GRANT_TYPE", "missing or unknown grant type"),
    "invalid_client": ("BAD_CLIENT_ID", "missing or invalid client id"),
    "invalid_grant": ("BAD_REFRESH_TOKEN", "refresh token is invalid, expired or revoked"),
}


@dataclass(frozen=True)
class Limits:
    """Requests let in: in ten seconds, in a day, and searches in a second (these are outside the ten-second limit)."""

    ten_seconds: int
    daily: int
    search: int


# What a private app may do in an account with a Professional subscription; and what does not get in a test's way.
PROFESSIONAL = Limits(ten_seconds=190, daily=650_000, search=5)
GENEROUS = Limits(ten_seconds=100_000, daily=10_000_000, search=10_000)


def routes(world: World, limits: Limits = GENEROUS) -> list[BaseRoute]:
    """HubSpot's routes. The rate limits are those of the whole account."""
    daily = Meter(limits.daily, DAY)
    ten_seconds, search = Meter(limits.ten_seconds, 10.0), Meter(limits.search, 1.0)

    def usage(call: Call) -> dict[str, Any]:
        resets = (call.now // int(DAY * 1000) + 1) * int(DAY * 1000)
        return {
            "results": [
                {
                    "name": "private-apps-api-calls-daily",
                    "usageLimit": daily.most,
                    "currentUsage": daily.used(),
                    "collectedAt": iso(call.now),
                    "fetchStatus": "SUCCESS",
                    "resetsAt": iso(resets),
                }
            ]
        }

    def route(handle: Callable[[Call], dict[str, Any]], method: str, *paths: str) -> list[BaseRoute]:
        burst = search if handle is hubspot_search.search_objects else ten_seconds

        def answer(request: Request, body: bytes) -> Response:
            token = tokens.bearer(request)
            try:
                _authenticate(world, token)
                if world.is_rough and any(path in request.url.path for path in MARKETING):
                    raise _missing_scopes("content", "marketing.email.read")
                _let_in(daily, burst, is_search=burst is search)
                with world.connect() as connection:
                    call = Call(connection, world.now(), request.url, request.path_params, request.query_params, body)
                    content = handle(call)
            except HubSpotError as error:
                return error.answer()
            response = JSONResponse(content, 207 if "numErrors" in content else 200)
            if burst is not search:  # search answers carry none of these
                response.headers.update(_rate_headers(daily, burst, is_oauth=token != tokens.PRIVATE_APP_TOKEN))
            return response

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(answer, request, await request.body())

        # The SDK asks for some of the legacy paths with a slash at the end.
        return [Route(path + slash, endpoint, methods=[method]) for path in paths for slash in ("", "/")]

    async def token(request: Request) -> Response:
        return _token(await tokens.form(request))

    submitted = Shapes(world, hubspot_forms.submissions)
    objects = (f"/crm/objects/{VERSION}/{{object}}", "/crm/v3/objects/{object}")
    associations = "{from}/{to}/batch/read"
    return [
        Route("/oauth/authorize", tokens.consent("hubspot")),
        Route(f"/oauth/{VERSION}/token", token, methods=["POST"]),
        Route("/oauth/v1/token", token, methods=["POST"]),
        *route(hubspot_objects.list_objects, "GET", *objects),
        *route(hubspot_search.search_objects, "POST", *(f"{path}/search" for path in objects)),
        *route(hubspot_objects.batch_read_objects, "POST", *(f"{path}/batch/read" for path in objects)),
        *route(hubspot_objects.read_object, "GET", *(f"{path}/{{id}}" for path in objects)),
        *route(
            hubspot_objects.batch_read_associations,
            "POST",
            f"/crm/associations/{VERSION}/{associations}",
            f"/crm/v4/associations/{associations}",
        ),
        *route(
            hubspot_properties.list_properties,
            "GET",
            f"/crm/properties/{VERSION}/{{object}}",
            "/crm/v3/properties/{object}",
        ),
        *route(
            hubspot_objects.list_pipelines, "GET", f"/crm/pipelines/{VERSION}/{{object}}", "/crm/v3/pipelines/{object}"
        ),
        *route(hubspot_objects.list_owners, "GET", f"/crm/owners/{VERSION}", "/crm/v3/owners"),
        *route(hubspot_email.list_emails, "GET", f"/marketing/emails/{VERSION}", "/marketing/v3/emails"),
        *route(hubspot_email.list_events, "GET", "/email/public/v1/events"),
        *route(hubspot_email.read_campaign, "GET", "/email/public/v1/campaigns/{id}"),
        *route(hubspot_forms.list_forms, "GET", "/marketing/v3/forms"),
        *route(
            partial(hubspot_forms.list_submissions, submitted), "GET", "/form-integrations/v1/submissions/forms/{form}"
        ),
        *route(hubspot_forms.list_campaigns, "GET", f"/marketing/campaigns/{VERSION}", "/marketing/v3/campaigns"),
        *route(_account, "GET", f"/account-info/{VERSION}/details", "/account-info/v3/details"),
        *route(
            usage,
            "GET",
            f"/account-info/{VERSION}/api-usage/daily/private-apps",
            "/account-info/v3/api-usage/daily/private-apps",
        ),
    ]


def _account(call: Call) -> dict[str, Any]:
    return {
        "portalId": hubspot_email.PORTAL_ID,
        "accountType": "STANDARD",
        "timeZone": "Europe/Berlin",
        "companyCurrency": "EUR",
        "additionalCurrencies": ["USD"],
        "utcOffset": "+01:00",
        "utcOffsetMilliseconds": 3_600_000,
        "uiDomain": "app-eu1.hubspot.com",
        "dataHostingLocation": "eu1",
    }


def _token(fields: dict[str, str]) -> Response:
    if problem := tokens.grant_problem("hubspot", fields, {"refresh_token", "authorization_code"}):
        status, message = GRANT_STATUS[problem]
        body = {"status": status, "message": message, "error": problem, "error_description": message}
        return JSONResponse(body, 400)
    return JSONResponse(
        {
            "token_type": "bearer",
            "access_token": tokens.issue("hubspot", TOKEN_LIFETIME),
            "refresh_token": tokens.REFRESH_TOKEN,
            "expires_in": int(TOKEN_LIFETIME),
            "hub_id": hubspot_email.PORTAL_ID,
            "user_id": 1,
            "scopes": SCOPES,
        }
    )


def _authenticate(world: World, token: str) -> None:
    """Lets in the private app's token, which does not expire, and good OAuth access tokens."""
    if token == tokens.PRIVATE_APP_TOKEN:
        return
    problem = tokens.problem(world, "hubspot", token)
    if problem == "expired":
        expired = min((tokens.unsign(token) or {})["expires"], time.time())
        raise HubSpotError(
            401,
            f"The OAuth token used to make this call expired {int(time.time() - expired)} second(s) ago.",
            "EXPIRED_AUTHENTICATION",
            context={"expire time": [iso(int(expired * 1000))]},
        )
    if problem:
        raise HubSpotError(
            401,
            "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more "
            "details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
            "INVALID_AUTHENTICATION",
        )


def _let_in(daily: Meter, burst: Meter, *, is_search: bool) -> None:
    """Counts the request; one that is refused counts for nothing."""
    if daily.used() >= daily.most:
        raise _throttled("DAILY")
    if not burst.take():
        # The search says it in other members, and names no policy.
        raise (
            HubSpotError(429, "You have reached your secondly limit.", "RATE_LIMITS")
            if is_search
            else _throttled("TEN_SECONDLY_ROLLING")
        )
    daily.take()


def _missing_scopes(*scopes: str) -> HubSpotError:
    message = "One or more of the following scopes are required."
    detail = {"message": message, "context": {"requiredGranularScopes": list(scopes)}}
    whole = "This app hasn't been granted all required scopes to make this call."
    return HubSpotError(403, whole, "MISSING_SCOPES", errors=[detail])


def _throttled(policy: str) -> HubSpotError:
    message = f"You have reached your {policy.lower()} limit."
    return HubSpotError(429, message, errorType="RATE_LIMIT", policyName=policy)


def _rate_headers(daily: Meter, burst: Meter, *, is_oauth: bool) -> dict[str, str]:
    headers = {
        "X-HubSpot-RateLimit-Max": str(burst.most),
        "X-HubSpot-RateLimit-Remaining": str(burst.most - burst.used()),
        "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(burst.seconds * 1000)),
    }
    if is_oauth:
        return headers
    return headers | {
        "X-HubSpot-RateLimit-Daily": str(daily.most),
        "X-HubSpot-RateLimit-Daily-Remaining": str(daily.most - daily.used()),
    }


# -- what goes wrong, in HubSpot's words


def _throttled_fault(wait: int | None, daily: bool) -> Response:
    policy = "DAILY" if daily else "TEN_SECONDLY_ROLLING"
    message = f"You have reached your {policy.lower()} limit."
    answer = dialects.hubspot(429, "RATE_LIMITS", message, errorType="RATE_LIMIT", policyName=policy)
    if wait is not None:
        answer.headers["Retry-After"] = str(wait)
    return answer


def _expired() -> Response:
    message = "The OAuth token used to make this call expired 5 second(s) ago."
    return dialects.hubspot(401, "EXPIRED_AUTHENTICATION", message)


def _missing_scope_fault(scope: str) -> Response:
    return _missing_scopes(scope).answer()


def _repeat(cursor: str, answer: Shown) -> None:
    if "hasMore" in answer:  # e-mail events
        answer |= {"offset": cursor, "hasMore": True}
    else:
        answer["paging"] = {"next": {"after": cursor}}


DIALECT = Dialect(
    throttled=_throttled_fault,
    broken=lambda: dialects.hubspot(500, "INTERNAL_ERROR", "internal error"),
    expired=_expired,
    missing_scope=_missing_scope_fault,
    cursor=asked_by("after", "offset"),
    repeat=_repeat,
    rows=("results", "events"),
    token_route=True,
    announces_totals=True,
)
