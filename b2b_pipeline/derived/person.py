"""`person`: who is a lead, and when and from where they first became one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, Select, Table, and_, case, cast, false, func, or_, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.base import Derived, Row, Trace, first_by, text_order
from b2b_pipeline.derived.campaigns import NAMED
from b2b_pipeline.derived.records import (
    counting_leads,
    first_touches,
    person_touches,
    prepared_from,
    rows_of,
)
from b2b_pipeline.warehouse.tables import identity_cluster, lead, person, stage_event, touchpoint


def persons(config: Config, named: Table) -> Select[Any]:
    """Rows of `person`."""
    leads = counting_leads()
    first_lead = first_by(
        select(leads), leads.c.person_key, leads.c.created_at, text_order(leads.c.record_key), name="first_lead"
    )
    first_touch = first_touches(person_touches(), named)
    domains = [domain.lower() for domain in config.exclude.email_domains]
    out = or_(leads.c.excluded_by.is_not(None), leads.c.email_domain.in_(domains) if domains else false())
    excluded = (
        select(leads.c.person_key, func.max(case((out, 1), else_=0)).label("is_excluded"))
        .group_by(leads.c.person_key)
        .cte("excluded")
    )
    return (
        select(
            first_lead.c.person_key, first_lead.c.date_day, first_touch.c.channel, first_touch.c.campaign_id,
            first_touch.c.touch_id.label("first_touch_id"),
            first_lead.c.owner, first_lead.c.country, first_lead.c.region,
            cast(excluded.c.is_excluded == 1, Boolean).label("is_excluded"),
            first_lead.c.source_original.label("lead_source"), first_lead.c.status, first_lead.c.company,
            first_lead.c.capture_type, first_lead.c.dimensions,
        )
        .outerjoin(first_touch, first_touch.c.person_key == first_lead.c.person_key)
        .join(excluded, excluded.c.person_key == first_lead.c.person_key)
    )  # fmt: skip


def stages_of(keys: list[str]) -> ColumnElement[bool]:
    """Which stage events are of lead records of these persons."""
    stage = stage_event.c
    theirs = select(1).where(_records_of(keys), lead.c.source == stage.source, lead.c.lead_id == stage.object_id)
    return and_(stage.object == "lead", theirs.exists())


def of_persons(keys: list[str]) -> Trace:
    """The lead records of persons, and the first touches, by which they have their channel."""
    yield lead, _records_of(keys)
    first = select(person.c.first_touch_id).where(person.c.person_key.in_(keys))
    yield touchpoint, touchpoint.c.touch_id.in_(first)


def _records_of(keys: list[str]) -> ColumnElement[bool]:
    records = select(identity_cluster.c.record_key).where(identity_cluster.c.person_key.in_(keys))
    return lead.c.record_key.in_(records)


def _trace(config: Config, rows: list[Row]) -> Trace:
    return of_persons([row["person_key"] for row in rows])


PERSON = Derived(person, rows_of(persons), lambda config: [persons(config, NAMED)], prepared_from, _trace)
