"""Signed, expiring tokens: OAuth access tokens of every vendor, and opaque page tokens. The server keeps no state.

Expiry counts real seconds, not the sandbox's clock, because clients run in real time. Each vendor module owns its
token route and words its own errors; what is right and wrong is decided here, once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from b2b_sandbox.world import World

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-secret"
REFRESH_TOKEN = "sandbox-refresh"
PRIVATE_APP_TOKEN = "sandbox-token"

CODE_LIFETIME = 60.0  # seconds

KEY = b"b2b sandbox: nothing here is secret"

GrantProblem = Literal["unsupported_grant_type", "invalid_client", "invalid_grant"]
TokenProblem = Literal["missing", "invalid", "expired"]


def sign(content: Mapping[str, Any]) -> str:
    """The content as one opaque URL-safe word that only this server can make."""
    body = base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")
    return f"{body}.{_mac(body)}"


def unsign(token: str) -> dict[str, Any] | None:
    """What `sign` was given, or None if the token is not ours."""
    body, _, mac = token.partition(".")
    if not hmac.compare_digest(mac.encode(), _mac(body).encode()):
        return None
    try:
        content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, binascii.Error):
        return None
    return content


def issue(vendor: str, lifetime: float) -> str:
    """A new access token of the vendor, good for `lifetime` seconds."""
    now = time.time()
    return sign({"for": vendor, "issued": now, "expires": now + lifetime})


def problem(world: World, vendor: str, token: str) -> TokenProblem | None:
    """What is wrong with an access token; None if it is good. A revoked one counts as expired.

    HubSpot's private app token is good for ever.
    """
    if not token:
        return "missing"
    if vendor == "hubspot" and token == PRIVATE_APP_TOKEN:
        return None
    content = unsign(token)
    if content is None or content["for"] != vendor:
        return "invalid"
    if content["expires"] <= time.time() or content["issued"] <= _revoked_before(world, vendor):
        return "expired"
    return None


def revoke(world: World, vendor: str) -> None:
    """Every access token of the vendor issued so far is refused from now on."""
    with world.connect() as connection:
        connection.execute(
            "insert or replace into setting (name, value) values (?, ?)",
            (f"revoked_before.{vendor}", repr(time.time())),
        )


def bearer(request: Request) -> str:
    """The token of the `Authorization: Bearer` header, "" without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def form(request: Request) -> dict[str, str]:
    """The fields of an `application/x-www-form-urlencoded` body; the last of equal names wins."""
    return dict(parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True))


def consent(
    vendor: str, lasting: tuple[str, str] | None = None, *, has_scopes: bool = True
) -> Callable[[Request], Response]:
    """The page of RFC 6749, section 4.1.1, on which everybody agrees at once, if they are asked for anything.

    `lasting`: the parameter, and the word in it, without which the vendor gives no refresh token.
    """

    def page(request: Request) -> Response:
        asked = request.query_params
        back, state = asked.get("redirect_uri", ""), asked.get("state", "")
        if asked.get("client_id") != CLIENT_ID or urlsplit(back).hostname not in ("localhost", "127.0.0.1"):
            return PlainTextResponse("Error 400: redirect_uri_mismatch", 400)
        if asked.get("response_type") != "code" or bool(asked.get("scope")) is not has_scopes:
            return RedirectResponse(f"{back}?{urlencode({'error': 'invalid_scope', 'state': state})}", 302)
        proof, expires = asked.get("code_challenge", ""), time.time() + CODE_LIFETIME
        lasts = not lasting or lasting[1] in asked.get(lasting[0], "").split()
        code = sign({"for": vendor, "redirect": back, "proof": proof, "expires": expires, "lasts": lasts})
        return RedirectResponse(f"{back}?{urlencode({'code': code, 'state': state})}", 302)

    return page


def _is_agreed(vendor: str, fields: Mapping[str, str]) -> bool:
    """Whether a code is one that `consent` gave, for this redirect and by who asked (RFC 7636, section 4.6)."""
    code = unsign(fields.get("code", "")) or {}
    verifier = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
    proof = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
    return (
        (code.get("for"), code.get("redirect")) == (vendor, fields.get("redirect_uri"))
        and code["proof"] in ("", proof)
        and code["expires"] > time.time()
    )


def lasting(fields: Mapping[str, str]) -> dict[str, str]:
    """The refresh token that comes with the first access token."""
    code = unsign(fields.get("code", "")) or {}
    return {"refresh_token": REFRESH_TOKEN} if code.get("lasts") else {}


def grant_problem(vendor: str, fields: Mapping[str, str], grants: Collection[str]) -> GrantProblem | None:
    """What is wrong with a request for an access token (RFC 6749 section 5.2); None if a token is due.

    `grants` are the grant types that the vendor takes: `refresh_token`, `client_credentials`, `authorization_code`.
    """
    if fields.get("grant_type") not in grants:
        return "unsupported_grant_type"
    if (fields.get("client_id"), fields.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
        return "invalid_client"
    if fields["grant_type"] == "refresh_token" and fields.get("refresh_token") != REFRESH_TOKEN:
        return "invalid_grant"
    if fields["grant_type"] == "authorization_code" and not _is_agreed(vendor, fields):
        return "invalid_grant"
    return None


def _mac(body: str) -> str:
    return hmac.new(KEY, body.encode(), hashlib.sha256).hexdigest()[:32]


def _revoked_before(world: World, vendor: str) -> float:
    try:
        return float(world.setting(f"revoked_before.{vendor}"))
    except KeyError:
        return 0.0
