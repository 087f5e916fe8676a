"""What X's APIs share: how one logs in, who signs, and when one may ask again."""

from __future__ import annotations

import time

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.connectors.auth import OAuth1
from b2b_pipeline.connectors.authorize import ThreeLegs
from b2b_pipeline.connectors.http import retry_after

API = "https://api.x.com"


def signing(source: str) -> OAuth1:
    """By the app's key and the user's token, which do not end."""
    return OAuth1(*(settings.secret(name) for name in _variables(source)))


def login(source: str, own: str) -> ThreeLegs:
    """https://docs.x.com/fundamentals/authentication/oauth-1-0a/obtaining-user-access-tokens, read 2026-12-01: the
    callback is one of the app's, to the letter, and knows no localhost. `own`: host of what is read."""
    base = settings.base_url(source, own)
    return ThreeLegs(API if base == own else base, _variables(source))


def _variables(source: str) -> tuple[str, str, str, str]:
    prefix = source.upper()
    return (f"{prefix}_API_KEY", f"{prefix}_API_SECRET", f"{prefix}_ACCESS_TOKEN", f"{prefix}_ACCESS_TOKEN_SECRET")


def until_reset(response: requests.Response, *headers: str) -> float:
    """Seconds, by the first of these headers that there is: moments in seconds since 1970."""
    given = (response.headers.get(name, "") for name in headers)
    moment = next((int(text) for text in given if text.isdecimal()), None)
    return retry_after(response, 60.0) if moment is None else max(moment - time.time(), 0.0) + 1.0
