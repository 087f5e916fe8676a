"""What LinkedIn's marketing APIs share: how one logs in, which version is asked, what an answer means."""

from __future__ import annotations

import os
from datetime import date

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.connectors.auth import OAuthToken, StaticToken
from b2b_pipeline.connectors.authorize import Authorization
from b2b_pipeline.connectors.http import (
    Auth,
    Fatal,
    Outcome,
    Session,
    Stop,
    Wait,
    by_status,
    json_or_none,
    next_utc_midnight,
    retry_after,
    wait_or_stop,
)

API, LOGIN = "https://api.linkedin.com", "https://www.linkedin.com"
VERSION, SUNSET, VERSIONS = "202607", date(2027, 7, 15), r"20\d\d(0[1-9]|1[0-2])"


def classify(source: str, response: requests.Response) -> Outcome:
    """https://learn.microsoft.com/linkedin/shared/api-guide/concepts/error-handling, …/rate-limits

    There is no Retry-After. Calls of a day come back at midnight UTC, metric values within five minutes.
    """
    body = json_or_none(response)
    error = body if isinstance(body, dict) else {}
    code, message = str(error.get("code") or "refused"), str(error.get("message") or "")
    if response.status_code == 429:
        if "DAY limit" in message:
            return Stop(next_utc_midnight(), "the calls of the day, of the app or of the member")
        return Wait(330.0, "metric values") if "45 million" in message else wait_or_stop(retry_after(response, 60.0))
    if response.status_code == 426 or code == "NONEXISTENT_VERSION":
        why = "this version of the API is not served, any more or yet"
        return Fatal(why, fix=f"set sources.{source}.options.api_version to one that is, or upgrade b2b-pipeline")
    return by_status(response, code)


def session(source: str, version: str) -> Session:
    """With an access token, which ends after 60 days, where one is given; else with a refresh token, for a year."""
    prefix = source.upper()
    auth: Auth
    if os.environ.get(f"{prefix}_ACCESS_TOKEN"):
        auth = StaticToken(settings.secret(f"{prefix}_ACCESS_TOKEN"))
    else:
        form = {"grant_type": "refresh_token"} | {
            name: settings.secret(f"{prefix}_{name.upper()}")
            for name in ("client_id", "client_secret", "refresh_token")
        }
        auth = OAuthToken(_login(source, "accessToken"), form, store=settings.credential_store(source))
    headers = {"LinkedIn-Version": version, "X-Restli-Protocol-Version": "2.0.0"}
    base = settings.base_url(source, API)
    return Session(base, classify=lambda response: classify(source, response), auth=auth, headers=headers)


def _login(source: str, page: str) -> str:
    base = settings.base_url(source, API)
    return f"{LOGIN if base == API else base}/oauth/v2/{page}"


def authorization(source: str, scopes: tuple[str, ...]) -> Authorization:
    """Of apps that LinkedIn lets have refresh tokens; the redirect must be listed among the app's.

    https://learn.microsoft.com/linkedin/shared/authentication/programmatic-refresh-tokens
    """
    prefix = source.upper()
    variables = f"{prefix}_CLIENT_ID", f"{prefix}_CLIENT_SECRET", f"{prefix}_REFRESH_TOKEN"
    pages = _login(source, "authorization"), _login(source, "accessToken")
    return Authorization(*pages, scopes, variables, proves=False)
