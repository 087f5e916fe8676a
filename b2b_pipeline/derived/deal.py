"""`deal`: an opportunity that counts, whose it is and what brought it."""

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
    prepared_from,
    rows_of,
    touches_of,
)
from b2b_pipeline.warehouse.dialects import days_between
from b2b_pipeline.warehouse.tables import deal, lead, opp_contact_role, opportunity


def deals(config: Config, named: Table) -> Select[Any]:
    """Rows of `deal`."""
    standing, owners = counting_opportunities(config), opportunity_persons(config)
    channel = first_touches(touches_of(select(owners.c.person_key)), named)
    won, closed = func.coalesce(standing.c.is_won, false()), func.coalesce(standing.c.is_closed, false())
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
            standing.c.dimensions,
        )
        .outerjoin(owners, owners.c.opp_id == standing.c.opp_id)
        .outerjoin(named, named.c.name == standing.c.campaign_id)
        .outerjoin(channel, channel.c.person_key == owners.c.person_key)
        .outerjoin(new, new.c.opp_id == standing.c.opp_id)
    )  # fmt: skip


def of_deals(config: Config, opps: list[str]) -> Trace:
    """The opportunities, and the records that tie a person to them."""
    ties = {opportunity: "opp_id", lead: "converted_opp_id", opp_contact_role: "opp_id"}
    for table, column in ties.items():
        yield table, and_(table.c.source == config.system_of_record, table.c[column].in_(opps))


def _trace(config: Config, rows: list[Row]) -> Trace:
    return of_deals(config, [row["opp_id"] for row in rows])


DEAL = Derived(deal, rows_of(deals), lambda config: [deals(config, NAMED)], prepared_from, _trace)
