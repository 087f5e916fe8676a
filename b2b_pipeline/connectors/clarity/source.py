"""Microsoft Clarity: how visitors fared on the site, dead and rage clicks, depth of scrolling; by the Data Export API.

It has one question, "the last 24, 48 or 72 hours", ten times a day, and answers at most 1,000 rows of it. So the 24
hours before a nightly read are taken for the day that they are nearly all of, which is said: such a day is never
complete. A day that was not read in the six hours after it is unknown for good: nothing is asked for it any more.
Whether EngagementTime is a sum or an average is documented nowhere, nor what PagesPerSessionPercentage is an average
over: neither is taken. Facts from https://learn.microsoft.com/en-us/clarity/setup-and-installation/clarity-data-export-api
and answers that public clients recorded, read 2026-12-01.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import StaticToken
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
    Finding,
    Page,
    Record,
    Source,
    Stream,
    Window,
    WindowPolicy,
)
from b2b_pipeline.connectors.clarity import rows
from b2b_pipeline.connectors.http import Answer, Outcome, Session, Stop, Wait, by_status, next_utc_midnight, place
from b2b_pipeline.connectors.of_now import just_ended
from b2b_pipeline.connectors.rest import readable
from b2b_pipeline.errors import ConfigError, TransientError

HOST = "https://www.clarity.ms"
PATH = "export-data/api/v1/project-live-insights"
MOST = 1000  # rows of an answer
KEPT = (
    "Traffic", "ScrollDepth", "DeadClickCount", "RageClickCount", "ExcessiveScroll", "QuickbackClick",
    "ScriptErrorCount", "ErrorClickCount",
)  # fmt: skip  # titles of pages and where visitors came from are not


@dataclass(frozen=True)
class Clarity:
    session: Session
    config: Config


def classify(response: requests.Response) -> Outcome:
    """A call that is tried again costs one of the day's ten: few are."""
    if response.status_code == 429:
        return Stop(next_utc_midnight(), "the ten requests of the day")
    outcome = by_status(response)
    return Wait(240.0, outcome.reason) if isinstance(outcome, Wait) else outcome


def read_site(client: Clarity, account: Account, window: Window) -> Iterator[Page]:
    """The project as a whole, on the day that has just ended."""
    yield from _read(client, window, {}, _of_site)


def read_pages(client: Clarity, account: Account, window: Window) -> Iterator[Page]:
    """By page, on the day that has just ended."""
    yield from _read(client, window, {"dimension1": "URL"}, _of_pages)


def _read(client: Clarity, window: Window, asked: dict[str, str], records: Any) -> Iterator[Page]:
    yesterday, doubts = just_ended(window, "Clarity")
    if not yesterday:
        yield Page([], doubts=doubts)
        return
    answer = client.session.get(PATH, {"numOfDays": "1", **asked})
    metrics = _metrics(answer)
    doubts[yesterday] = f"these are the 24 hours until {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, not the day"
    if max(map(len, metrics.values()), default=0) >= MOST:
        doubts[yesterday] += f"; Clarity cut them off after {MOST} rows"
    yield Page([{"day": yesterday, **record} for record in records(answer, metrics)], answer.request, doubts)


def _metrics(answer: Answer) -> dict[str, list[Record]]:
    """Name of a metric, however it is spelt, -> its rows. Raises TransientError for an answer that is none."""
    body = answer.json()
    if not isinstance(body, list):
        raise TransientError(f"{place(answer.response)}: an answer that is no list of metrics")
    kept = {name.lower(): name for name in KEPT}
    found: dict[str, list[Record]] = {}
    for item in body:
        name = kept.get("".join(filter(str.isalnum, item["metricName"])).lower())
        if name:
            found[name] = list(item["information"])
    if "Traffic" not in found:
        raise TransientError(f"{place(answer.response)}: an answer without Traffic")
    return found


def _of_site(answer: Answer, metrics: dict[str, list[Record]]) -> list[Record]:
    if any(len(rows) > 1 for rows in metrics.values()):
        raise TransientError(f"{place(answer.response)}: many rows, where the project has one")
    return [{name: rows[0] for name, rows in metrics.items() if rows}]


def _of_pages(answer: Answer, metrics: dict[str, list[Record]]) -> list[Record]:
    """A record per page, without what stands behind its address: that may be anything about anybody."""
    pages: dict[str, dict[str, list[Record]]] = {}
    for name, found in metrics.items():
        for row in found:
            key = next((key for key in row if key.lower() == "url"), None)
            if key is None:
                raise TransientError(f"{place(answer.response)}: a row without its URL")
            values = {name: value for name, value in row.items() if name != key}
            pages.setdefault(_page(row[key]), {}).setdefault(name, []).append(values)
    return [{"url": url, **variants} for url, variants in pages.items()]


def _page(url: Any) -> str:
    try:
        parts = urlsplit(str(url or ""))
        return f"{parts.hostname or ''}{parts.path}" or "-"
    except ValueError:
        return "-"


def connect(config: Config) -> Clarity:
    auth = StaticToken(settings.secret("CLARITY_API_TOKEN"))
    return Clarity(Session(settings.base_url("clarity", HOST), classify=classify, auth=auth), config)


def accounts(client: Clarity, config: Config) -> Accounts:
    """The one project that the token is of, which does not say its name."""
    named = config.sources["clarity"].accounts
    if len(named) > 1:
        raise ConfigError("sources.clarity.accounts: a token is of one project: give it one name")
    return Accounts([Account(named[0] if named else "project")])


def probe(client: Clarity, config: Config) -> list[Finding]:
    """One call, of the ten of the day."""
    calls = {"is": partial(client.session.get, PATH, {"numOfDays": "1"})}
    found = [*readable("Clarity (one of the ten requests of the day)", calls,
                       "make a token in Settings > Data Export, as an admin of the project")]  # fmt: skip
    what = "Clarity: a day that no nightly read was in time for is unknown for good, and none is ever complete"
    return [*found, Finding(True, what, "let the schedule run every night", warning=True)]


_POLICY = WindowPolicy(max_days=36_500)

SOURCE = Source(
    name="clarity",
    title="Microsoft Clarity",
    kind="web",
    api_version="v1",
    streams=(
        Stream(
            "site_daily", "report", "How visitors fared on the site, in the 24 hours before the read.", read_site,
            day="day", policy=_POLICY, page_size=1, feeds={"web_behaviour_daily": rows.site},
            states={"web_behaviour_daily": lambda config: (*rows.COUNTED, "sessions", "users", "scroll_depth_sum")},
            level="property",
        ),
        Stream(
            "page_daily", "report", "How visitors fared on each page, in the 24 hours before the read.", read_pages,
            day="day", policy=_POLICY, page_size=MOST, feeds={"web_behaviour_daily": rows.pages},
            states={"web_behaviour_daily": lambda config: ()}, level="page",
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={"CLARITY_API_TOKEN": "Settings > Data Export > Generate new API token, by an admin of the project"},
    daily_calls=10,
)  # fmt: skip
