"""What the APIs of Google have in common: who is let in, and how they word their troubles.

A user's refresh token, or the key of a service account, which signs for itself (RFC 7523). Errors are a
`google.rpc.Status` (https://cloud.google.com/apis/design/errors, read 2026-12-01), in older APIs with a list `errors`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from b2b_pipeline.configuration.settings import base_url, credential_store, secret
from b2b_pipeline.connectors.auth import OAuthToken
from b2b_pipeline.connectors.authorize import Authorization
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Stop, Wait, json_or_none, retry_after, wait_or_stop
from b2b_pipeline.errors import AuthError
from b2b_pipeline.privacy import keep_secret

if TYPE_CHECKING:
    import requests

AUTHORIZE_URL = "https://accounts.google.com/o/oauth2/v2/auth"
TOKEN_URL = "https://oauth2.googleapis.com/token"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME = 3600.0  # seconds, of tokens and the most of a signature
PACIFIC = ZoneInfo("America/Los_Angeles")  # whose midnight begins a day of quotas


class ServiceAccount(OAuthToken):
    """The JSON key of a service account: https://developers.google.com/identity/protocols/oauth2/service-account."""

    def __init__(self, key: Mapping[str, str], scopes: Sequence[str], token_url: str, store: Path) -> None:
        from google.auth import crypt  # here, as below: every command would load cryptography otherwise

        super().__init__(token_url, {"grant_type": JWT_BEARER}, store=store, lifetime=LIFETIME)
        self._account, self._scopes = key["client_email"], " ".join(scopes)
        self._signer = crypt.RSASigner.from_service_account_info(key)  # type: ignore[no-untyped-call]
        told = json.dumps([token_url, self._account, key.get("private_key_id"), self._scopes])
        self.identity = hashlib.sha256(told.encode()).hexdigest()

    def _ask(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        from google.auth import jwt

        now = int(time.time())
        claims = {"iss": self._account, "scope": self._scopes, "aud": self._url, "iat": now, "exp": now + int(LIFETIME)}
        assertion = jwt.encode(self._signer, claims).decode()  # type: ignore[no-untyped-call]
        keep_secret(assertion)
        return super()._ask({**form, "assertion": assertion})


def user(source: str, api: str) -> OAuthToken:
    """By the refresh token of a user, in `<SOURCE>_CLIENT_ID`, `_CLIENT_SECRET` and `_REFRESH_TOKEN`."""
    fields = ("client_id", "client_secret", "refresh_token")
    form = {"grant_type": "refresh_token", **{name: secret(f"{source}_{name}".upper()) for name in fields}}
    return OAuthToken(_tokens(source, api), form, store=credential_store(source), lifetime=LIFETIME)


def user_or_service_account(source: str, api: str, scopes: Sequence[str]) -> OAuthToken:
    """By `<SOURCE>_SERVICE_ACCOUNT`, a JSON key or the path of one, where it is set, else as `user`."""
    name = f"{source.upper()}_SERVICE_ACCOUNT"
    given = os.environ.get(name, "").strip()
    if not given:
        return user(source, api)
    try:
        text = given if given.startswith("{") else Path(given).expanduser().read_text(encoding="utf-8")
        key = json.loads(text)
        keep_secret(key["private_key"])
        return ServiceAccount(key, scopes, _tokens(source, api), credential_store(source))
    except (OSError, ValueError, KeyError, TypeError):
        raise AuthError(f"{name} is neither the JSON key of a service account nor the path of one") from None


def authorization(source: str, api: str, scope: str) -> Authorization:
    """https://developers.google.com/identity/protocols/oauth2/native-app: a desktop client, any port of loopback."""
    base = base_url(source, api)
    names = ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN")
    one, two, three = (f"{source.upper()}_{name}" for name in names)
    return Authorization(
        AUTHORIZE_URL if base == api else f"{base}/o/oauth2/v2/auth", _tokens(source, api), (scope,),
        (one, two, three), {"access_type": "offline", "prompt": "consent"},
    )  # fmt: skip


def environment(source: str, api: str, scope: str, access: str) -> dict[str, str]:
    """Its variables. `api`: the name of the API; `access`: where a user, or a service account, is given access."""
    return {
        f"{source}_CLIENT_ID": f"OAuth client (desktop app) of a Google Cloud project with the {api} enabled "
        "(console.cloud.google.com > APIs & Services)",
        f"{source}_CLIENT_SECRET": "its secret",
        f"{source}_REFRESH_TOKEN": f"by `b2b connect {source.lower()}`, scope {scope}; with a consent screen in "
        "testing it ends after 7 days: publish it",
        f"{source}_SERVICE_ACCOUNT": "instead of these three: the JSON key of a service account, or its path; give the "
        f"account's address access {access}",
    }


def _tokens(source: str, api: str) -> str:
    base = base_url(source, api)
    return TOKEN_URL if base == api else f"{base}/token"


# -- what an answer means

_QUOTA = {"quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "RATE_LIMIT_EXCEEDED"}
_FIXES = {
    "SERVICE_DISABLED": "enable this API for the Cloud project of the credentials (console.cloud.google.com > APIs)",
    "accessNotConfigured": "enable this API for the Cloud project of the credentials (console.cloud.google.com > APIs)",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": "agree anew with `b2b connect`: the token was given for something else",
}


def classify(response: requests.Response) -> Outcome:
    """By the status inside the body where there is one, its reason, and of quotas by the words of the message."""
    body = json_or_none(response)
    failure = body.get("error") if isinstance(body, dict) else None
    if response.status_code == 200 and failure is None:
        return Ok() if isinstance(body, dict) else Wait(5, "not an answer of the API")
    failure = failure if isinstance(failure, dict) else {}
    code = failure.get("code")
    status = code if isinstance(code, int) else response.status_code
    reasons, message = _reasons(failure), str(failure.get("message") or "")
    told = " ".join(dict.fromkeys([*reasons[:1], message[:200]])).strip() or "refused"
    if status == 429 or not _QUOTA.isdisjoint(reasons):
        return _used_up(response, failure, reasons, message, told)
    if status >= 500:
        # Ten errors an hour and property use up a quota of GA4 of their own: they are not asked for again at once.
        return wait_or_stop(retry_delay(_details(failure)) or retry_after(response, 20.0), told)
    if status == 401:
        return Reauth(told)
    if status == 404 and not failure:
        return Fatal("this version of the API is not served", fix="upgrade b2b-pipeline")
    fix = next((_FIXES[reason] for reason in reasons if reason in _FIXES), "")
    return Fatal(told, auth=status == 403, fix=fix)


def _used_up(
    response: requests.Response, failure: Mapping[str, Any], reasons: Sequence[str], message: str, told: str
) -> Wait | Stop:
    """Quotas that last: tokens of a day begin anew at midnight Pacific time, those of an hour within the hour, and the
    load that Search Console allows in ten minutes after fifteen."""
    now, words = datetime.now(UTC), message.lower()
    if asked := retry_delay(_details(failure)) or retry_after(response, 0.0):
        return wait_or_stop(asked, told)
    if "concurrent" in words:
        return Wait(30.0, told)
    if "dailyLimitExceeded" in reasons or re.search(r"per day|daily", words):
        midnight = (now.astimezone(PACIFIC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return Stop(midnight.astimezone(UTC), told)
    if re.search(r"per hour|hourly|potentially thresholded|server errors", words):
        return Stop(now + timedelta(hours=1), told)
    if "quotaExceeded" in reasons:
        return Stop(now + timedelta(minutes=15), told)
    return Wait(60.0, told)


def _details(failure: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = failure.get("details")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _reasons(failure: Mapping[str, Any]) -> list[str]:
    """Those of an `ErrorInfo`, and of the list that older APIs have."""
    listed = failure.get("errors")
    older = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return [str(each["reason"]) for each in (*_details(failure), *older) if each.get("reason")]


def retry_delay(details: Iterable[Any]) -> float:
    """Seconds of a `google.protobuf.Duration` such as "900s" or "1.500s" among details of errors; 0 without one."""
    given = [str(each.get("retryDelay", "")) for each in details if isinstance(each, dict)]
    return max((float(text[:-1]) for text in given if re.fullmatch(r"\d+(\.\d+)?s", text)), default=0.0)
