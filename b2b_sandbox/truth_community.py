"""What counts of communities, by docs/semantics.md: whoever is there now, by the days of UTC on which it happened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from zoneinfo import ZoneInfo

from b2b_sandbox import linkedin_pages, x
from b2b_sandbox.discourse import forum_at
from b2b_sandbox.generate_base import DAY
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_metrics import Metric, metric
from b2b_sandbox.world import World

CONTENT = ("content_impressions", "content_clicks", "content_interactions", "content_engagement_rate")
FORUM = (
    "community_members",
    "community_new_members",
    "community_topics",
    "community_posts",
    "community_likes",
    "community_active_share",
)
METRICS: dict[str, Metric] = {
    "community_members": metric("count", "community_members", is_level=True),
    **{name: metric("count", name) for name in (
        "community_new_members", "community_topics", "community_posts", "community_likes",
    )},
    "community_active_share": metric("rate", "community_active_days", "community_member_days"),
    **{name: metric("count", name) for name in (
        "content_impressions", "content_clicks", "content_interactions", "content_video_views", "pr_mentions",
        "pr_estimated_reach",
    )},
    "social_followers": metric("count", "social_followers", is_level=True),
    "content_engagement_rate": metric("rate", "content_interactions", "content_impressions"),
}  # fmt: skip


def forum_facts(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    forum, one = forum_at(connection, now), Decimal(1)
    joined = sorted(_day(at) for at in forum.signups.values())
    for day in joined:
        yield Fact("community_members", day, None, one)
        yield Fact("community_new_members", day, None, one)
    for name in ("topics", "posts", "likes"):
        for _, at in getattr(forum, name):
            yield Fact(f"community_{name}", _day(at), None, one)
    for who, day in {(who, _day(at)) for who, at in (*forum.topics, *forum.posts, *forum.likes)}:
        yield Fact("community_active_days", day, None, one, who=f"{who} {day}")
    day = joined[0] if joined else _day(now)
    while day <= _day(now):
        yield Fact("community_member_days", day, None, Decimal(sum(at <= day for at in joined)))
        day += timedelta(days=1)


def page_facts(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    """Of the days of two months: what they are told to be now."""
    of = {"content_impressions": ("impressionCount",), "content_clicks": ("clickCount",),
          "content_interactions": ("likeCount", "commentCount", "shareCount")}  # fmt: skip
    for page in linkedin_pages.OURS:
        for day in (_day(now) - timedelta(days=n) for n in range(1, 62)):
            told = linkedin_pages.counts(page, day, now)
            for component, names in of.items():
                yield Fact(component, day, None, Decimal(sum(told[name] for name in names)))
        yield from _followers(partial(linkedin_pages.followers, page), _last_days(now, zone), zone)


def x_facts(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    """Of the days of two months, asked at the end of each: followers, and what was added to the counts of a post in
    its first 29 days, from one end of a day to the next. What was there before is of the day before them all."""
    days = _last_days(now, zone)
    yield from _followers(x.followers, days, zone)
    for day in days[1:]:
        end, start = _end(day, zone), _end(day - timedelta(days=1), zone)
        for at in x.posted(end):
            if at > end - 29 * DAY:
                then, earlier = ({**x.counts(at, moment), "quotes": x.quotes(at, moment)} for moment in (end, start))
                for component, names in OF_POSTS.items():
                    added = sum(then[name] - (earlier[name] if at < start else 0) for name in names)
                    yield Fact(component, day, None, Decimal(added))


OF_POSTS = {
    "content_impressions": ("impression_count",), "content_clicks": ("url_link_clicks",),
    "content_interactions": ("like_count", "reply_count", "retweet_count", "quotes"),
}  # fmt: skip


def _followers(of: Callable[[int], int], days: list[date], zone: ZoneInfo) -> Iterator[Fact]:
    before = 0
    for day in days:
        now = of(_end(day, zone))
        yield Fact("social_followers", day, None, Decimal(now - before))
        before = now


def _last_days(now: int, zone: ZoneInfo) -> list[date]:
    last = datetime.fromtimestamp(now / 1000, UTC).astimezone(zone).date() - timedelta(days=1)
    return [last - timedelta(days=n) for n in range(61, -1, -1)]


def _end(day: date, zone: ZoneInfo) -> int:
    return int(datetime.combine(day + timedelta(days=1), time(), zone).timestamp() * 1000)


def _day(at: int) -> date:
    return datetime.fromtimestamp(at / 1000, UTC).date()
