"""The authorisation-code flow on loopback, by which a user gets a refresh token without making one by hand.

RFC 6749, section 4.1, with a proof key (RFC 7636); the redirect is to this machine (RFC 8252, section 7.3).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from b2b_pipeline.connectors.auth import refused
from b2b_pipeline.connectors.http import TIMEOUT, failed, json_or_none, place
from b2b_pipeline.connectors.transport import DeadlineError, Transport
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.privacy import keep_secret, mask

WAIT = 300.0  # seconds for a person to log in and agree
_DONE = b"<!doctype html><title>b2b connect</title><p>%s You may close this page and go back to the terminal."


@dataclass(frozen=True)
class Authorization:
    """Where a vendor lets users agree, and what it is asked for.

    variables: the environment variables of the client's id, its secret, and of the refresh token that comes out.
    parameters: what else the page wants to be told.
    proves: whether it takes a proof key; LinkedIn answers one with `invalid_client`.
    headers: of the client's id and secret, what its token endpoint wants in headers; then neither is in the form.
    gives: what of its answer is kept; an access token where that does not end, and no other is given.
    host: how this machine is called in the address that the user is sent back to.
    """

    page: str
    token_url: str
    scopes: tuple[str, ...]
    variables: tuple[str, str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)
    proves: bool = True
    headers: Callable[[str, str], Mapping[str, str]] | None = None
    gives: str = "refresh_token"
    host: str = "localhost"


def refresh_token(
    app: Authorization, client_id: str, client_secret: str, port: int, show: Callable[[str], object], wait: float = WAIT
) -> str:
    """Let a user agree on the page that `show` is given, and trade what comes back for a refresh token.

    Raises AuthError when they do not, when nothing comes back in time, and when the vendor gives no refresh token.
    """
    keep_secret(client_secret)
    verifier, state = secrets.token_urlsafe(64), secrets.token_urlsafe(32)
    proof = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    with _Waiting(port) as server:
        redirect = f"http://{app.host}:{server.server_port}/callback"
        asked = {
            "response_type": "code", "client_id": client_id, "redirect_uri": redirect,
            **({"scope": " ".join(app.scopes)} if app.scopes else {}), "state": state, **app.parameters,
        }  # fmt: skip
        asked |= {"code_challenge": proof, "code_challenge_method": "S256"} if app.proves else {}
        show(f"{app.page}?{urlencode(asked)}")
        answer = server.answer(state, wait)
    if code := answer.get("code"):
        keep_secret(code)
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect,
            **({} if app.headers else {"client_id": client_id, "client_secret": client_secret}),
            **({"code_verifier": verifier} if app.proves else {}),
        }  # fmt: skip
        headers = app.headers(client_id, client_secret) if app.headers else {}
        return _traded(app.token_url, form, headers, app.gives)
    raise AuthError(f"not agreed: {mask(answer.get('error', 'no code came back'))[:80]}")


def _traded(url: str, form: Mapping[str, str], headers: Mapping[str, str], kept: str) -> str:
    try:
        with Transport() as http:
            response = http.post(url, data=form, headers=headers, timeout=TIMEOUT, allow_redirects=False)
    except DeadlineError:
        raise TransientError(f"token endpoint of {urlsplit(url).hostname}: the answer took too long") from None
    except requests.RequestException as error:
        raise failed(f"token endpoint of {urlsplit(url).hostname}", error, url) from None
    body = json_or_none(response)
    body = body if isinstance(body, dict) else {}
    if response.status_code != 200:
        raise refused(f"{place(response)}: status {response.status_code}", body)
    token = str(body.get(kept) or "")
    if not token:
        what = kept.replace("_", " ")
        raise AuthError(f"{place(response)} gave no {what}: allow offline access, take our access back, try again")
    keep_secret(token)
    return token


class _Waiting(HTTPServer):
    """Answers on loopback until the vendor has sent the user back."""

    def __init__(self, port: int) -> None:
        self.found: dict[str, str] = {}
        try:
            super().__init__(("127.0.0.1", port), _Callback)
        except OSError as error:
            raise AuthError(
                f"port {port} of this machine cannot be used ({error.strerror}): give another --port"
            ) from None

    def answer(self, state: str, wait: float) -> dict[str, str]:
        """What comes back with our `state`; anything else that knocks is not listened to."""
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            self.timeout, self.found = left, {}
            self.handle_request()
            if hmac.compare_digest(self.found.get("state", ""), state):
                return self.found
        raise AuthError(f"nobody agreed within {wait:.0f} s: run it again")


class _Callback(BaseHTTPRequestHandler):
    server: _Waiting
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
        self.wfile.write(_DONE % (b"Done." if "code" in self.server.found else b"Not agreed."))

    def log_message(self, *arguments: object) -> None:
        """Nothing: the path holds the code."""
