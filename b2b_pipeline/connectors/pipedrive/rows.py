"""Pipedrive's records as rows of the core tables: frame in, frame out, by docs/semantics.md.

A person is a lead record, `pipedrive:contact:<id>`; their custom fields tell where they came from, if
`sources.pipedrive.fields` names them: `utm_medium`, `utm_campaign`, click ids, by the keys that Pipedrive gave them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.configuration.config import dimension_fields
from b2b_pipeline.connectors.columns import (
    column,
    core_rows,
    decimal_text,
    described,
    email_domain,
    email_links,
    excluded_by,
    host_of,
    local_day,
    meant,
    member,
    stage_entries,
    text,
    touches_of_fields,
    utc,
)

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

STANDARD = {"company": "", "country": "", "region": "", "owner": "owner_id", "status": "", "capture_type": ""}
OF_DEAL = {"opp_type": "pipeline.name", "owner": "owner_id", "product": "", "region": "", "campaign_id": ""}

WON = {"open": False, "won": True, "lost": False, "deleted": False}
CLOSED = {**WON, "lost": True}


def leads(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per person. Pipedrive qualifies and converts deals, not persons, so they have no stage."""
    email = column(records, "emails").map(_primary, na_action="ignore")
    domain = email_domain(email)
    own = domain.where(domain.isin(context.config.exclude.email_domains), None)
    return _rows(
        records, context,
        lead_id=text(records["id"]), record_key=_key(records["id"]),
        email_hash=email, email_domain=domain, **{name: _field(records, context, name) for name in STANDARD},
        lifecycle_stage=None, source_original=None, source_latest=None,
        is_converted=False, is_deleted=_flag(records, "is_deleted"),
        converted_contact_id=None, converted_account_id=None, converted_opp_id=None, converted_at=None,
        merged_into=None, excluded_by=excluded_by(records).fillna(own),
        dimensions=_dimensions(records, context, "lead"),
    )  # fmt: skip


def identity_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per person and address. Who is merged into another leaves their addresses with them, and is gone."""
    ids, updated = records["id"], column(records, "update_time")
    addresses = records["emails"].map(_addresses, na_action="ignore")
    return email_links(records, context, text(ids), _key(ids), addresses, updated)


def touchpoints(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per person whose custom fields tell by which click or medium they came, when they were added."""

    def field(name: str) -> pd.Series:
        return _field(records, context, name)

    ids, stamps = records["id"], (column(records, "add_time"), column(records, "update_time"))
    return touches_of_fields(records, context, text(ids), _key(ids), *stamps, field)


def accounts(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per organization; `domain` is that of its website."""
    return _rows(
        records, context,
        account_id=text(records["id"]), name=column(records, "name"),
        domain=host_of(column(records, "website")),
        industry=None, country=column(records, "address.country"), segment=None,
        is_deleted=_flag(records, "is_deleted"),
    )  # fmt: skip


def opportunities(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per deal; its type is the pipeline that it is in, unless configured. A value of 0 was never entered."""
    status, amount = records["status"], decimal_text(column(records, "value"))
    is_closed, zone = meant(status, CLOSED, "status"), context.config.zone
    closed = local_day(column(records, "close_time"), zone)
    closed = closed.where(is_closed.ne(False), column(records, "expected_close_date"))
    return _rows(
        records, context,
        opp_id=text(records["id"]), close_date=closed, account_id=text(column(records, "org_id")), lead_id=None,
        name=column(records, "title"), stage=column(records, "stage.name"),
        **{name: _field(records, context, name) for name in OF_DEAL},
        amount=amount.where(pd.to_numeric(amount, errors="coerce") != 0, None), currency=column(records, "currency"),
        is_won=meant(status, WON, "status"), is_closed=is_closed,
        is_deleted=_flag(records, "is_deleted") | status.eq("deleted"),
        dimensions=_dimensions(records, context, "opportunity"),
    )  # fmt: skip


def contact_roles(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per deal that has a person."""
    person = text(records["person_id"])
    rows = _rows(
        records, context,
        role_id=text(records["id"]) + ":" + person.astype("string"), opp_id=text(records["id"]), contact_id=person,
        role=None, is_primary=True, is_deleted=_flag(records, "is_deleted"),
    )  # fmt: skip
    return rows[person.notna()]


def deal_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per entry of a deal into a stage: the one that its first change left, and each that a change entered."""
    rows = records.assign(change=column(records, "changes")).explode("change")
    said = {name: member(rows["change"], name) for name in ("field_key", "new_value", "old_value", "time")}
    changes = rows.assign(to=said["new_value"], old=said["old_value"], at=said["time"])
    changes = changes[said["field_key"].eq("stage_id")]
    oldest = changes.sort_values("at", kind="stable")
    first = oldest[~oldest.index.duplicated()]["old"].reindex(records.index)
    begun = records.assign(to=first.fillna(text(column(records, "stage_id"))), old=None, at=column(records, "add_time"))
    every = pd.concat([begun, changes])
    return stage_entries(
        every, context, text(every["id"]), every["at"], every["to"], column(every, "update_time"), object="opportunity",
        vendor_stage=every["to"], from_stage=every["old"],
    )  # fmt: skip


def _rows(records: pd.DataFrame, context: MappingContext, **columns: Any) -> pd.DataFrame:
    added = column(records, "add_time")
    stamps = {"created_at": utc(added), "updated_at": utc(column(records, "update_time"))}
    day = local_day(added, context.config.zone)
    return core_rows(records, context, text(records["id"]), date_day=day, **stamps, **columns)


def path_of(name: str) -> str:
    """Where a record has a field: the custom ones, whose keys are 40 hexadecimal digits, are apart."""
    return f"custom_fields.{name}" if len(name) == 40 and set(name) <= set("0123456789abcdef") else name


def _field(records: pd.DataFrame, context: MappingContext, name: str) -> pd.Series:
    field = context.settings.fields.get(name, {**STANDARD, **OF_DEAL}.get(name, ""))
    return column(records, path_of(field))


def _dimensions(records: pd.DataFrame, context: MappingContext, table: str) -> pd.Series:
    asked = dimension_fields(context.config, context.source, table)
    return described({name: column(records, path_of(field)) for name, field in asked.items()}, records.index)


def _key(ids: pd.Series) -> pd.Series:
    return "pipedrive:contact:" + text(ids).astype("string").astype(object)


def _flag(records: pd.DataFrame, path: str) -> pd.Series:
    return column(records, path).eq(True)


def _primary(emails: Any) -> str | None:
    return next(iter(_addresses(emails)), None)


def _addresses(emails: Any) -> list[str]:
    """The addresses of a person, the primary one first."""
    known = [email for email in emails if email.get("value")] if isinstance(emails, list) else []
    return [email["value"] for email in sorted(known, key=lambda email: not email.get("primary"))]
