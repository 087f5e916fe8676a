"""Content and press: how often our posts were shown, what people did with them, and who wrote about us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Date, case, cast, literal

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import BEFORE, CONTENT, MENTIONS, TO_DATE
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Leg, Measure, Metric, one
from b2b_pipeline.warehouse.dialects import days_between
from b2b_pipeline.warehouse.tables import content_daily, pr_mention

_AT, _PR = content_daily.c, pr_mention.c
_PARTS = ("likes", "comments", "shares")
_ALL = ("impressions", *_PARTS)


def _of_day(name: str) -> ColumnElement[Any]:
    return _AT[name]


def _added(name: str) -> ColumnElement[Any]:
    """What came to a count to date since the day before. Where nobody asked on that day it is unknown, but of a post
    that is no older than that."""
    is_new = days_between(cast(_AT.published_at, Date), _AT.date_day) <= literal(1)
    return _AT[name] - case((BEFORE.c.post_id.is_not(None), BEFORE.c[name]), (is_new, literal(0)))


def _sum(names: tuple[str, ...], of: Callable[[str], ColumnElement[Any]]) -> ColumnElement[Any]:
    found = of(names[0])
    for name in names[1:]:
        found = found + of(name)
    return found


def _content(name: str, description: str, summed: tuple[str, ...], known: tuple[str, ...] = ()) -> Measure:
    """The sum of some counts, where these and what else is to be `known` are told."""
    needs = tuple(Need("content_daily", (fact,)) for fact in dict.fromkeys((*known, *summed)))
    return Measure(name, description, tuple(
        Leg(
            dataset, _AT.date_day, _sum(summed, of), _sum(known, of).is_not(None) if known else None, needs=needs,
        ) for dataset, of in ((CONTENT, _of_day), (TO_DATE, _added))
    ))  # fmt: skip


def _press(name: str, description: str, value: ColumnElement[int], *facts: str) -> Measure:
    needs = (Need("pr_mention"), *(Need("pr_mention", (fact,)) for fact in facts))
    return Measure(name, description, (Leg(MENTIONS, _PR.date_day, value, needs=needs),))


def _count(name: str, formula: str) -> Metric:
    return Metric(name, formula, "count", Linear({name: 1}), "awareness", tier="diagnostic")


FAMILY = Family(
    name="content",
    title="Content and press",
    description="Our own posts, unpaid, by the network's day; mentions by the day they were published.",
    headline="content_impressions",
    components=(
        _content("content_impressions", "times a post was shown", ("impressions",)),
        _content("content_clicks", "clicks on posts", ("clicks",)),
        _content("content_video_views", "views of videos", ("video_views",)),
        _content("content_interactions", "likes, comments and shares of posts", _PARTS),
        _content("content_rated_interactions", "interactions where impressions are told, too", _PARTS, _ALL),
        _content("content_rated_impressions", "impressions where interactions are told, too", ("impressions",), _ALL),
        _press("pr_mentions", "mentions on the day they were published", one()),
        _press(
            "pr_estimated_reach", "what a monitor thinks that mentions reached, each on its own", _PR.estimated_reach,
            "estimated_reach",
        ),
    ),
    metrics=(
        Metric(
            "content_impressions", "times a post was shown", "count", Linear({"content_impressions": 1}), "awareness"
        ),
        _count("content_clicks", "clicks on posts"),
        _count("content_video_views", "views of videos"),
        _count("content_interactions", "likes + comments + shares of posts"),
        Metric(
            "content_engagement_rate", "interactions / impressions of posts (not: of reach, or of followers)", "rate",
            Linear({"content_rated_interactions": 1}, over={"content_rated_impressions": 1}), "awareness",
            example=({"content_rated_interactions": "12", "content_rated_impressions": "480"}, "0.025"),
        ),
        Metric("pr_mentions", "mentions of us by others", "count", Linear({"pr_mentions": 1}), "awareness"),
        _count("pr_estimated_reach", "sum of the estimated reach of mentions: who read two counts twice"),
    ),
)  # fmt: skip
