"""A forum of Discourse: its admin reports by day, made of the world's contacts.

From Discourse's own source (app/controllers/admin/reports_controller.rb, app/models/report.rb), read 2026-12-01. Every
third contact is a member; what is deleted is in no report any more. A report lists no day without anything.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from b2b_sandbox import tokens
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shapes, Shown, route
from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

USER = "reporting"
HOUR = 3_600_000
REPORTS = ("signups", "daily_engaged_users", "topics", "posts", "likes")


@dataclass(frozen=True)
class Forum:
    """When somebody signed up, began a topic, posted, liked, by id of the member; ms."""

    signups: dict[str, int] = field(default_factory=dict)
    topics: list[tuple[str, int]] = field(default_factory=list)
    posts: list[tuple[str, int]] = field(default_factory=list)
    likes: list[tuple[str, int]] = field(default_factory=list)


def forum_at(connection: sqlite3.Connection, now: int) -> Forum:
    """What is there at a moment. A contact that is deleted was a spammer, whose account and posts are gone, too."""
    found = Forum()
    for row in connection.execute(CURRENT, {"vendor": "hubspot", "object": "contacts", "now": now}):
        made = json.loads(row["payload"]).get("createdate")
        if row["is_deleted"] or row["is_gone"] or not made or _number(row["id"], "member") % 3:
            continue
        joined = int(datetime.fromisoformat(made).timestamp() * 1000) + _number(row["id"], "joined") % 48 * HOUR
        if joined > now:
            continue
        found.signups[row["id"]] = joined
        for n in range(_number(row["id"], "posts") % 6):
            at = joined + _number(row["id"], f"post {n}") % (20 * 24) * HOUR
            if at <= now and _number(row["id"], f"removed {n}") % 17:
                found.posts.append((row["id"], at))
                if n == 0:
                    found.topics.append((row["id"], at))
                liked = at + _number(row["id"], f"like {n}") % 60 * HOUR
                if n % 2 and liked <= now:
                    found.likes.append((row["id"], liked))
    return found


def _number(identifier: str, what: str) -> int:
    return int.from_bytes(sha256(f"{identifier} {what}".encode()).digest()[:6])


def counted(forum: Forum, report: str) -> Counter[date]:
    """Day of UTC -> what a report counts on it."""
    acts = {"topics": forum.topics, "posts": forum.posts, "likes": forum.likes}
    if report == "signups":
        return Counter(_day(at) for at in forum.signups.values())
    if report == "daily_engaged_users":
        return Counter(day for _, day in {(who, _day(at)) for act in acts.values() for who, at in act})
    return Counter(_day(at) for _, at in acts[report])


def _day(at: int) -> date:
    return datetime.fromtimestamp(at / 1000, UTC).date()


def routes(world: World, reports: tuple[str, ...] = REPORTS, login_required: bool = False) -> list[BaseRoute]:
    """The paths of one forum; `reports`: those that its version has."""
    forum = Shapes(world, forum_at)

    def bulk(call: Call) -> Shown:
        asked: dict[str, dict[str, Any]] = {}
        for key, value in call.request.query_params.multi_items():
            if found := re.fullmatch(r"reports\[(\w+)\]\[(\w+)\](\[\])?", key):
                asked.setdefault(found[1], {})[found[2]] = value
        if not asked:
            raise Refused(_error(500, "Internal Server Error"))
        return {"reports": [_report(forum(), name, about, reports) for name, about in asked.items()]}

    about = {
        "logo_url": "", "logo_small_url": "", "apple_touch_icon_url": "", "favicon_url": "", "title": "Our Forum",
        "description": "", "header_primary_color": "333333", "header_background_color": "ffffff",
        "login_required": login_required, "locale": "en", "include_in_discourse_discover": False,
    }  # fmt: skip
    return [
        route(world, "/admin/reports/bulk.json", bulk, enter=_enter),
        route(world, "/site/basic-info.json", lambda call: about, enter=_known),
    ]


def _known(request: Request) -> dict[str, str]:
    """What is public needs no key, but a wrong one is refused."""
    if request.headers.get("api-key", tokens.PRIVATE_APP_TOKEN) != tokens.PRIVATE_APP_TOKEN:
        raise Refused(_error(403, "You are not permitted to view the requested resource.", "invalid_access"))
    return {}


def _enter(request: Request) -> dict[str, str]:
    """Who is no member of the staff finds no such page."""
    if "api-key" not in request.headers or request.headers.get("api-username") != USER:
        raise Refused(_error(404, "The requested URL or resource could not be found.", "not_found"))
    return _known(request)


def _report(forum: Forum, name: str, asked: dict[str, Any], reports: tuple[str, ...]) -> Shown:
    first = date.fromisoformat(asked["start_date"])
    last = date.fromisoformat(asked["end_date"]) if asked.get("end_date") else first + timedelta(days=30)
    shown: Shown = {
        "type": name, "title": name.replace("_", " ").capitalize(), "xaxis": "Day", "yaxis": "Count",
        "description": None, "data": None, "start_date": f"{first}T00:00:00Z", "end_date": f"{last}T23:59:59Z",
        "prev_data": None, "report_key": f"reports:{name}:{first:%Y%m%d}:{last:%Y%m%d}:[:total]:4", "labels": [],
        "average": name == "daily_engaged_users", "percent": False, "higher_is_better": True,
        "modes": ["table", "chart"],
    }  # fmt: skip
    if name not in reports:
        return shown | {"error": "not_found"}
    found = sorted(counted(forum, name).items())
    shown["data"] = [{"x": day.isoformat(), "y": count} for day, count in found if first <= day <= last]
    return shown | {"total": sum(count for _, count in found)}


# -- what goes wrong, in Discourse's words


def _error(status: int, message: str, kind: str = "") -> Response:
    return JSONResponse({"errors": [message], **({"error_type": kind} if kind else {})}, status)


def _throttled(wait: int | None, daily: bool) -> Response:
    seconds = 86_400 if daily else 12 if wait is None else wait
    told = f"You've performed this action too many times, please try again in {seconds} seconds."
    body = {"errors": [told], "error_type": "rate_limit", "extras": {"wait_seconds": seconds}}
    return JSONResponse(body, 429, headers={"Retry-After": str(seconds)})


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "Internal Server Error"),
    missing_scope=lambda scope: _error(403, "You are not permitted.", "invalid_access"),
    rows=("reports",),
)
