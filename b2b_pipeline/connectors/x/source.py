"""X: followers of our account, and what became of its posts, unpaid, as each night's read tells it.

X tells neither by day: followers are those of now, and a post has counts to date. A read within six hours of the end of
a day stands for that end; a day is what was added from one night's read to the next, and unknown where one of them is
missing. So there is no history: nothing is known of days before the first night. Of a post its first 29 days are
told: what is unpaid of its counts X tells for 30. Reposts of what others wrote are left out, replies are ours. What
became of videos is not read. Of a post that is deleted the days until then stand. X bills what it hands over: a cent a
night for the account, and a tenth of one for each post if the app is the account's own, else half a cent; it has no
limit of a day.
The specification (OpenAPI 2.167) calls some fields otherwise (`post.fields`, `repost_count`) than all of X's documents.
Facts from https://docs.x.com/x-api (fundamentals/metrics, …/rate-limits, …/response-codes-and-errors,
posts/timelines, getting-started/pricing; as of 2026-08-22) and, of status 402, from answers in public issues
(github.com/tryethernal/ethernal#1324), read 2026-12-01.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import x_api
from b2b_pipeline.connectors.authorize import Login
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
    by_status,
    follow,
    json_or_none,
    place,
    wait_or_stop,
)
from b2b_pipeline.connectors.of_now import just_ended
from b2b_pipeline.connectors.rest import readable
from b2b_pipeline.connectors.x import rows
from b2b_pipeline.errors import TransientError

TOLD = timedelta(days=29)  # after its publication; of 30 days one is left for clocks and long reads
MOST = 3200  # posts of a user that are told at all
SIZE = 100  # posts of a page
UNPAID = ("impression_count", "url_link_clicks", "like_count", "reply_count", "retweet_count")
PUBLIC = ("quote_count",)  # always unpaid
NO_CREDITS = "buy credits, or raise the spending limit, at console.x.com"


def classify(response: requests.Response) -> Outcome:
    """https://docs.x.com/x-api/fundamentals/response-codes-and-errors: a problem (RFC 7807) has its name in `type`."""
    body = json_or_none(response)
    body = body if isinstance(body, dict) else {}
    name = str(body.get("type") or "").rpartition("/")[2]
    told = str(body.get("title") or "refused")
    if response.status_code == 402 or name == "usage-capped":
        return Fatal(told, fix=NO_CREDITS)
    if response.status_code == 429:
        return wait_or_stop(x_api.until_reset(response, "x-rate-limit-reset"), told)
    return by_status(response, told)


# -- reading


def read_account(client: Session, account: Account, window: Window) -> Iterator[Page]:
    """The account as it is at the end of the day that has just ended."""
    day, doubts = just_ended(window, "X")
    kept = ("id", "username", "protected", "public_metrics")
    me = _me(client) if day else {}
    yield Page([{"day": day, **{name: me.get(name) for name in kept}}] if day else [], doubts=doubts)


def _me(client: Session) -> Record:
    """The account of the token. Raises TransientError for an answer without its followers."""
    answer = client.get("2/users/me", {"user.fields": "protected,public_metrics"})
    user = answer.json().get("data")
    if not isinstance(user, dict) or not _are_counts(user.get("public_metrics"), ("followers_count",)):
        raise TransientError(f"{place(answer.response)}: no account with its followers")
    return user


def read_posts(client: Session, account: Account, window: Window) -> Iterator[Page]:
    """A record per post of the last 29 days, with its counts to date at the end of the day that has just ended."""
    day, doubts = just_ended(window, "X")
    yield Page([], doubts=doubts)
    many = 0
    for answer in _posts(client, account) if day else ():
        found = answer.json()
        posts = found.get("data", [])  # of none there is no list
        many += len(posts)
        if len(posts) != found["meta"]["result_count"]:
            raise TransientError(f"{place(answer.response)}: {found['meta']['result_count']} posts are told, not given")
        yield Page([{"day": day, **_counts(answer, post)} for post in posts], answer.request)
    if many >= MOST - SIZE:  # reposts, which are left out, are among them
        yield Page([], doubts={day: f"X tells of the newest {MOST:,} posts alone, and of {many:,} there may be more"})


def _posts(client: Session, account: Account) -> Iterator[Answer]:
    asked = {
        "max_results": SIZE, "exclude": "retweets", "start_time": f"{datetime.now(UTC) - TOLD:%Y-%m-%dT%H:%M:%SZ}",
        "tweet.fields": "created_at,organic_metrics,public_metrics",
    }  # fmt: skip
    path = f"2/users/{account.id}/tweets"

    def ask(token: str | None) -> Answer:
        return client.get(path, asked | ({"pagination_token": token} if token else {}))

    return follow(ask, lambda answer: answer.json()["meta"].get("next_token"))


def _counts(answer: Answer, post: Record) -> Record:
    """What is kept of a post, without its text. Raises TransientError where a count is not told."""
    for member, names in (("organic_metrics", UNPAID), ("public_metrics", PUBLIC)):
        if not _are_counts(post.get(member), names):
            why = next((str(error.get("title")) for error in answer.json().get("errors") or ()), "nothing says why")
            raise TransientError(f"{place(answer.response)}: a post without its {member}: {why}")
    return {name: post[name] for name in ("id", "created_at", "organic_metrics", "public_metrics")}


def _are_counts(metrics: Any, names: tuple[str, ...]) -> bool:
    return isinstance(metrics, dict) and all(isinstance(metrics.get(name), int) for name in names)


# -- who we are


def connect(config: Config) -> Session:
    return Session(settings.base_url("x", x_api.API), classify=classify, auth=x_api.signing("x"))


def authorization() -> Login:
    return x_api.login("x", x_api.API)


def accounts(client: Session, config: Config) -> Accounts:
    """The account of the token. It has no days of its own: they are those of the reporting time zone."""
    me = _me(client)
    chosen = config.sources["x"]
    found = [Account(str(me["id"]), str(me.get("username") or ""))]
    return choose(found, chosen.accounts, "sources.x.accounts", set(chosen.ended))


def probe(client: Session, config: Config) -> list[Finding]:
    """By what a night asks, which at any other time would ask nothing."""
    calls = {"account": lambda: _me(client), "posts": lambda: [*_posts(client, Account(str(_me(client)["id"])))]}
    found = readable("X", calls, "agree anew with `b2b connect x`, as the account itself; the app needs credits")
    what = "X: a night that was not read leaves two days unknown for good: its own, and that after it"
    return [*found, Finding(True, what, "let the schedule run every night", warning=True)]


_POLICY = WindowPolicy(max_days=36_500)  # of all days of a window one at most can be told

SOURCE = Source(
    name="x",
    title="X",
    kind="community",
    api_version="2",
    streams=(
        Stream(
            "account_daily", "report", "One row per night: how many followed the account then.", read_account,
            day="day", policy=_POLICY, page_size=1, feeds={"community_daily": rows.community},
            states={"community_daily": lambda config: ("followers",)}, level="account", of_now=True,
            asks=lambda config: ("public_metrics.followers_count",),
        ),
        Stream(
            "post_daily", "report",
            "One row per night and post of the 29 days before it: impressions, clicks, likes, replies, shares to date.",
            read_posts, day="day", policy=_POLICY, page_size=SIZE, feeds={"content_daily": rows.content},
            states={"content_daily": lambda config: ("impressions", "clicks", "likes", "comments", "shares")},
            asks=lambda config: (
                *(f"organic_metrics.{name}" for name in UNPAID), *(f"public_metrics.{name}" for name in PUBLIC),
            ),
            to_date=True, of_now=True,
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "X_API_KEY": "your app's (console.x.com), with credits and the callback URL http://127.0.0.1:8766/callback",
        "X_API_SECRET": "its secret",
        "X_ACCESS_TOKEN": "by `b2b connect x`, as the account itself: it does not end",
        "X_ACCESS_TOKEN_SECRET": "its secret",
    },
    authorization=authorization,
)  # fmt: skip
