"""Typeform's APIs for forms and responses, over what people in the world said (voices.py).

From https://www.typeform.com/developers and the official SDKs (npm @typeform/api-client 2.10.4, PyPI typeform 1.1.0),
with forms and responses as Airbyte recorded them, read 2026-12-01. By which of its times a partial response is listed
is said nowhere: here by when it was last heard of. Responses of another data centre are none, and no error.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens, voices
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.voices import Answers
    from b2b_sandbox.world import World

VENDOR = "typeform"
ACCOUNT = "01FQ7Z8SANDBOX"
TOKEN_LIFETIME = 604_800.0
TITLES = {
    "relation": "Wie zufrieden sind Sie? \u2b50", "onboarding": "Onboarding", "effort": "Effort <score>",
    "demo": "Request a demo", "unused": "Draft",
}  # fmt: skip
MADE = "2026-01-05T09:00:00Z"
OTHER = "It was recommended by jo@friend.example"


def _question(identifier: str, kind: str, **properties: Any) -> Shown:
    return {"id": identifier, "ref": f"ref-{identifier}", "title": "?", "type": kind, "properties": properties}


QUESTIONS: dict[str, list[Shown]] = {
    "relation": [
        _question("q1", "nps", steps=11, start_at_one=False),
        _question("q2", "group", fields=[
            _question("q3", "multiple_choice", allow_other_choice=True, allow_multiple_selection=True),
            _question("q4", "long_text"),
        ]),
    ],
    "onboarding": [_question("q5", "long_text"), _question("q6", "rating", steps=5, shape="star")],
    "effort": [_question("q7", "opinion_scale", steps=6, start_at_one=False)],
    "demo": [_question("q8", "email"), _question("q9", "short_text"), _question("q10", "yes_no")],
    "unused": [],
}  # fmt: skip


def routes(world: World, page_size: int = 1000, per_second: int = 100_000, data_centre: str = "") -> list[BaseRoute]:
    """The paths of one account. `page_size`: responses of a page, the most; `data_centre`: where its responses are, if
    elsewhere."""
    said = Shapes(world, voices.answers)
    meter = Meter(per_second, 1.0)

    def enter(request: Request) -> dict[str, str]:
        token = tokens.bearer(request)
        if token != tokens.PRIVATE_APP_TOKEN and tokens.problem(world, VENDOR, token):
            raise Refused(_expired())
        if not meter.take():
            raise Refused(_throttled(None, False))
        return {}

    async def token(request: Request) -> Response:
        return _token(await tokens.form(request))

    def forms(call: Call) -> Shown:
        size, number = int(call.query("page_size", "10")), int(call.query("page", "1"))
        if not 1 <= size <= 200:
            raise _refused(400, "VALIDATION_ERROR", "page_size must be between 1 and 200")
        listed = [_listed(call, form) for form in voices.FORMS]
        pages = -(-len(listed) // size)
        return {"total_items": len(listed), "page_count": pages, "items": listed[(number - 1) * size : number * size]}

    def form(call: Call) -> Shown:
        name = _named(call)
        base = data_centre or str(call.request.base_url).rstrip("/")
        links = {"display": f"https://sandbox.typeform.com/to/{name}", "responses": f"{base}/forms/{name}/responses"}
        more = {"type": "quiz", "settings": {"language": "en"}, "fields": QUESTIONS[name]}
        return _listed(call, name) | more | {"_links": links}

    def responses(call: Call) -> Shown:
        name = _named(call)
        found = [] if data_centre else [each for each in said() if each.form == name]
        return _page(call, found, page_size)

    at = partial(route, world, enter=enter)
    return [
        Route("/oauth/authorize", tokens.consent(VENDOR, ("scope", "offline"))),
        Route("/oauth/token", token, methods=["POST"]),
        at("/me", lambda call: {"user_id": ACCOUNT, "alias": "Jo", "email": "jo@ourcompany.example", "language": "en"}),
        at("/forms", forms),
        at("/forms/{form}", form),
        at("/forms/{form}/responses", responses),
    ]


def _named(call: Call) -> str:
    if (name := call.path("form")) not in voices.FORMS:
        raise _refused(404, "FORM_NOT_FOUND", "Non existing form with uid")
    return name


def _listed(call: Call, form: str) -> Shown:
    return {
        "id": form, "title": TITLES[form], "last_updated_at": MADE, "created_at": MADE,
        "self": {"href": f"{str(call.request.base_url).rstrip('/')}/forms/{form}"},
        "theme": {"href": "https://api.typeform.com/themes/qHWOQ7"}, "settings": {"is_public": True, "is_trial": False},
        "_links": {"display": f"https://sandbox.typeform.com/to/{form}"},
    }  # fmt: skip


def _page(call: Call, found: list[Answers], page_size: int) -> Shown:
    """Newest first. `before` and `after` begin at a response, not included, and bear neither `sort` nor a window."""
    kinds = set(call.query("response_type", "completed").split(","))
    shown = [each for each in found if ("completed" if each.submitted else "partial") in kinds]
    tokens_of = {name: call.query(name) for name in ("before", "after")}
    if any(tokens_of.values()) and call.query("sort"):
        raise _refused(400, "VALIDATION_ERROR", "sort cannot be used together with before or after")
    shown.sort(key=lambda each: (_at(each), each.id), reverse=not call.query("sort").endswith("asc"))
    ids = [each.id for each in shown]
    if tokens_of["before"] in ids:
        shown = shown[ids.index(tokens_of["before"]) + 1 :]
    elif tokens_of["after"] in ids:
        shown = shown[: ids.index(tokens_of["after"])][::-1]
    else:
        since, until = (_moment(call, name) for name in ("since", "until"))
        shown = [each for each in shown if (since or 0) <= _at(each) // 1000 <= (until or 10**12)]
    size = min(int(call.query("page_size", "25")), page_size)
    items = [_response(each) for each in shown[:size]]
    return {"items": items, "total_items": len(shown), "page_count": -(-len(shown) // size)}


def _moment(call: Call, name: str) -> int | None:
    given = call.query(name)
    if not given:
        return None
    try:
        at = int(given) if given.isdecimal() else datetime.fromisoformat(given).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise _refused(400, "VALIDATION_ERROR", f"{name} is no date") from None
    return int(at)


def _at(said: Answers) -> int:
    return said.submitted or said.landed + 20_000


def _response(said: Answers) -> Shown:
    answers: list[Shown] = []

    def add(question: str, field: str, kind: str, value: Any) -> None:
        answers.append({"field": {"id": question, "type": field, "ref": f"ref-{question}"}, "type": kind, kind: value})

    if said.score is not None:
        add("q1", "nps", "number", said.score)
    if said.choices:
        labels = {"ids": [f"c{n}" for n, _ in enumerate(said.choices)], "labels": [*said.choices]}
        add("q3", "multiple_choice", "choices", labels | ({"other": OTHER} if len(said.choices) > 1 else {}))
    if said.form in ("relation", "onboarding"):
        add(
            {"relation": "q4", "onboarding": "q5"}[said.form],
            "long_text",
            "text",
            f"Call {said.contact.given['phone']}",
        )
    if said.old_rating is not None:
        add("q0", "rating", "number", said.old_rating)
    if said.rating is not None:
        field = {"onboarding": ("q6", "rating"), "effort": ("q7", "opinion_scale")}[said.form]
        add(*field, "number", said.rating)
    hidden: Shown = {}
    if said.form == "demo":
        add("q8", "email", "email", said.contact.email)
        add("q9", "short_text", "text", said.contact.given["firstname"])
        add("q10", "yes_no", "boolean", True)
        hidden = {"utm_medium": "cpc", "utm_campaign": "demo-2026", "gclid": "x"} if said.is_hidden else {}
    elif said.is_hidden:
        hidden = {"email": said.contact.email, "account_id": str(said.contact.company)}
    times = {"landed_at": _iso(said.landed)} | ({"submitted_at": _iso(said.submitted)} if said.submitted else {})
    return {
        "landing_id": said.id, "token": said.id, "response_id": said.id, **times,
        "metadata": {
            "user_agent": "Mozilla/5.0", "platform": "other", "network_id": "8a0111039f", "browser": "default",
            "referer": f"https://sandbox.typeform.com/to/{said.form}?email={said.contact.email}",
        },
        "hidden": hidden, "calculated": {"score": 0}, "answers": answers or None,
    }  # fmt: skip


def _iso(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


# -- what goes wrong, in Typeform's words


def _token(fields: dict[str, str]) -> Response:
    if problem := tokens.grant_problem(VENDOR, fields, ("refresh_token", "authorization_code")):
        return JSONResponse({"error": problem, "error_description": "the request is not allowed"}, 400)
    return JSONResponse({
        "access_token": tokens.issue(VENDOR, TOKEN_LIFETIME), "token_type": "bearer",
        "expires_in": int(TOKEN_LIFETIME), "scope": fields.get("scope", ""),
        "refresh_token": tokens.REFRESH_TOKEN,  # each answer has one, and it may be a new one
    })  # fmt: skip


def _error(status: int, code: str, description: str) -> Response:
    return JSONResponse({"code": code, "description": description}, status)


def _refused(status: int, code: str, description: str) -> Refused:
    return Refused(_error(status, code, description))


def _expired() -> Response:
    return _error(401, "AUTHENTICATION_FAILED", "Authentication credentials not found on the Request Headers")


def _throttled(wait: int | None, daily: bool) -> Response:
    answer = _error(429, "TOO_MANY_REQUESTS", "Too many requests")
    if wait is not None or daily:
        answer.headers["Retry-After"] = str(86_400 if daily else wait)
    return answer


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "INTERNAL_SERVER_ERROR", "Internal server error"),
    expired=_expired,
    missing_scope=lambda scope: _error(403, "FORBIDDEN", f"missing scope {scope}"),
    rows=("items",),
    token_route=True,
)
