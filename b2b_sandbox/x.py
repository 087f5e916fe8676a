"""X's API v2: one account, its followers and the posts it has made, all as they are now.

From https://docs.x.com/x-api (users/lookup, posts/timelines, fundamentals/metrics), as of 2026-08-22, read 2026-12-01.
Counts grow at noon of UTC, so that all who read in the night see the same. Every fifth post was promoted, too: what ads
brought is in its public counts alone. Requests are signed as those of the Ads API, by the same three legs.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from b2b_sandbox.generate_base import DAY
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shown, asked_by, page, route
from b2b_sandbox.x_ads import is_signed, login_routes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

USER = "2244994945"
PRIVATE = 30 * DAY  # for which a post's author is told more than all are
PROBLEMS = "https://api.x.com/2/problems"
UNTOLD = {"title": "Field Authorization Error", "type": f"{PROBLEMS}/not-authorized-for-field", "detail": "Sorry."}


def routes(world: World, page_size: int = 100) -> list[BaseRoute]:
    """The paths of one user, the account itself. `page_size`: posts of a page at most."""

    def me(call: Call) -> Shown:
        asked = call.query("user.fields").split(",")
        told = {
            "public_metrics": {"followers_count": followers(call.now), "following_count": 48, "tweet_count": 912,
                               "listed_count": 7},
            "protected": False, "created_at": "2019-03-04T05:06:07.000Z",
        }  # fmt: skip
        shown = {"id": USER, "name": "Our Company", "username": "ourcompany"}
        return {"data": shown | {name: told[name] for name in asked if name in told}}

    def posts(call: Call) -> Shown:
        if call.path("id") != USER:
            raise _refused(403, "Forbidden", "about:blank", "This account's posts are not for you.")
        size, since = int(call.query("max_results", "10")), call.query("start_time")
        if not 5 <= size <= 100:
            raise _refused(400, "Invalid Request", f"{PROBLEMS}/invalid-request", "max_results: 5 to 100")
        first = int(datetime.fromisoformat(since).timestamp() * 1000) if since else 0
        there = [_post(at, call.now, call.query("tweet.fields").split(",")) for at in posted(call.now) if at >= first]
        try:
            shown, token = page(there[::-1], call.query("pagination_token"), min(size, page_size))
        except ValueError:
            raise _refused(400, "Invalid Request", f"{PROBLEMS}/invalid-request", "pagination_token") from None
        meta: Shown = {"result_count": len(shown)}
        if shown:
            meta |= {"newest_id": shown[0]["id"], "oldest_id": shown[-1]["id"]}
        hidden = [post["id"] for post in shown if "organic_metrics" not in post]
        errors = [{"resource_id": of, "resource_type": "tweet", "field": "organic_metrics", **UNTOLD} for of in hidden]
        return {
            **({"data": shown} if shown else {}), **({"errors": errors} if errors else {}),
            "meta": meta | ({"next_token": token} if token else {}),
        }  # fmt: skip

    at = partial(route, world, enter=_enter)
    return [*login_routes(), at("/2/users/me", me), at("/2/users/{id}/tweets", posts)]


# -- what is there


def followers(now: int) -> int:
    """Some come and some leave, at noon."""
    days = _noons(now)
    return 1200 + days % 1000 * 2 + _number("followers", days) % 9


def posted(now: int) -> list[int]:
    """When the account has posted, in ms: at ten in the morning of two days of three."""
    days = range((now - 60 * DAY) // DAY, now // DAY + 1)
    return [at for day in days if _number("post", day) % 3 and (at := day * DAY + DAY * 10 // 24) <= now]


def counts(at: int, now: int) -> dict[str, int]:
    """What had become of a post at a moment, unpaid: less every day, nothing before its first noon."""
    age, most = _noons(now) - _noons(at), 400 + _number("shown", at) % 900
    impressions = sum(most // (n * n) for n in range(1, age + 1))
    return {
        "impression_count": impressions, "url_link_clicks": impressions // 40, "user_profile_clicks": impressions // 90,
        "like_count": impressions // 50, "reply_count": impressions // 200, "retweet_count": impressions // 120,
    }  # fmt: skip


def quotes(at: int, now: int) -> int:
    return counts(at, now)["impression_count"] // 300


def _post(at: int, now: int, fields: list[str]) -> Shown:
    organic, paid = counts(at, now), 5000 if _number("promoted", at) % 5 == 0 else 0
    everybody = {name: organic[name] for name in ("like_count", "reply_count", "retweet_count")}
    told = {
        "created_at": f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%dT%H:%M:%S}.000Z", "organic_metrics": organic,
        "public_metrics": {**everybody, "impression_count": organic["impression_count"] + paid,
                           "quote_count": quotes(at, now), "bookmark_count": organic["like_count"] // 3},
    }  # fmt: skip
    identifier = str(1_900_000_000_000_000_000 + at)
    shown: Shown = {"id": identifier, "text": "We have news @somebody", "edit_history_tweet_ids": [identifier]}
    hidden = "organic_metrics" if at < now - PRIVATE else ""
    return shown | {name: told[name] for name in fields if name in told and name != hidden}


def _noons(now: int) -> int:
    return (now + DAY // 2) // DAY


def _number(*what: object) -> int:
    return int.from_bytes(sha256(" ".join(map(str, what)).encode()).digest()[:6])


# -- who is let in, and what goes wrong, in X's words


def _enter(request: Request) -> dict[str, str]:
    if not is_signed(request):
        raise Refused(_unauthorized())
    reset = str(int(time.time()) + 900)
    return {"x-rate-limit-limit": "900", "x-rate-limit-remaining": "899", "x-rate-limit-reset": reset}


def _problem(status: int, title: str, name: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = {"title": title, "detail": detail, "type": name, "status": status}
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def _refused(status: int, title: str, name: str, detail: str) -> Refused:
    return Refused(_problem(status, title, name, detail))


def _unauthorized() -> Response:
    return _problem(401, "Unauthorized", "about:blank", "Unauthorized")


def _throttled(wait: int | None, daily: bool) -> Response:
    reset = str(int(time.time()) + (900 if wait is None else wait))
    headers = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": reset}
    return _problem(429, "Too Many Requests", "about:blank", "Too Many Requests", headers)


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _problem(503, "Service Unavailable", "about:blank", "Service Unavailable"),
    expired=_unauthorized,
    missing_scope=lambda scope: _problem(403, "Forbidden", "about:blank", f"Forbidden: {scope}"),
    cursor=asked_by("pagination_token"),
    repeat=lambda cursor, answer: answer["meta"].update(next_token=cursor),
    rows=("data",),
)
