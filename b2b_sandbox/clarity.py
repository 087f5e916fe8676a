"""The Data Export API of Microsoft Clarity, over the visits to the site that the collector is told of.

From https://learn.microsoft.com/en-us/clarity/setup-and-installation/clarity-data-export-api and answers that public
clients recorded, read 2026-12-01. The bodies of its errors are documented nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from b2b_sandbox import tokens
from b2b_sandbox.collector import Visit, visits
from b2b_sandbox.toolkit import DAY, Call, Dialect, Meter, Refused, Shapes, Shown, route

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

DAY_MS, ROWS = 86_400_000, 1000
DIMENSIONS = {
    "Browser", "Device", "Country/Region", "OS", "Source", "Medium", "Campaign", "Channel", "URL",
}  # fmt: skip
SIGNALS = {
    "DeadClickCount": 3, "RageClickCount": 11, "ExcessiveScroll": 17, "QuickbackClick": 7, "ScriptErrorCount": 13,
    "ErrorClickCount": 19,
}  # fmt: skip  # one visit in so many has it


def routes(world: World, daily: int = 100_000, rows: int = ROWS) -> list[BaseRoute]:
    """`daily` requests in 24 hours; at most `rows` of each metric."""
    seen, budget = Shapes(world, lambda connection, now: visits_of(connection)), Meter(daily, DAY)

    def enter(request: Request) -> dict[str, str]:
        if request.headers.get("authorization") != f"Bearer {tokens.PRIVATE_APP_TOKEN}":
            raise Refused(_error(401, "Unauthorized"))
        if not budget.take():
            raise Refused(_error(429, "Exceeded daily limit"))
        return {}

    def insights(call: Call) -> Any:
        days, asked = call.query("numOfDays", "1"), [call.query(f"dimension{n}") for n in (1, 2, 3)]
        if days not in ("1", "2", "3") or any(name not in DIMENSIONS for name in filter(None, asked)):
            raise Refused(_error(400, "Bad Request"))
        window = call.now - int(days) * DAY_MS, call.now
        metrics = _by_url(seen(), window) if "URL" in asked else _of_all(seen(), window)
        return [{"metricName": name, "information": found[:rows]} for name, found in metrics.items()]

    return [partial(route, world, enter=enter)("/export-data/api/v1/project-live-insights", insights)]


def visits_of(connection: sqlite3.Connection) -> list[Visit]:
    return [visit for visit in visits(connection) if visit.visitor and visit.steps]


def within(found: list[Visit], window: tuple[int, int]) -> list[Visit]:
    """Those that began in the window."""
    return [visit for visit in found if window[0] <= visit.steps[0].at < window[1]]


def signals(visit: Visit, metric: str) -> int:
    """How often something happened in a visit."""
    number = int(str(visit.visitor)[1:9], 16) + visit.steps[0].at // 1000
    return 1 + number % 4 if number % SIGNALS[metric] == 0 else 0


def depth(visit: Visit) -> int:
    """How far down, in per cent."""
    return 20 + int(str(visit.visitor)[9:13], 16) % 80


def _of_all(found: list[Visit], window: tuple[int, int]) -> dict[str, list[Shown]]:
    mine = within(found, window)
    people = [visit for visit in mine if not visit.is_bot]
    metrics = {name: [_signal(people, name)] for name in SIGNALS}
    pages = [step.said["page"] for visit in people for step in visit.steps if step.kind == "page_view"]
    metrics["ScrollDepth"] = [{"averageScrollDepth": _average([depth(visit) for visit in people])}]
    metrics["Traffic"] = [{
        "totalSessionCount": str(len(people)), "totalBotSessionCount": str(len(mine) - len(people)),
        "distinctUserCount": str(len({visit.visitor for visit in people})),
        "pagesPerSessionPercentage": len(pages) / (len(people) or 1),
    }]  # fmt: skip
    metrics["EngagementTime"] = [{"totalTime": "247", "activeTime": "120"}]
    metrics["PopularPages"] = [{"url": f"https://{page}", "visitsCount": "1"} for page in sorted(set(pages))[:10]]
    metrics["ReferrerUrl"] = [{"name": None, "sessionsCount": str(len(people))}]
    return metrics


def _by_url(found: list[Visit], window: tuple[int, int]) -> dict[str, list[Shown]]:
    """By the address of each visit's first page, some with what stands behind it."""
    of_url: dict[str, list[Visit]] = defaultdict(list)
    for visit in within(found, window):
        if not visit.is_bot:
            number = int(str(visit.visitor)[1:3], 16)
            of_url[f"https://{visit.steps[0].said.get('page')}{'?utm_source=x#top' if number % 5 == 0 else ''}"].append(
                visit
            )
    metrics: dict[str, list[Shown]] = defaultdict(list)
    for url, mine in sorted(of_url.items()):
        metrics["Traffic"].append({
            "totalSessionCount": str(len(mine)), "totalBotSessionCount": "0",
            "distinctUserCount": str(len({visit.visitor for visit in mine})),
            "pagesPerSessionPercentage": 1.5, "Url": url,
        })  # fmt: skip
        metrics["ScrollDepth"].append({"averageScrollDepth": _average([depth(visit) for visit in mine]), "Url": url})
        for name in SIGNALS:
            metrics[name].append({**_signal(mine, name), "Url": url})
    return {"Traffic": [], **metrics}


def _signal(mine: list[Visit], name: str) -> Shown:
    counts = [signals(visit, name) for visit in mine]
    share = round(100 * sum(map(bool, counts)) / (len(mine) or 1), 2)
    return {
        "sessionsCount": str(len(mine)), "sessionsWithMetricPercentage": share,
        "sessionsWithoutMetricPercentage": round(100 - share, 2), "pagesViews": str(sum(map(bool, counts))),
        "subTotal": str(sum(counts)),
    }  # fmt: skip


def _average(values: list[int]) -> float:
    return round(sum(values) / (len(values) or 1), 2)


# -- what goes wrong


def _error(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)


DIALECT = Dialect(
    throttled=lambda wait, daily: _error(429, "Exceeded daily limit"),
    broken=lambda: _error(500, "Internal Server Error"),
)
