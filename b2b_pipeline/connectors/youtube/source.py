"""YouTube: what became of a channel's videos, all together, per day in Pacific time, by the YouTube Analytics API.

A report by day leaves out the most recent days, of which not all is known yet, and days without anything: these are
not told apart, so that a day that is not told is unknown, and not 0. Impressions of videos are not among what can be
asked for by day. How many subscribers a channel has, the Data API tells of now alone, and rounded down to three
figures: it is not read.
Facts from https://developers.google.com/youtube/analytics/reference/reports/query, …/youtube/analytics/data_model,
https://developers.google.com/youtube/v3/docs/channels and …/errors, read 2026-12-01.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import OAuthToken
from b2b_pipeline.connectors.authorize import Authorization
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
    choose,
)
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Outcome,
    Session,
    Stop,
    by_status,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rest import probe_accounts
from b2b_pipeline.connectors.youtube import rows
from b2b_pipeline.errors import TransientError

API, DATA = "https://youtubeanalytics.googleapis.com", "https://www.googleapis.com"
LOGIN, TOKENS = "https://accounts.google.com/o/oauth2/v2/auth", "https://oauth2.googleapis.com/token"
SCOPES = ("https://www.googleapis.com/auth/yt-analytics.readonly", "https://www.googleapis.com/auth/youtube.readonly")
METRICS = ("views", "likes", "comments", "shares")
PACIFIC = "America/Los_Angeles"
RESTATE_DAYS = 14  # days: when one is final no document says
USED_UP = {"quotaExceeded", "dailyLimitExceeded"}
THROTTLED = {"rateLimitExceeded", "userRateLimitExceeded"}
NOT_ALLOWED = "agree anew with `b2b connect youtube`, as who manages the channel; the project needs both YouTube APIs"


@dataclass(frozen=True)
class YouTube:
    """The user's channel: its reports, and what it is."""

    reports: Session
    data: Session


def classify(response: requests.Response) -> Outcome:
    """https://developers.google.com/youtube/v3/docs/errors: a quota is that of a day in Pacific time."""
    body = json_or_none(response)
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    listed = error.get("errors")
    reason = next((str(each.get("reason")) for each in listed or () if isinstance(each, dict)), "")
    told = reason or str(error.get("status") or "refused")
    if reason in USED_UP:
        return Stop(_next_day(datetime.now(UTC)), told)
    if reason in THROTTLED or response.status_code == 429:
        return wait_or_stop(retry_after(response, 30.0), told)
    if response.status_code == 403:
        return Fatal(told, auth=True, fix=NOT_ALLOWED)
    return by_status(response, told)


def _next_day(now: datetime) -> datetime:
    zone = ZoneInfo(PACIFIC)
    return datetime.combine(now.astimezone(zone).date() + timedelta(days=1), time(), zone).astimezone(UTC)


# -- reading


def read_days(client: YouTube, account: Account, window: Window) -> Iterator[Page]:
    """A record per day that is over; one that YouTube does not tell has none of its counts."""
    end = min(window.end, datetime.now(ZoneInfo(PACIFIC)).date())
    if end <= window.start:
        return
    answer = client.reports.get("v2/reports", {
        "ids": f"channel=={account.id}", "startDate": str(window.start), "endDate": str(end - timedelta(days=1)),
        "metrics": ",".join(METRICS), "dimensions": "day", "sort": "day",
    })  # fmt: skip
    told = _by_day(answer)
    days = [(window.start + timedelta(days=n)).isoformat() for n in range((end - window.start).days)]
    if strange := sorted(told.keys() - set(days)):
        raise TransientError(f"{place(answer.response)}: a row of {strange[0]}, which was not asked for")
    yield Page([{"day": day, **told.get(day, {})} for day in days], answer.request)


def _by_day(answer: Answer) -> Mapping[str, Record]:
    """Its rows, by the names of its columns. Without anything it has none."""
    body = answer.json()
    headers = body.get("columnHeaders") if isinstance(body, dict) else None
    names = [str(header.get("name")) for header in headers or () if isinstance(header, dict)]
    table = body.get("rows") or [] if isinstance(body, dict) else []
    if {"day", *METRICS} - {*names} or any(len(row) != len(names) for row in table):
        raise TransientError(f"{place(answer.response)}: a table without the columns that were asked for")
    records = [dict(zip(names, row, strict=True)) for row in table]
    return {str(record["day"]): record for record in records}


# -- who we are


def connect(config: Config) -> YouTube:
    base = settings.base_url("youtube", API)
    form = {"grant_type": "refresh_token"} | {
        name: settings.secret(f"YOUTUBE_{name.upper()}") for name in ("client_id", "client_secret", "refresh_token")
    }
    url = TOKENS if base == API else f"{base}/token"
    auth = OAuthToken(url, form, store=settings.credential_store("youtube"), lifetime=3600)
    hosts = (base, DATA if base == API else base)
    return YouTube(*(Session(host, classify=classify, auth=auth) for host in hosts))


def authorization() -> Authorization:
    """https://developers.google.com/identity/protocols/oauth2/native-app: a desktop client, any port of loopback."""
    base = settings.base_url("youtube", API)
    pages = (LOGIN, TOKENS) if base == API else (f"{base}/o/oauth2/v2/auth", f"{base}/token")
    variables = ("YOUTUBE_CLIENT_ID", "YOUTUBE_CLIENT_SECRET", "YOUTUBE_REFRESH_TOKEN")
    return Authorization(*pages, SCOPES, variables, {"access_type": "offline", "prompt": "consent"})


def accounts(client: YouTube, config: Config) -> Accounts:
    """The channel that the user has agreed for."""
    answer = client.data.get("youtube/v3/channels", {"part": "snippet", "mine": "true"})
    # Without a channel there is no list at all.
    items: list[dict[str, Any]] = answer.rows("items") if "items" in answer.json() else []
    found = [Account(str(item["id"]), str(item["snippet"].get("title", "")), time_zone=PACIFIC) for item in items]
    chosen = config.sources["youtube"]
    return choose(found, chosen.accounts, "sources.youtube.accounts", set(chosen.ended))


def probe(client: YouTube, config: Config) -> list[Finding]:
    return probe_accounts(SOURCE, client, config, NOT_ALLOWED)


SOURCE = Source(
    name="youtube",
    title="YouTube",
    kind="community",
    api_version="v2",
    streams=(
        Stream(
            "channel_daily", "report", "One row per day of the channel: views, likes, comments and shares of all its "
            "videos.",
            read_days, day="day", policy=WindowPolicy(restate_days=RESTATE_DAYS, max_days=366), page_size=366,
            feeds={"content_daily": rows.content}, asks=lambda config: METRICS,
            states={"content_daily": lambda config: ("video_views", "likes", "comments", "shares")},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "YOUTUBE_CLIENT_ID": "OAuth client of type Desktop app (console.cloud.google.com > APIs & Services > "
        "Credentials), in a project with the YouTube Analytics API and the YouTube Data API v3",
        "YOUTUBE_CLIENT_SECRET": "its secret",
        "YOUTUBE_REFRESH_TOKEN": "by `b2b connect youtube`, choosing the channel",
    },
    authorization=authorization,
)  # fmt: skip
