"""Content and press: how often our posts were shown, what people did with them, and who wrote about us."""

from __future__ import annotations

from sqlalchemy import ColumnElement

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import CONTENT, MENTIONS
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Leg, Measure, Metric, one
from b2b_pipeline.warehouse.tables import content_daily, pr_mention

_AT, _PR = content_daily.c, pr_mention.c
_INTERACTIONS = _AT.likes + _AT.comments + _AT.shares
_PARTS = ("likes", "comments", "shares")
_BOTH = _AT.impressions.is_not(None) & _INTERACTIONS.is_not(None)


def _content(
    name: str, description: str, value: ColumnElement[int], facts: tuple[str, ...],
    where: ColumnElement[bool] | None = None,
) -> Measure:  # fmt: skip
    needs = tuple(Need("content_daily", (fact,)) for fact in facts)
    return Measure(name, description, (Leg(CONTENT, _AT.date_day, value, where, needs=needs),))


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
        _content("content_impressions", "times a post was shown", _AT.impressions, ("impressions",)),
        _content("content_clicks", "clicks on posts", _AT.clicks, ("clicks",)),
        _content("content_video_views", "views of videos", _AT.video_views, ("video_views",)),
        _content("content_interactions", "likes, comments and shares of posts", _INTERACTIONS, _PARTS),
        _content(
            "content_rated_interactions", "interactions where impressions are told, too", _INTERACTIONS,
            ("impressions", *_PARTS), _BOTH,
        ),
        _content(
            "content_rated_impressions", "impressions where interactions are told, too", _AT.impressions,
            ("impressions", *_PARTS), _BOTH,
        ),
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
