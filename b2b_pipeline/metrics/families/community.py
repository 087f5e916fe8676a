"""Community: who is in our forums, and what they do there; who follows us. A person in two forums is in both."""

from __future__ import annotations

from sqlalchemy import ColumnElement

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import COMMUNITIES, FOLLOWED
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Aggregate, Family, Leg, Measure, Metric, Term
from b2b_pipeline.metrics.when import Last
from b2b_pipeline.warehouse.tables import community_daily

_AT = community_daily.c
_BOTH = _AT.members.is_not(None) & _AT.active_members.is_not(None)


def _measure(
    name: str, description: str, column: str, where: ColumnElement[bool] | None = None, needs: tuple[str, ...] = (),
    aggregate: Aggregate = Aggregate.SUM,
) -> Measure:  # fmt: skip
    given = tuple(Need("community_daily", (fact,)) for fact in needs or (column,))
    leg = Leg(COMMUNITIES, _AT.date_day, _AT[column], where, needs=given, level="forum")
    return Measure(name, description, (leg,), aggregate=aggregate)


def _count(name: str, formula: str) -> Metric:
    return Metric(name, formula, "count", Linear({name: 1}), "awareness", tier="diagnostic")


_OF_BOTH = ("members", "active_members")

FAMILY = Family(
    name="community",
    title="Community",
    description="Members of forums and what they do, by the community's own day; followers on social networks.",
    headline="community_members",
    components=(
        _measure(
            "community_members", "members at the end of the day, as the community knows them today", "members",
            aggregate=Aggregate.STATE,
        ),
        _measure("community_new_members", "who became a member on the day", "new_members"),
        _measure("community_topics", "topics begun", "topics"),
        _measure("community_posts", "posts, those that began a topic among them", "posts"),
        _measure("community_likes", "likes given", "likes"),
        _measure(
            "community_active_days", "members who were active on the day, once for each day", "active_members", _BOTH,
            _OF_BOTH,
        ),
        _measure(
            "community_member_days", "members at the end of the day, once for each day", "members", _BOTH, _OF_BOTH
        ),
        Measure("social_followers", "followers of our accounts at the end of the day", (Leg(
            FOLLOWED, _AT.date_day, _AT.members, needs=(Need("community_daily", ("followers",)),), level="account",
        ),), aggregate=Aggregate.STATE),
    ),
    metrics=(
        Metric(
            "community_members", "members at the end of the period", "count",
            Linear({Term("community_members", when=Last()): 1}), "awareness",
        ),
        _count("community_new_members", "who became a member in the period"),
        _count("community_topics", "topics begun"),
        _count("community_posts", "posts"),
        _count("community_likes", "likes"),
        Metric(
            "community_active_share",
            "members active on a day / members at its end; of several days, the mean weighted by members", "rate",
            Linear({"community_active_days": 1}, over={"community_member_days": 1}), "awareness",
            example=({"community_active_days": "12", "community_member_days": "480"}, "0.025"),
        ),
        Metric(
            "social_followers", "followers of our accounts on a network at the end of the period", "count",
            Linear({Term("social_followers", when=Last()): 1}), "awareness",
        ),
    ),
)  # fmt: skip
