"""`person`: who is a lead, when and from where they first became one, and how far they came."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Select, Table, and_, case, cast, false, func, or_, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.base import Derived, Row, Trace, first_by, text_order
from b2b_pipeline.derived.campaigns import NAMED
from b2b_pipeline.derived.gone import deleted
from b2b_pipeline.derived.records import (
    counting_leads,
    counting_opportunities,
    first_touches,
    opportunity_persons,
    person_touches,
    prepared_from,
    rows_of,
)
from b2b_pipeline.warehouse.tables import deal, identity_cluster, lead, opportunity, person, stage_event, touchpoint


def persons(config: Config, named: Table) -> Select[Any]:
    """Rows of `person`."""
    leads, touches = counting_leads(), person_touches(named)
    first_lead = first_by(
        select(leads), leads.c.person_key, leads.c.created_at, text_order(leads.c.record_key), name="first_lead"
    )
    first_touch = first_touches(touches)
    domains = [domain.lower() for domain in config.exclude.email_domains]
    out = or_(leads.c.excluded_by.is_not(None), leads.c.email_domain.in_(domains) if domains else false())
    excluded = (
        select(leads.c.person_key, func.max(case((out, 1), else_=0)).label("is_excluded"))
        .group_by(leads.c.person_key)
        .cte("excluded")
    )
    rank = case(
        {stage: position for position, stage in enumerate(config.stages.order)}, value=stage_event.c.to_stage, else_=-1
    )
    stages = (
        select(
            leads.c.person_key,
            *(
                func.min(case((stage_event.c.to_stage == stage, stage_event.c.date_day))).label(f"{stage}_day")
                for stage in ("mql", "sql")
            ),
            cast(func.max(rank), BigInteger).label("stage_rank"),
        )
        .join(
            leads,
            and_(
                stage_event.c.object == "lead",
                stage_event.c.source == leads.c.source,
                stage_event.c.object_id == leads.c.lead_id,
            ),
        )
        .where(~deleted(stage_event))
        .group_by(leads.c.person_key)
        .cte("stages")
    )
    owners, standing = opportunity_persons(config), counting_opportunities(config)
    deals = (
        select(owners.c.person_key, func.max(case((standing.c.is_won, 1), else_=0)).label("won"))
        .join(standing, standing.c.opp_id == owners.c.opp_id)
        .group_by(owners.c.person_key)
        .cte("person_deals")
    )
    return (
        select(
            first_lead.c.person_key, first_lead.c.date_day, first_touch.c.channel, first_touch.c.campaign_id,
            first_touch.c.touch_id.label("first_touch_id"),
            first_lead.c.owner, first_lead.c.country, first_lead.c.region,
            stages.c.mql_day, stages.c.sql_day, func.coalesce(stages.c.stage_rank, -1).label("stage_rank"),
            deals.c.person_key.is_not(None).label("has_opportunity"),
            (func.coalesce(deals.c.won, 0) == 1).label("has_won"),
            cast(excluded.c.is_excluded == 1, Boolean).label("is_excluded"),
            first_lead.c.source_original.label("lead_source"), first_lead.c.status, first_lead.c.company,
            first_lead.c.capture_type, first_lead.c.dimensions,
        )
        .outerjoin(first_touch, first_touch.c.person_key == first_lead.c.person_key)
        .outerjoin(stages, stages.c.person_key == first_lead.c.person_key)
        .outerjoin(deals, deals.c.person_key == first_lead.c.person_key)
        .join(excluded, excluded.c.person_key == first_lead.c.person_key)
    )  # fmt: skip


def _trace(config: Config, rows: list[Row]) -> Trace:
    """A person: their lead records, stages, first touch, and the opportunities of their deals."""
    keys, stage = [row["person_key"] for row in rows], stage_event.c
    records = select(identity_cluster.c.record_key).where(identity_cluster.c.person_key.in_(keys))
    theirs = lead.c.record_key.in_(records)
    yield lead, theirs
    leads = select(1).where(theirs, lead.c.source == stage.source, lead.c.lead_id == stage.object_id)
    yield stage_event, and_(stage.object == "lead", leads.exists())
    touches = [row["first_touch_id"] for row in rows if row["first_touch_id"]]
    yield touchpoint, touchpoint.c.touch_id.in_(touches)
    if any(row["has_opportunity"] for row in rows):
        opps = select(deal.c.opp_id).where(deal.c.person_key.in_(keys))
        yield opportunity, and_(opportunity.c.source == config.system_of_record, opportunity.c.opp_id.in_(opps))


PERSON = Derived(person, rows_of(persons), lambda config: [persons(config, NAMED)], prepared_from, _trace)
