"""Error answers, worded as each vendor words them.

Google Ads: `GoogleAdsFailure` inside `google.rpc.Status`; HubSpot: a flat object with a category; Salesforce: a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.responses import HTMLResponse, JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOGLE_VERSION = "v26"
GOOGLE_STATUS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: (
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    ),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    500: ("INTERNAL", "Internal error encountered."),
    503: ("UNAVAILABLE", "The service is currently unavailable."),
}


def google_ads(
    status: int,
    family: str,
    code: str,
    message: str,
    *,
    details: Mapping[str, Any] | None = None,
    version: str = GOOGLE_VERSION,
) -> JSONResponse:
    """One `GoogleAdsError`: `family` is the member of `ErrorCode` ("queryError"), `code` its value."""
    name, summary = GOOGLE_STATUS[status]
    error = {"errorCode": {family: code}, "message": message} | ({"details": dict(details)} if details else {})
    request_id = uuid4().hex[:22]
    failure = {
        "@type": f"type.googleapis.com/google.ads.googleads.{version}.errors.GoogleAdsFailure",
        "errors": [error],
        "requestId": request_id,
    }
    body = {"error": {"code": status, "message": summary, "status": name, "details": [failure]}}
    return JSONResponse(body, status, headers={"request-id": request_id})


def hubspot(status: int, category: str, message: str, **more: object) -> JSONResponse:
    """The object of HubSpot's CRM APIs; `more` adds members such as `errors`, `context`, `policyName`."""
    body = {"status": "error", "message": message, "correlationId": str(uuid4()), "category": category}
    return JSONResponse(body | more, status)


def salesforce(status: int, code: str, message: str) -> JSONResponse:
    """The list of one error that Salesforce's REST API answers with."""
    return JSONResponse([{"message": message, "errorCode": code}], status)


def html(status: int, title: str) -> HTMLResponse:
    """A page as proxies and load balancers send it, in front of any vendor."""
    return HTMLResponse(
        f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n", status
    )
