"""Discourse: members, sign-ups, active members, topics, posts and likes of a forum by day of UTC, by its admin reports.

A report lists only days on which something was counted: one that it does not list has none, for it is a count grouped
by day. What is deleted is in none of them any more. How many members there were at the end of a day no report says: it
is how many there are now, less those who signed up since. Who has left since is in neither, so that it is, as all else,
what the forum knows of that day today. Active are those who posted, liked or sent a message. A report that this forum
does not have is unknown, one that it could not make in time is asked for again. Page views are not read: what counts as
one differs from version to version, and crawlers are among them.
Facts from Discourse's own source (github.com/discourse/discourse: app/models/report.rb and concerns/reports/,
app/controllers/admin/reports_controller.rb, app/models/api_key_scope.rb), its API documentation (docs.discourse.org)
and https://meta.discourse.org/t/78612 (rate limits), read 2026-12-01.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
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
    choose,
)
from b2b_pipeline.connectors.discourse import rows
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Outcome,
    Session,
    by_status,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import probe_accounts
from b2b_pipeline.errors import AuthError, PipelineError, TransientError

RATES = (Rate(60, 60),)  # of all keys of a forum together, where its owner has not changed it
REPORTS = ("signups", "daily_engaged_users", "topics", "posts", "likes")
RESTATE_DAYS = 7  # what is reported as spam is mostly deleted within days
NO_KEY = "make a key (Admin > API > New API key) of an administrator, with the scope Read-only"


@dataclass(frozen=True)
class Discourse:
    """One forum. `about`: what it says of itself, asked once."""

    session: Session
    about: dict[str, Any] = field(default_factory=dict)


def classify(response: requests.Response) -> Outcome:
    """`error_type` says what it is; a limit tells its seconds in `extras`, and in a header."""
    body = json_or_none(response)
    error = body if isinstance(body, dict) else {}
    extras = error.get("extras")
    told = str(error.get("error_type") or "refused")
    if response.status_code == 429:
        seconds = extras.get("wait_seconds") if isinstance(extras, dict) else None
        return wait_or_stop(float(seconds) if isinstance(seconds, int | float) else retry_after(response, 15.0))
    if response.status_code in (401, 403):
        return Fatal(told, auth=True, fix=NO_KEY)
    if response.status_code == 404:  # so it says that there are admin pages, to who is no member of its staff
        return Fatal(told, auth=True, fix="let the key be that of an administrator, and DISCOURSE_BASE_URL the forum's")
    if 300 <= response.status_code < 400:
        why = "the forum is at another address, or asks to log in"
        return Fatal(why, fix="put the address that the browser shows into DISCOURSE_BASE_URL")
    return by_status(response, told)


# -- reading


def read_days(client: Discourse, account: Account, window: Window) -> Iterator[Page]:
    """A record per day of UTC up to today: sign-ups are asked for up to tomorrow, which may begin meanwhile."""
    now = datetime.now(UTC).date()
    last = min(window.end - timedelta(days=1), now)
    if last < window.start:
        return
    answer, found = _reports(client, window.start, max(last, now + timedelta(days=1)))
    about = _about(client)
    total = (found["signups"] or {}).get("total")
    counts = {name: _by_day(answer, name, report) for name, report in found.items()}
    records: list[Record] = []
    for day in (window.start + timedelta(days=n) for n in range((last - window.start).days + 1)):
        since = counts["signups"]
        members = None if total is None or since is None else total - sum(n for at, n in since.items() if at > day)
        said = {name: None if of is None else of.get(day, 0) for name, of in counts.items()}
        records.append({"date": day.isoformat(), "members": members, **said, **about})
    yield Page(records, answer.request)


def _reports(client: Discourse, first: date, last: date) -> tuple[Answer, dict[str, Record | None]]:
    """Each report, None for one that the forum does not have. They are made anew: who asks `cache` gets older ones."""
    asked = {
        f"reports[{name}][{key}]": value
        for name in REPORTS
        for key, value in {"start_date": str(first), "end_date": str(last), "facets][": "total"}.items()
    }
    answer = client.session.get("admin/reports/bulk.json", asked)
    given = {report.get("type"): report for report in answer.rows("reports")}
    found: dict[str, Record | None] = {}
    for name in REPORTS:
        report = given.get(name) or {"error": "not_found"}
        if report.get("error") not in (None, "not_found"):
            raise TransientError(f"{place(answer.response)}: report {name}: {report['error']}")
        is_there = report.get("error") is None
        days = tuple(str(report.get(side))[:10] for side in ("start_date", "end_date"))
        if is_there and (days != (str(first), str(last)) or not isinstance(report.get("data"), list)):
            raise TransientError(f"{place(answer.response)}: report {name} is of {' to '.join(days)}, or has no data")
        if is_there and name == "signups" and not isinstance(report.get("total"), int):
            raise TransientError(f"{place(answer.response)}: report {name} has no total")
        found[name] = report if is_there else None
    return answer, found


def _by_day(answer: Answer, name: str, report: Record | None) -> Mapping[date, int] | None:
    try:
        return None if report is None else {date.fromisoformat(at["x"]): int(at["y"]) for at in report["data"]}
    except (KeyError, TypeError, ValueError):
        raise TransientError(f"{place(answer.response)}: report {name} has a point that is no day and count") from None


def _about(client: Discourse) -> Mapping[str, Any]:
    if not client.about:
        told = client.session.get("site/basic-info.json").json()
        if not isinstance(told, dict):
            raise TransientError("site/basic-info.json: no answer of a forum")
        client.about.update(title=told.get("title"), login_required=told.get("login_required"))
    return client.about


# -- who we are


def connect(config: Config) -> Discourse:
    base = settings.base_url("discourse", "")
    if not base:
        raise AuthError("DISCOURSE_BASE_URL is not set: put the address of the forum, https://forum.yourcompany.com")
    auth = StaticToken(settings.secret("DISCOURSE_API_KEY"), "Api-Key")
    headers = {"Api-Username": settings.secret("DISCOURSE_API_USERNAME")}
    return Discourse(Session(base, classify=classify, auth=auth, headers=headers, rates=RATES))


def accounts(client: Discourse, config: Config) -> Accounts:
    """The forum, by its address. Its days are those of UTC."""
    at = urlsplit(client.session.base_url)
    forum = Account(f"{at.hostname}{at.path}", str(_about(client).get("title") or ""), time_zone="UTC")
    chosen = config.sources["discourse"]
    return choose([forum], chosen.accounts, "sources.discourse.accounts", set(chosen.ended))


def probe(client: Discourse, config: Config) -> list[Finding]:
    found = probe_accounts(SOURCE, client, config, NO_KEY)
    day = datetime.now(UTC).date()
    try:
        missing = [name for name, report in _reports(client, day, day)[1].items() if report is None]
    except PipelineError:
        return found  # told already
    told = "this version of Discourse has no such report, what it would tell is unknown"
    return [*found, *(Finding(True, f"Discourse report {name}", told, warning=True) for name in missing)]


SOURCE = Source(
    name="discourse",
    title="Discourse",
    kind="community",
    api_version="latest",  # it has no versions: that of the forum is the one
    streams=(
        Stream(
            "forum_daily", "report",
            "One row per day of the forum: members, sign-ups, active members, topics, posts, likes.",
            read_days, day="date", policy=WindowPolicy(restate_days=RESTATE_DAYS, max_days=366), page_size=366,
            feeds={"community_daily": rows.community}, level="forum",
            states={"community_daily": lambda config: (
                "members", "new_members", "active_members", "topics", "posts", "likes"
            )},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "DISCOURSE_BASE_URL": "address of the forum, https://forum.yourcompany.com",
        "DISCOURSE_API_KEY": "Admin > API > New API key, of a single user, with the scope Read-only",
        "DISCOURSE_API_USERNAME": "that user, an administrator",
    },
)  # fmt: skip
