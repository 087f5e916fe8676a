"""`deal`: an opportunity that counts, whose it is, what brought it, and the touches that a won one is credited to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, Table, and_, case, false, func, null, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.base import Derived, Row, Trace, first_by, text_order
from b2b_pipeline.derived.campaigns import NAMED
from b2b_pipeline.derived.records import (
    counting_opportunities,
    first_touches,
    opportunity_persons,
    person_touches,
    prepared_from,
    rows_of,
)
from b2b_pipeline.warehouse.dialects import days_between, minus_days
from b2b_pipeline.warehouse.tables import deal, lead, opp_contact_role, opportunity, touchpoint

LOOK_BACK_DAYS = 365


def deals(config: Config, named: Table) -> Select[Any]:
    """Rows of `deal`."""
    standing, owners, touches = counting_opportunities(config), opportunity_persons(config), person_touches(named)
    channel = first_touches(touches)
    won, closed = func.coalesce(standing.c.is_won, false()), func.coalesce(standing.c.is_closed, false())
    seen = (
        select(standing.c.opp_id, touches.c.touch_id, touches.c.touched_at, touches.c.channel, touches.c.campaign_id)
        .join(owners, owners.c.opp_id == standing.c.opp_id)
        .join(touches, touches.c.person_key == owners.c.person_key)
        .where(
            touches.c.date_day.between(minus_days(standing.c.close_date, LOOK_BACK_DAYS), standing.c.close_date), won
        )
        .cte("seen")
    )
    first = first_by(select(seen), seen.c.opp_id, seen.c.touched_at, text_order(seen.c.touch_id), name="first_seen")
    last = first_by(
        select(seen), seen.c.opp_id, seen.c.touched_at.desc(), text_order(seen.c.touch_id).desc(), name="last_seen"
    )
    customers = select(standing.c.opp_id, standing.c.account_id, standing.c.close_date).where(
        won, standing.c.account_id.is_not(None)
    )
    rows = customers.subquery()
    new = first_by(
        select(rows.c.opp_id), rows.c.account_id, rows.c.close_date, text_order(rows.c.opp_id), name="new_customer"
    )
    campaign_id = func.coalesce(named.c.campaign_id, standing.c.campaign_id, channel.c.campaign_id)
    cycle = days_between(standing.c.date_day, standing.c.close_date)
    return (
        select(
            standing.c.source, standing.c.opp_id, owners.c.person_key, standing.c.date_day, standing.c.close_date,
            channel.c.channel, campaign_id.label("campaign_id"),
            standing.c.account_id, standing.c.opp_type, standing.c.stage, standing.c.owner, standing.c.product,
            standing.c.region, standing.c.currency, standing.c.amount_reporting,
            won.label("is_won"), and_(closed, ~won).label("is_lost"),
            new.c.opp_id.is_not(None).label("is_new_customer"), case((won, cycle), else_=null()).label("cycle_days"),
            first.c.touch_id, first.c.channel, first.c.campaign_id, last.c.touch_id, last.c.channel, last.c.campaign_id,
            standing.c.dimensions,
        )
        .outerjoin(owners, owners.c.opp_id == standing.c.opp_id)
        .outerjoin(named, named.c.name == standing.c.campaign_id)
        .outerjoin(channel, channel.c.person_key == owners.c.person_key)
        .outerjoin(first, first.c.opp_id == standing.c.opp_id)
        .outerjoin(last, last.c.opp_id == standing.c.opp_id)
        .outerjoin(new, new.c.opp_id == standing.c.opp_id)
    )  # fmt: skip


def _trace(config: Config, rows: list[Row]) -> Trace:
    """A deal: its opportunity, the records that tie a person to it, and its first and last touch."""
    opps = [row["opp_id"] for row in rows]
    ties = {opportunity: "opp_id", lead: "converted_opp_id", opp_contact_role: "opp_id"}
    for table, column in ties.items():
        yield table, and_(table.c.source == config.system_of_record, table.c[column].in_(opps))
    touches = {row[name] for row in rows for name in ("first_touch_id", "last_touch_id") if row[name]}
    yield touchpoint, touchpoint.c.touch_id.in_(sorted(touches))


DEAL = Derived(deal, rows_of(deals), lambda config: [deals(config, NAMED)], prepared_from, _trace)
