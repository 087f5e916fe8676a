"""What the twins of Google's APIs share: the token endpoint, who is let in, and errors as a `google.rpc.Status`.

From https://developers.google.com/identity/protocols/oauth2/service-account, https://cloud.google.com/apis/design/errors
and https://developers.google.com/analytics/devguides/reporting/data/v1/quotas, read 2026-12-01; the words of a quota
that is used up are as public connectors have them (Airbyte).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.auth import jwt
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import dialects, tokens
from b2b_sandbox.toolkit import Refused

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

LIFETIME = 3599
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_URL = "https://oauth2.googleapis.com/token"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def token_routes(vendor: str, scope: str, service_key: str = "") -> list[BaseRoute]:
    """What Google serves from accounts.google.com and oauth2.googleapis.com. `service_key`: the public key, as PEM, of
    the one service account that is known."""

    async def token(request: Request) -> Response:
        fields = await tokens.form(request)
        if service_key and fields.get("grant_type") == JWT_BEARER:
            problem = _signed(fields.get("assertion", ""), service_key, (TOKEN_URL, str(request.url)))
        else:
            found = tokens.grant_problem(vendor, fields, ("refresh_token", "authorization_code"))
            problem = (found, _WORDS[found].format(**{"grant_type": "", **fields})) if found else None
        if problem:
            name, words = problem
            return JSONResponse({"error": name, "error_description": words}, 401 if name == "invalid_client" else 400)
        return JSONResponse({
            "access_token": tokens.issue(vendor, LIFETIME), "expires_in": LIFETIME, "scope": scope,
            "token_type": "Bearer", **tokens.lasting(fields),
        })  # fmt: skip

    consent = tokens.consent(vendor, ("access_type", "offline"))
    return [Route("/o/oauth2/v2/auth", consent), Route("/token", token, methods=["POST"])]


_WORDS = {
    "unsupported_grant_type": "Invalid grant_type: {grant_type}",
    "invalid_client": "The OAuth client was not found.",
    "invalid_grant": "Token has been expired or revoked.",
}


def _signed(assertion: str, key: str, audiences: tuple[str, ...]) -> tuple[str, str] | None:
    """What is wrong with the claims that a service account signs."""
    try:
        claims = jwt.decode(assertion, certs=key, audience=list(audiences))  # type: ignore[no-untyped-call]
    except ValueError:
        return "invalid_grant", "Invalid JWT Signature."
    if not str(claims.get("iss", "")).endswith(".iam.gserviceaccount.com"):
        return "invalid_grant", "Invalid grant: account not found"
    if claims["exp"] - claims["iat"] > 3600:
        return "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)"
    return None if claims.get("scope") else ("invalid_scope", "Empty or missing scope not allowed.")


def enter(world: World, vendor: str, request: Request) -> dict[str, str]:
    if tokens.problem(world, vendor, tokens.bearer(request)):
        raise Refused(expired())
    return {}


def body(content: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(content or b"{}")
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise invalid("Invalid JSON payload received. Unexpected token.")
    return asked


# -- what goes wrong


def error(status: int, message: str = "", details: list[dict[str, Any]] | None = None) -> Response:
    name, summary = dialects.GOOGLE_STATUS.get(status, ("NOT_FOUND", "Requested entity was not found."))
    told = {"code": status, "message": message or summary, "status": name}
    return JSONResponse({"error": told | ({"details": details} if details else {})}, status)


def invalid(message: str) -> Refused:
    return Refused(error(400, message))


def expired() -> Response:
    return error(401)


def missing_scope(scope: str) -> Response:
    info = {"@type": ERROR_INFO, "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "domain": "googleapis.com"}
    return error(403, "Request had insufficient authentication scopes.", [info])


def platform_throttled(wait: int) -> Response:
    info = {"@type": ERROR_INFO, "reason": "RATE_LIMIT_EXCEEDED", "domain": "googleapis.com"}
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"}
    return error(429, "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'.", [info, retry])
