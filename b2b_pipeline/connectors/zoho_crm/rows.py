"""Zoho CRM's records as rows of the core tables: frame in, frame out, by docs/semantics.md.

Record keys are `zoho_crm:lead:<id>` and `zoho_crm:contact:<id>`. What a deal's stage means stands beside it, in `kind`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.configuration.config import dimension_fields
from b2b_pipeline.connectors.columns import (
    addresses,
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
    record_key,
    record_links,
    require,
    stage_entries,
    status_at_creation,
    status_changes,
    touches_of_fields,
    utc,
)

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

EMAILS = ("Email", "Secondary_Email")
OF_LEAD = {"company": "Company", "country": "Country", "region": "", "owner": "Owner.id", "capture_type": ""}
OF_ACCOUNT = {"industry": "Industry", "country": "Billing_Country", "segment": "Account_Type"}
OF_DEAL = {"opp_type": "Type", "owner": "Owner.id", "product": "", "region": "", "campaign_id": "Campaign_Source.id"}
WON = {"Open": False, "Closed Won": True, "Closed Lost": False}
CLOSED = {**WON, "Closed Lost": True}
_key = partial(record_key, "zoho_crm")


def leads(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per lead, as it is now."""
    require(records, "Converted__s")
    email = addresses(records, *EMAILS).map(lambda found: found[0] if found else None)
    domain, is_converted = email_domain(email), column(records, "Converted__s").eq(True)
    own = domain.where(domain.isin(context.config.exclude.email_domains), None)
    return _rows(
        records, context,
        lead_id=records["id"], record_key=_key("lead", records["id"]), email_hash=email, email_domain=domain,
        **{name: _field(records, context, name, OF_LEAD) for name in OF_LEAD}, status=column(records, "Lead_Status"),
        lifecycle_stage=pd.Series("sql", records.index, dtype=object).where(is_converted, None),
        source_original=column(records, "Lead_Source"), source_latest=None, is_converted=is_converted,
        is_deleted=False, converted_contact_id=column(records, "Converted_Contact.id"),
        converted_account_id=column(records, "Converted_Account.id"),
        converted_opp_id=column(records, "Converted_Deal.id"), converted_at=utc(column(records, "Converted_Date_Time")),
        merged_into=None, excluded_by=excluded_by(records).fillna(own),
        dimensions=_dimensions(records, context, "lead"),
    )  # fmt: skip


def lead_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per converted lead. Of one without the time of it nobody knows when: its row is refused."""
    require(records, "Converted__s")
    converted = records[column(records, "Converted__s").eq(True)]
    at = column(converted, "Converted_Date_Time")
    ids, updated = converted["id"], column(converted, "Modified_Time")
    return stage_entries(converted, context, ids, at, "sql", updated, object="lead", vendor_stage="Converted")


def lead_history(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """Each change of a lead's status into a stage and, of a whole timeline, the stage of the status that the lead was
    created with: as its first change left it, or as it still is."""
    whole = records.assign(made=records["Created_Time"].where(column(records, "whole").eq(True), None))
    unchanged = whole[whole["made"].notna()]
    lines = whole.assign(line=column(records, "changes")).explode("line")
    at, old, new, entry = (member(lines["line"], name) for name in ("audited_time", "old", "new", "id"))
    made = status_at_creation(unchanged, context, unchanged["id"], unchanged["made"], column(unchanged, "Lead_Status"))
    return pd.concat([made, status_changes(lines, context, lines["id"], lines["made"], at, old, new, entry)])


def lead_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """A lead's links: to its addresses, and to the contact it was converted to."""
    found = (records, context, records["id"], _key("lead", records["id"]))
    contact = _key("contact", column(records, "Converted_Contact.id"))
    converted = record_links(*found, contact, "conversion", records["Modified_Time"])
    return pd.concat([email_links(*found, addresses(records, *EMAILS), records["Modified_Time"]), converted])


def contact_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """A contact's links to its addresses. Who is merged into another is gone."""
    key = _key("contact", records["id"])
    return email_links(records, context, records["id"], key, addresses(records, *EMAILS), records["Modified_Time"])


def touchpoints(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per lead whose fields, as configured, tell by which click or medium it came, when it was created."""

    def own(name: str) -> pd.Series:
        return _field(records, context, name, {})

    ids, stamps = records["id"], (records["Created_Time"], records["Modified_Time"])
    return touches_of_fields(records, context, ids, _key("lead", ids), *stamps, own)


def accounts(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per account; `domain` is that of its website."""
    return _rows(
        records, context,
        account_id=records["id"], name=column(records, "Account_Name"), domain=host_of(column(records, "Website")),
        **{name: _field(records, context, name, OF_ACCOUNT) for name in OF_ACCOUNT}, is_deleted=False,
    )  # fmt: skip


def opportunities(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per deal. An organization with one currency does not say it in its deals."""
    kind = records["kind"]
    one = "Currency" not in records.columns
    return _rows(
        records, context,
        opp_id=records["id"], close_date=column(records, "Closing_Date"),
        account_id=column(records, "Account_Name.id"), lead_id=None, name=column(records, "Deal_Name"),
        stage=column(records, "Stage"), **{name: _field(records, context, name, OF_DEAL) for name in OF_DEAL},
        amount=decimal_text(column(records, "Amount")),
        currency=context.account.currency if one else column(records, "Currency"),
        is_won=meant(kind, WON, "kind of stage"), is_closed=meant(kind, CLOSED, "kind of stage"), is_deleted=False,
        dimensions=_dimensions(records, context, "opportunity"),
    )  # fmt: skip


def contact_roles(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per deal that has a contact. Further contacts of a deal, with their roles, are not read."""
    contact = column(records, "Contact_Name.id")
    rows = _rows(
        records, context,
        role_id=records["id"] + ":" + contact.astype("string"), opp_id=records["id"], contact_id=contact, role=None,
        is_primary=True, is_deleted=False,
    )  # fmt: skip
    return rows[contact.notna()]


def deal_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per line of a deal's history: the stage that it was in from then on. Zoho also writes one when the amount
    or the closing date changes, so a stage may appear again without having been left."""
    lines = records.assign(line=records["stages"]).explode("line")
    stage, at = (member(lines["line"], name) for name in ("Stage", "Modified_Time"))
    updated = lines["Modified_Time"]
    rows = stage_entries(lines, context, lines["id"], at, stage, updated, object="opportunity", vendor_stage=stage)
    return rows[stage.notna() & at.notna()]


def _rows(records: pd.DataFrame, context: MappingContext, **columns: Any) -> pd.DataFrame:
    created = column(records, "Created_Time")
    stamps = {"created_at": utc(created), "updated_at": utc(column(records, "Modified_Time"))}
    return core_rows(
        records, context, records["id"], date_day=local_day(created, context.config.zone), **stamps, **columns
    )


def _field(records: pd.DataFrame, context: MappingContext, name: str, standard: Mapping[str, str]) -> pd.Series:
    return _told(records, context.settings.fields.get(name, standard.get(name, "")))


def _told(records: pd.DataFrame, name: str) -> pd.Series:
    """What a field says; of a lookup its id."""
    value, key = column(records, name), column(records, f"{name}.id")
    return key.where(key.notna(), value)


def _dimensions(records: pd.DataFrame, context: MappingContext, table: str) -> pd.Series:
    asked = dimension_fields(context.config, context.source, table)
    return described({name: _told(records, own) for name, own in asked.items()}, records.index)
