"""Credentials for connectors: a fixed token, or an OAuth token, refreshed in time, once, and kept when it rotates."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fasteners
import requests
import requests_oauthlib

from b2b_pipeline.connectors.http import TIMEOUT, failed, json_or_none, place
from b2b_pipeline.connectors.transport import DeadlineError, Transport
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.privacy import keep_secret, mask, write_private

EARLY = 60.0  # seconds before expiry at which a token is renewed
# What Salesforce (unknown_error) and RFC 6749, section 4.1.2.1, say of their own troubles: no credential is wrong.
PASSING = {"unknown_error", "server_error", "temporarily_unavailable"}
TOO_OFTEN = "too many requests"  # Zoho's words, with the error `Access Denied`, of tokens asked for too often


def basic(client_id: str, client_secret: str) -> str:
    """The client in a header, where a token endpoint wants it there (RFC 6749, section 2.3.1)."""
    pair = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
    for secret in (client_secret, pair):
        keep_secret(secret)
    return f"Basic {pair}"


class StaticToken:
    """A token that does not expire, sent as `Authorization: Bearer`, or as a header of the vendor's own."""

    def __init__(self, token: str, header: str = "") -> None:
        keep_secret(token)
        self._headers = {header: token} if header else {"Authorization": f"Bearer {token}"}
        self.identity = hashlib.sha256(token.encode()).hexdigest()

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def refresh(self) -> None:
        raise AuthError("the access token was refused and cannot be refreshed: put a new one into the environment")


class OAuth1(requests_oauthlib.OAuth1):
    """Four words that do not end, which sign each request (RFC 5849, HMAC-SHA1)."""

    def __init__(self, key: str, secret: str, token: str, token_secret: str) -> None:
        for word in (secret, token, token_secret):
            keep_secret(word)
        super().__init__(key, secret, token, token_secret)
        self.identity = hashlib.sha256(json.dumps([key, token]).encode()).hexdigest()

    def headers(self) -> Mapping[str, str]:
        return {}

    def refresh(self) -> None:
        raise AuthError("the signature was refused: the key, the token, one of their secrets or this clock is wrong")


class OAuthToken:
    """An OAuth 2 access token from a form-encoded token endpoint (RFC 6749, sections 4.4 and 6).

    Every answer is written to `store` (mode 0600) before it is used, and other processes take their token from there, a
    rotated refresh token too; a lock keeps two of them from spending the same one. `on_token` sees the whole answer
    (Salesforce's `instance_url`); `headers` go to the endpoint; `scheme` is the word before the token. Raises AuthError
    when the vendor refuses, TransientError when it does not answer or has troubles of its own.
    """

    def __init__(
        self,
        token_url: str,
        form: Mapping[str, str],
        *,
        store: Path,
        lifetime: float = 1800.0,
        on_token: Callable[[Mapping[str, Any]], None] | None = None,
        headers: Mapping[str, str] | None = None,
        scheme: str = "Bearer",
    ) -> None:
        for name in ("client_secret", "refresh_token"):
            keep_secret(form.get(name, ""))
        self._url = token_url
        self._form = dict(form)
        self._headers = dict(headers or {})
        self._scheme = scheme
        self._given = self._form.get("refresh_token", "")
        credentials = [token_url, self._form, *([self._headers] if headers else [])]
        self.identity = hashlib.sha256(json.dumps(credentials, sort_keys=True).encode()).hexdigest()
        self._store = store
        self._lifetime = lifetime
        self._on_token = on_token
        self._threads = threading.Lock()
        self._token = ""
        self._expires = 0.0

    def headers(self) -> Mapping[str, str]:
        if time.time() > self._expires - EARLY:
            self.refresh()
        return {"Authorization": f"{self._scheme} {self._token}"}

    def refresh(self) -> None:
        """Get another token than the one in use; the one that another thread or process has just got will do."""
        used = self._token
        with self._threads:
            if self._token != used:
                return
            self._store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with fasteners.InterProcessLock(f"{self._store}.lock"):
                token, expires = self._kept()
                if token.get("access_token", used) == used or time.time() > expires - EARLY:
                    token, expires = self._renew(token.get("refresh_token", self._given))
            for name in ("access_token", "refresh_token"):
                keep_secret(token.get(name, ""))
            if self._on_token:
                self._on_token(token)
            self._token, self._expires = token["access_token"], expires

    def _kept(self) -> tuple[dict[str, Any], float]:
        """The last answer, unless somebody put in a new refresh token since, and when its access token expires.

        An access token that came by other credentials counts as expired.
        """
        kept = json.loads(self._store.read_text(encoding="utf-8")) if self._store.is_file() else {}
        if kept.get("replaces") != self._given:
            return {}, 0.0
        return kept["token"], kept["expires"] if kept.get("credentials") == self.identity else 0.0

    def _renew(self, refresh_token: str) -> tuple[dict[str, Any], float]:
        spent = {"refresh_token": refresh_token} if refresh_token else {}
        token = {**spent, **self._ask({**self._form, **spent})}
        expires = time.time() + float(token.get("expires_in") or self._lifetime)
        kept = {"replaces": self._given, "credentials": self.identity, "expires": expires, "token": token}
        write_private(self._store, json.dumps(kept))
        return token, expires

    def _ask(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        response = asked_for_token(self._url, data=form, headers=self._headers)
        body = _in_standard_words(json_or_none(response))
        where = f"{place(response)}: status {response.status_code}"
        status = response.status_code
        if status >= 500 or status == 429 or (status == 200 and body is None):
            raise TransientError(f"{where}, no answer of a token endpoint")
        if status != 200 or not isinstance(body, dict) or not body.get("access_token"):
            raise refused(where, body if isinstance(body, dict) else {})
        return body


def asked_for_token(url: str, **content: Any) -> requests.Response:
    """What an endpoint that gives out tokens answers. Raises TransientError when it does not."""
    endpoint = f"token endpoint of {urlsplit(url).hostname}"
    try:
        with Transport() as http:
            return http.post(url, **content, timeout=TIMEOUT, allow_redirects=False)
    except DeadlineError:
        raise TransientError(f"{endpoint}: the answer took too long") from None
    except requests.RequestException as error:
        raise failed(endpoint, error, url) from None


def _in_standard_words(body: Any) -> Any:
    """An answer with `accessToken` and `expiresIn`, as some spell them, has them in the standard's words, too."""
    if not isinstance(body, dict):
        return body
    spelt = {"access_token": "accessToken", "expires_in": "expiresIn"}
    return {**{name: body[other] for name, other in spelt.items() if other in body}, **body}


def refused(where: str, body: Mapping[str, Any]) -> AuthError | TransientError:
    """What a token endpoint's error means; its description is the vendor's, never what was sent."""
    told = [str(body[name])[:200] for name in ("error", "error_description") if body.get(name)]
    message = mask(f"{where}, {': '.join(told) or 'no access token in the answer'}")
    is_passing = body.get("error") in PASSING or TOO_OFTEN in str(body.get("error_description")).lower()
    return TransientError(message) if is_passing else AuthError(message)
