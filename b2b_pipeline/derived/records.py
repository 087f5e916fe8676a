"""What the derived tables share: which records count, whose they are, and the touches of a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.sql.elements import ClauseElement

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.base import first_by, text_order
from b2b_pipeline.derived.campaigns import NAMED, named_campaigns
from b2b_pipeline.derived.gone import GONE, deleted, gone, gone_records, is_gone, is_merged
from b2b_pipeline.warehouse.bulk import stage
from b2b_pipeline.warehouse.tables import (
    campaign,
    identity_cluster,
    lead,
    opp_contact_role,
    opportunity,
    touchpoint,
)


@contextmanager
def prepared(connection: Connection, config: Config) -> Iterator[Table]:
    """NAMED, and GONE beside it: what the queries here take."""
    with stage(connection, NAMED, named_campaigns(connection)) as named, gone(connection, config):
        yield named


def rows_of(
    query: Callable[[Config, Table], Select[Any]],
) -> Callable[[Connection, Config], AbstractContextManager[Select[Any]]]:
    """`Derived.rows` of a query that takes NAMED and GONE."""

    @contextmanager
    def rows(connection: Connection, config: Config) -> Iterator[Select[Any]]:
        with prepared(connection, config) as named:
            yield query(config, named)

    return rows


def prepared_from(config: Config) -> list[ClauseElement]:
    return [select(campaign), gone_records(config)]


def counting_leads() -> CTE:
    """Lead records that count (not deleted, gone or merged away), with their person."""
    return (
        select(lead, identity_cluster.c.person_key)
        .join(identity_cluster, identity_cluster.c.record_key == lead.c.record_key)
        .where(
            ~deleted(lead),
            ~is_gone(lead.c.source, lead.c.lead_id, "lead", "registrant"),
            lead.c.merged_into.is_(None),
            ~is_merged(lead.c.record_key),
        )
        .cte("counting_lead")
    )


def person_touches() -> CTE:
    """Every touch that stands, with its person. A touch of a record that nobody has belongs to that record's key."""
    record_key = touchpoint.c.record_key
    return (
        _touches(func.coalesce(identity_cluster.c.person_key, record_key))
        .outerjoin(identity_cluster, identity_cluster.c.record_key == record_key)
        .cte("person_touch")
    )


def touches_of(persons: Select[Any]) -> CTE:
    """Those of them that are of `persons`, a query of person keys. Most are of others, and need no person."""
    who, known = persons.cte("who"), identity_cluster.c
    theirs = select(known.record_key, known.person_key).where(known.person_key.in_(select(who)))
    nobodys = select(who.c[0], who.c[0]).where(~exists(select(1).where(known.record_key == who.c[0]))).distinct()
    records = union_all(theirs, nobodys).cte("their_record")
    return (
        _touches(records.c.person_key)
        .join(records, records.c.record_key == touchpoint.c.record_key)
        .cte("person_touch")
    )


def _touches(person_key: ColumnElement[str]) -> Select[Any]:
    touch = touchpoint.c
    return (
        select(
            touch.touch_id, touch.touched_at, touch.date_day, touch.channel, touch.campaign_id,
            person_key.label("person_key"),
        )
        .select_from(touchpoint)
        .where(~deleted(touchpoint), ~is_gone(touch.source, touch.source_id, "campaign_member", "registrant"))
    )  # fmt: skip


def first_touches(touches: CTE, named: Table) -> CTE:
    """The first touch of each person, by its campaign's id. Of the earliest moment first: few are left to be sorted."""
    moment = func.min(touches.c.touched_at).label("moment")
    earliest = select(touches.c.person_key, moment).group_by(touches.c.person_key).subquery("earliest")
    is_earliest = and_(earliest.c.person_key == touches.c.person_key, earliest.c.moment == touches.c.touched_at)
    at_once = select(touches).join(earliest, is_earliest)
    first = first_by(at_once, touches.c.person_key, text_order(touches.c.touch_id), name="first_seen")
    return by_campaign(first, named).cte("first_touch")


def by_campaign(touches: CTE, named: Table) -> Select[Any]:
    """Touches with the id of their campaign, where they have its name; `named`: see derived/campaigns.py."""
    others = [column for column in touches.c if column.name != "campaign_id"]
    campaign_id = func.coalesce(named.c.campaign_id, touches.c.campaign_id).label("campaign_id")
    return select(*others, campaign_id).outerjoin(named, named.c.name == touches.c.campaign_id)


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
