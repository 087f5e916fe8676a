"""Logging in at a vendor, by which a user gets a token that lasts without making one by hand.

The authorisation-code flow (RFC 6749, section 4.1) with a proof key (RFC 7636), and the three legs of OAuth 1.0
(RFC 5849, section 2); the redirect is to this machine (RFC 8252, section 7.3).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Protocol
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import requests_oauthlib

from b2b_pipeline.connectors.auth import asked_for_token, refused
from b2b_pipeline.connectors.http import json_or_none, place
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.privacy import keep_secret, mask

WAIT = 300.0  # seconds for a person to log in and agree
AGREED = {"code", "auth_code", "oauth_verifier"}  # what comes back from who has agreed
_DONE = b"<!doctype html><title>b2b connect</title><p>%s You may close this page and go back to the terminal."


class Login(Protocol):
    """How a user lets us in at a vendor.

    variables: the environment variables of the app's id and its secret, then of what comes out, called `gives`.
    scopes: what it asks for, where the vendor knows scopes.
    """

    @property
    def variables(self) -> tuple[str, ...]: ...

    @property
    def scopes(self) -> tuple[str, ...]: ...

    @property
    def gives(self) -> str: ...

    def agree(
        self, client_id: str, client_secret: str, port: int, show: Callable[[str], object], wait: float = WAIT
    ) -> tuple[str, ...]:
        """What comes out, once a user has agreed on the page that `show` is given.

        Raises AuthError when they do not, when nothing comes back in time, and when the vendor gives nothing for it.
        """


@dataclass(frozen=True)
class Authorization:
    """Where a vendor that speaks OAuth 2.0 lets users agree, and what it is asked for: see `Login`.

    parameters: what else the page wants to be told.
    proves: whether it takes a proof key; LinkedIn answers one with `invalid_client`.
    headers: of the client's id and secret, what its token endpoint wants in headers; then neither is in the form.
    gives: what of its answer is kept; an access token where that does not end, and no other is given.
    host: how this machine is called in the address that the user is sent back to.
    """

    page: str
    token_url: str
    scopes: tuple[str, ...]
    variables: tuple[str, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    proves: bool = True
    headers: Callable[[str, str], Mapping[str, str]] | None = None
    gives: str = "refresh_token"
    host: str = "localhost"

    def agree(
        self, client_id: str, client_secret: str, port: int, show: Callable[[str], object], wait: float = WAIT
    ) -> tuple[str, ...]:
        keep_secret(client_secret)
        verifier, state = secrets.token_urlsafe(64), secrets.token_urlsafe(32)
        proof = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        with Waiting(port, self.host) as server:
            asked = {
                "response_type": "code", "client_id": client_id, "redirect_uri": server.address,
                **({"scope": " ".join(self.scopes)} if self.scopes else {}), "state": state, **self.parameters,
            }  # fmt: skip
            asked |= {"code_challenge": proof, "code_challenge_method": "S256"} if self.proves else {}
            show(f"{self.page}?{urlencode(asked)}")
            answer = server.answer(state, wait)
        form = {
            "grant_type": "authorization_code", "code": agreed(answer, "code"), "redirect_uri": server.address,
            **({} if self.headers else {"client_id": client_id, "client_secret": client_secret}),
            **({"code_verifier": verifier} if self.proves else {}),
        }  # fmt: skip
        headers = self.headers(client_id, client_secret) if self.headers else {}
        return (self._traded(form, headers),)

    def _traded(self, form: Mapping[str, str], headers: Mapping[str, str]) -> str:
        response = asked_for_token(self.token_url, data=form, headers=headers)
        body = json_or_none(response)
        body = body if isinstance(body, dict) else {}
        if response.status_code != 200:
            raise refused(f"{place(response)}: status {response.status_code}", body)
        token = str(body.get(self.gives) or "")
        if not token:
            what = self.gives.replace("_", " ")
            raise AuthError(f"{place(response)} gave no {what}: allow offline access, take our access back, try again")
        keep_secret(token)
        return token


@dataclass(frozen=True)
class ThreeLegs:
    """Where a vendor that speaks OAuth 1.0 gives out its three: a token to ask by, a user's word, a token that lasts.

    base: of `oauth/request_token`, `oauth/authorize` and `oauth/access_token`. See `Login` and `Authorization`.
    """

    base: str
    variables: tuple[str, str, str, str]
    host: str = "127.0.0.1"
    scopes: tuple[str, ...] = ()
    gives: str = "access token and its secret"

    def agree(
        self, client_id: str, client_secret: str, port: int, show: Callable[[str], object], wait: float = WAIT
    ) -> tuple[str, ...]:
        keep_secret(client_secret)
        with Waiting(port, self.host) as server:
            ours = requests_oauthlib.OAuth1(client_id, client_secret, callback_uri=server.address)
            fix = f"is {server.address} a callback URL of the app, and are its key, the secret and this clock right?"
            token, secret = self._given("request_token", ours, fix)
            show(f"{self.base}/oauth/authorize?{urlencode({'oauth_token': token})}")
            answer = server.answer(token, wait, ("oauth_token", "denied"))
        verifier = agreed(answer, "oauth_verifier")
        return self._given("access_token", requests_oauthlib.OAuth1(
            client_id, client_secret, token, secret, verifier=verifier
        ), "log in again")  # fmt: skip

    def _given(self, what: str, auth: requests_oauthlib.OAuth1, fix: str) -> tuple[str, str]:
        response = asked_for_token(f"{self.base}/oauth/{what}", auth=auth)
        where = f"{place(response)}: status {response.status_code}"
        if response.status_code >= 500 or response.status_code == 429:
            raise TransientError(f"{where}, no answer of a token endpoint")
        given = dict(parse_qsl(response.text)) if response.status_code == 200 else {}
        token, secret = given.get("oauth_token", ""), given.get("oauth_token_secret", "")
        if not token or not secret or given.get("oauth_callback_confirmed", "true") != "true":
            raise AuthError(f"{where}, no token: {fix}")
        keep_secret(secret)
        if what == "access_token":
            keep_secret(token)
        return token, secret


def agreed(answer: Mapping[str, str], name: str) -> str:
    """What comes back from who has agreed. Raises AuthError when they have not."""
    if not answer.get(name):
        told = "access_denied" if "denied" in answer else answer.get("error", f"no {name} came back")
        raise AuthError(f"not agreed: {mask(told)[:80]}")
    keep_secret(answer[name])
    return answer[name]


class Waiting(HTTPServer):
    """Answers on loopback, which the vendor calls `host`, until it has sent the user back to `address`."""

    def __init__(self, port: int, host: str = "localhost") -> None:
        self.found: dict[str, str] = {}
        try:
            super().__init__(("127.0.0.1", port), _Callback)
        except OSError as error:
            raise AuthError(
                f"port {port} of this machine cannot be used ({error.strerror}): give another --port"
            ) from None
        self.address = f"http://{host}:{self.server_port}/callback"

    def answer(self, ours: str, wait: float, names: Sequence[str] = ("state",)) -> dict[str, str]:
        """What comes back with a word of ours by one of the names; anything else that knocks is not listened to."""
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            self.timeout, self.found = left, {}
            self.handle_request()
            if any(hmac.compare_digest(self.found.get(name, "").encode(), ours.encode()) for name in names):
                return self.found
        raise AuthError(f"nobody agreed within {wait:.0f} s: run it again")


class _Callback(BaseHTTPRequestHandler):
    server: Waiting
    timeout = 5.0  # seconds for somebody who knocks and says nothing

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path != "/callback":
            self.send_error(404)
            return
        self.server.found = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(_DONE % (b"Done." if AGREED & self.server.found.keys() else b"Not agreed."))

    def log_message(self, *arguments: object) -> None:
        """Nothing: the path holds the code."""
