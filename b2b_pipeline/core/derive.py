"""The derived tables: identity_cluster, person, deal and email_recipient, each one query over the core tables.

They are recomputed whole and only rows that differ are written, so nothing has to know what depends on what: a merge,
a backdated stage or a late touch changes exactly what it changes. Definitions: docs/semantics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
)

from b2b_pipeline.config import Config
from b2b_pipeline.core.campaigns import NAMED, named_campaigns
from b2b_pipeline.core.gone import GONE, deleted, gone, is_gone, is_merged
from b2b_pipeline.core.identity import clusters
from b2b_pipeline.core.made_of import Loads
from b2b_pipeline.warehouse.bulk import stage
from b2b_pipeline.warehouse.dialects import days_between, minus_days
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import (
    deal,
    email_event,
    email_recipient,
    identity_cluster,
    identity_link,
    lead,
    opp_contact_role,
    opportunity,
    person,
    stage_event,
    touchpoint,
)
from b2b_pipeline.warehouse.write import read_whole, serialise, synchronise

LOOK_BACK_DAYS = 365


def derive_table(warehouse: Warehouse, config: Config, table: Table) -> set[date | None]:
    """Bring one derived table up to date with the core tables. Returns the days of the rows that changed."""
    with warehouse.write() as connection:
        serialise(connection, table.name)
        Loads(connection, config).note(connection, table.name)
        read_whole(connection)
        if table is identity_cluster:
            _derive_clusters(connection, config)
            return set()
        with (
            stage(connection, NAMED, named_campaigns(connection)) as named,
            gone(connection, config),
        ):
            return synchronise(connection, table, QUERIES[table.name](config, named), tell=["date_day"]).days()


def _derive_clusters(connection: Connection, config: Config) -> None:
    shared = config.identity.shared_keys
    links = connection.execute(
        select(identity_link.c.from_key, identity_link.c.to_key).where(
            ~deleted(identity_link), identity_link.c.to_key.not_in(shared) if shared else true()
        )
    ).all()
    records = connection.execute(select(lead.c.record_key)).scalars().all()
    with stage(connection, identity_cluster, clusters((tuple(link) for link in links), records)) as incoming:
        synchronise(connection, identity_cluster, select(incoming))


def text_order(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Text by its code points, whatever the collation of the database."""
    return column.collate("C")


def first_by(query: Select[Any], partition: ColumnElement[Any], *order: ColumnElement[Any], name: str) -> CTE:
    """The first row of each partition; `order` must end in something unique, text in `text_order`."""
    position = func.row_number().over(partition_by=partition, order_by=order).label("position")
    ranked = query.add_columns(position).subquery()
    return select(ranked).where(ranked.c.position == 1).cte(name)


def counting_leads() -> CTE:
    """Lead records that count (not deleted, gone or merged away), with their person."""
    return (
        select(lead, identity_cluster.c.person_key)
        .join(identity_cluster, identity_cluster.c.record_key == lead.c.record_key)
        .where(
            ~deleted(lead),
            ~is_gone(lead.c.source, lead.c.lead_id, "lead"),
            lead.c.merged_into.is_(None),
            ~is_merged(lead.c.record_key),
        )
        .cte("counting_lead")
    )


def person_touches(named: Table) -> CTE:
    """Every touch that stands, with its person and the id of its campaign; `named`: see core/campaigns.py.

    A touch of a record that nobody has belongs to that record's key.
    """
    touch = touchpoint.c
    return (
        select(
            touch.touch_id, touch.touched_at, touch.date_day, touch.channel,
            func.coalesce(named.c.campaign_id, touch.campaign_id).label("campaign_id"),
            func.coalesce(identity_cluster.c.person_key, touch.record_key).label("person_key"),
        )
        .outerjoin(identity_cluster, identity_cluster.c.record_key == touch.record_key)
        .outerjoin(named, named.c.name == touch.campaign_id)
        .where(~deleted(touchpoint), ~is_gone(touch.source, touch.source_id, "campaign_member"))
        .cte("person_touch")
    )  # fmt: skip


def first_touches(touches: CTE) -> CTE:
    return first_by(
        select(touches), touches.c.person_key, touches.c.touched_at, text_order(touches.c.touch_id), name="first_touch"
    )


def counting_opportunities(config: Config) -> CTE:
    """Opportunities of the system of record that stand and are not of an excluded type.

    One whose account is gone has none.
    """
    excluded, at = config.exclude.opportunity_types, opportunity.c
    others = [column for column in at if column.name != "account_id"]
    lost = GONE.alias("lost_account")
    return (
        select(*others, case((lost.c.object_id.is_(None), at.account_id)).label("account_id"))
        .outerjoin(
            lost,
            and_(lost.c.source == at.source, lost.c.object == "account", lost.c.object_id == at.account_id),
        )
        .where(
            at.source == config.system_of_record,
            ~deleted(opportunity),
            ~is_gone(at.source, at.opp_id, "opportunity"),
            func.coalesce(at.opp_type, "").not_in(excluded) if excluded else true(),
        )
        .cte("counting_opportunity")
    )


def opportunity_persons(config: Config) -> CTE:
    """Opportunity -> person: the lead that converted into it, else its primary contact, else its first contact.

    A role that has no id of its own came with its opportunity, and is gone when a newer version comes without it. One
    of a contact that is archived or gone says nothing, unless the contact lives on in another.
    """
    source = config.system_of_record
    converted = select(
        lead.c.converted_opp_id.label("opp_id"), lead.c.record_key, literal(0).label("priority"),
        lead.c.converted_at.label("at"), lead.c.lead_id.label("tie"),
    ).where(lead.c.source == source, lead.c.converted_opp_id.is_not(None), ~deleted(lead),
            ~is_gone(lead.c.source, lead.c.lead_id, "lead"))  # fmt: skip
    named = select(
        opportunity.c.opp_id, literal(f"{source}:lead:").concat(opportunity.c.lead_id).label("record_key"),
        literal(0).label("priority"), opportunity.c.created_at.label("at"), opportunity.c.lead_id.label("tie"),
    ).where(opportunity.c.source == source, opportunity.c.lead_id.is_not(None))  # fmt: skip
    role = opp_contact_role
    came_with = exists(
        select(1).where(
            opportunity.c.source == source, opportunity.c.opp_id == role.c.opp_id,
            opportunity.c.updated_at == role.c.updated_at,
        )
    )  # fmt: skip
    has_own_id = role.c.role_id != role.c.opp_id.concat(":").concat(role.c.contact_id)
    contact_key = literal(f"{source}:contact:").concat(role.c.contact_id)
    archived = exists(select(1).where(lead.c.record_key == contact_key, deleted(lead), ~is_merged(lead.c.record_key)))
    contacts = select(
        role.c.opp_id, contact_key.label("record_key"),
        case((func.coalesce(role.c.is_primary, false()), 1), else_=2).label("priority"),
        role.c.created_at.label("at"), role.c.role_id.label("tie"),
    ).where(role.c.source == source, ~deleted(role), has_own_id | came_with, ~archived,
            ~is_gone(role.c.source, role.c.role_id, "opp_contact_role"),
            ~is_gone(role.c.source, role.c.contact_id, "contact", "lead"))  # fmt: skip
    candidates = union_all(converted, named, contacts).subquery()
    # A record that nobody has is a person of its own, after those that are known: its touches are found by its key.
    inner = (
        select(
            candidates.c.opp_id,
            func.coalesce(identity_cluster.c.person_key, candidates.c.record_key).label("person_key"),
            case((identity_cluster.c.person_key.is_(None), 1), else_=0).label("is_strange"),
            candidates.c.priority, candidates.c.at, candidates.c.tie,
        )
        .outerjoin(identity_cluster, identity_cluster.c.record_key == candidates.c.record_key)
        .subquery()
    )  # fmt: skip
    return first_by(
        select(inner.c.opp_id, inner.c.person_key),
        inner.c.opp_id,
        inner.c.is_strange,
        inner.c.priority,
        inner.c.at,
        text_order(inner.c.tie),
        name="opportunity_person",
    )


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


def email_recipients(config: Config, named: Table) -> Select[Any]:
    """Rows of `email_recipient`; opens and clicks of machines are left out."""
    event = email_event.c
    keys = (event.source, event.send_id, event.recipient_hash, event.event_type)
    by_machine = func.coalesce(event.is_machine, false()) & event.event_type.in_(("open", "click"))
    return (
        select(*keys, func.min(text_order(event.campaign_id)), func.min(event.date_day))
        .where(~by_machine)
        .group_by(*keys)
    )


QUERIES: dict[str, Callable[[Config, Table], Select[Any]]] = {
    person.name: persons, deal.name: deals, email_recipient.name: email_recipients,
}  # fmt: skip
