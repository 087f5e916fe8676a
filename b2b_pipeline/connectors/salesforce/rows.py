"""Salesforce records to rows of the core tables, by docs/semantics.md.

Records come from REST (typed JSON) or from the Bulk API (text): both read the same here. Record keys are
`salesforce:lead:<id>` and `salesforce:contact:<id>`. `ConvertedDate`, `FirstRespondedDate` and `CloseDate` are of the
type `date`: days of the org, which no time zone shifts (object reference, checked 2026-11-25).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.configuration.config import dimension_fields
from b2b_pipeline.connectors.columns import (
    NO_ACCOUNT,
    channel_of,
    column,
    decimal_text,
    described,
    email_domain,
    email_key,
    excluded_by,
    local_day,
    require,
    stage_entries,
    staged,
    start_of_day,
    status_at_creation,
    status_changes,
    utc,
)

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

# Core table -> the columns that `sources.salesforce.fields` may take from a field of the org's own.
CUSTOM = {
    "lead": ("company", "country", "region", "owner", "source_original", "source_latest", "capture_type"),
    "account": ("domain", "industry", "country", "segment"),
    "opportunity": ("opp_type", "owner", "product", "region", "campaign_id"),
}


def lead(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per lead, as it is now."""
    is_converted = _flag(records, "IsConverted")
    domain = email_domain(column(records, "Email"))
    own = domain.where(domain.isin(context.config.exclude.email_domains), None)
    stage = staged(column(records, "Status"), context)
    rows = _rows(
        records,
        context,
        lead_id=column(records, "Id"),
        record_key=_key("lead", column(records, "Id")),
        date_day=_created_day(records, context),
        created_at=utc(column(records, "CreatedDate")),
        updated_at=utc(column(records, "SystemModstamp")),
        email_hash=column(records, "Email"),
        email_domain=domain,
        company=column(records, "Company"),
        country=column(records, "Country"),
        region=None,
        owner=column(records, "OwnerId"),
        status=column(records, "Status"),
        lifecycle_stage=stage.mask(is_converted.eq(True), "sql"),
        source_original=column(records, "LeadSource"),
        source_latest=None,
        capture_type=None,
        is_converted=is_converted,
        is_deleted=_flag(records, "IsDeleted"),
        converted_contact_id=column(records, "ConvertedContactId"),
        converted_account_id=column(records, "ConvertedAccountId"),
        converted_opp_id=column(records, "ConvertedOpportunityId"),
        converted_at=_start(records, column(records, "ConvertedDate"), context),
        merged_into=_key("lead", column(records, "MasterRecordId")),
        excluded_by=excluded_by(records).fillna(own),
    )
    return _with_custom_fields(rows, records, context, "lead")


def lead_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """Entries into the stage of a lead's status at its creation, unless history disproves it; its conversion: sql.

    Without history it is not known what the status was at the creation.
    """
    converted = records[_flag(records, "IsConverted").eq(True) & column(records, "ConvertedDate").notna()]
    conversion = stage_entries(
        converted, context, column(converted, "Id"), _start(converted, column(converted, "ConvertedDate"), context),
        "sql", column(converted, "SystemModstamp"), object="lead", vendor_stage=column(converted, "Status"),
        date_day=column(converted, "ConvertedDate"),
    )  # fmt: skip
    if not context.reads("lead_history"):
        return conversion
    created = column(records, "CreatedDate")
    creation = status_at_creation(records, context, column(records, "Id"), created, column(records, "Status"))
    return pd.concat([creation, conversion])


def lead_history_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """Each change of a lead's status into a stage, and what each change tells about the status at creation."""
    changes = records[column(records, "Field").eq("Status")]
    names = ("LeadId", "Lead.CreatedDate", "CreatedDate", "OldValue", "NewValue", "Id")
    return status_changes(changes, context, *(column(changes, name) for name in names))


def lead_identity(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """A lead's links: to its e-mail, to the contact it was converted to, to the lead it was merged into."""
    contact = column(records, "ConvertedContactId").where(_flag(records, "IsConverted").eq(True), None)
    conversion = _links(records, context, "lead", "conversion", _key("contact", contact))
    return pd.concat([_person_links(records, context, "lead"), conversion])


def contact_identity(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """A contact's links: to its e-mail, to the contact it was merged into."""
    return _person_links(records, context, "contact")


def account(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per account, as it is now; `domain` is that of its website."""
    website = column(records, "Website").astype("string").str.strip().str.lower()
    rows = _rows(
        records,
        context,
        account_id=column(records, "Id"),
        name=column(records, "Name"),
        domain=website.str.extract(r"^(?:https?://)?(?:www\.)?([^/:?#\s]+)", expand=False),
        industry=column(records, "Industry"),
        country=column(records, "BillingCountry"),
        segment=column(records, "Type"),
        is_deleted=_flag(records, "IsDeleted"),
        created_at=utc(column(records, "CreatedDate")),
        updated_at=utc(column(records, "SystemModstamp")),
        date_day=_created_day(records, context),
    )
    return _with_custom_fields(rows, records, context, "account")


def opportunity(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per opportunity, as it is now. An org with one currency does not say which: `options.currency` does."""
    require(records, "IsWon", "IsClosed")
    currency = column(records, "CurrencyIsoCode")
    rows = _rows(
        records,
        context,
        opp_id=column(records, "Id"),
        date_day=_created_day(records, context),
        created_at=utc(column(records, "CreatedDate")),
        updated_at=utc(column(records, "SystemModstamp")),
        close_date=column(records, "CloseDate"),
        account_id=column(records, "AccountId"),
        lead_id=None,
        name=column(records, "Name"),
        opp_type=column(records, "Type"),
        stage=column(records, "StageName"),
        owner=column(records, "OwnerId"),
        product=None,
        region=None,
        campaign_id=column(records, "CampaignId"),
        amount=decimal_text(column(records, "Amount")),
        currency=currency.where(currency.notna(), context.settings.options.get("currency")),
        is_won=_flag(records, "IsWon"),
        is_closed=_flag(records, "IsClosed"),
        is_deleted=_flag(records, "IsDeleted"),
    )
    return _with_custom_fields(rows, records, context, "opportunity")


def opportunity_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per OpportunityHistory row: the stage an opportunity was in from then on.

    Salesforce also writes one when amount or close date change, so a stage may appear again without having been left.
    """
    at, stage = column(records, "CreatedDate"), column(records, "StageName")
    return stage_entries(
        records, context, column(records, "OpportunityId"), at, stage, at, object="opportunity", vendor_stage=stage,
        source_id=column(records, "Id"),
    )  # fmt: skip


def opp_contact_role(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per contact role on an opportunity."""
    return _rows(
        records,
        context,
        role_id=column(records, "Id"),
        opp_id=column(records, "OpportunityId"),
        contact_id=column(records, "ContactId"),
        role=column(records, "Role"),
        is_primary=_flag(records, "IsPrimary"),
        is_deleted=_flag(records, "IsDeleted"),
        created_at=utc(column(records, "CreatedDate")),
        updated_at=utc(column(records, "SystemModstamp")),
        date_day=_created_day(records, context),
    )


def campaign(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign, as it is now."""
    return _rows(
        records,
        context,
        campaign_id=column(records, "Id"),
        account_id=context.account.id,
        name=column(records, "Name"),
        status=column(records, "Status"),
        campaign_type=column(records, "Type"),
        channel=_channel(column(records, "Type"), context),
        is_deleted=_flag(records, "IsDeleted"),
        updated_at=utc(column(records, "SystemModstamp")),
        date_day=_created_day(records, context),
    )


def touchpoint(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign member who has responded; one who no longer has, or was deleted, is a deleted touch."""
    responded = column(records, "FirstRespondedDate")
    members = records[_flag(records, "HasResponded").eq(True) | responded.notna()]
    responded, created = responded[members.index], column(members, "CreatedDate")
    contact = _key("contact", column(members, "ContactId"))
    kind = column(members, "Campaign.Type")
    return _rows(
        members,
        context,
        touch_id=column(members, "Id").map("salesforce:campaign_member:{}".format, na_action="ignore"),
        record_key=contact.where(contact.notna(), _key("lead", column(members, "LeadId"))),
        touched_at=_start(members, responded, context).fillna(utc(created)),
        date_day=responded.fillna(local_day(created, context.config.zone)),
        channel=_channel(kind, context),
        campaign_id=column(members, "CampaignId"),
        touch_type="campaign_response",
        evidence=kind.map("Campaign.Type={}".format, na_action="ignore"),
        is_deleted=_flag(members, "IsDeleted").eq(True) | _flag(members, "HasResponded").ne(True),
        updated_at=utc(column(members, "SystemModstamp")),
        **NO_ACCOUNT,
    )


# -- parts


def _rows(records: pd.DataFrame, context: MappingContext, **columns: object) -> pd.DataFrame:
    """One row per record: where it comes from, and `columns`."""
    provenance = {
        "source": context.source,
        "source_account": context.account.id,
        "source_id": column(records, "Id"),
    }
    rows = pd.DataFrame({**provenance, **columns}, index=records.index, dtype=object)
    return rows.where(rows.notna(), None)


def _with_custom_fields(rows: pd.DataFrame, records: pd.DataFrame, context: MappingContext, table: str) -> pd.DataFrame:
    """`rows` with the columns and dimensions that the configuration takes from other fields, where they are there."""
    landed = {name.lower(): name for name in records.columns}
    fields = {name: landed.get(path.lower()) for name, path in context.settings.fields.items() if name in CUSTOM[table]}
    own = {name: column(records, path) for name, path in fields.items() if path}
    asked = dimension_fields(context.config, context.source, table)
    given = {name: column(records, landed.get(path.lower(), path)) for name, path in asked.items()}
    return rows.assign(**own, dimensions=described(given, records.index)) if given else rows.assign(**own)


def _person_links(records: pd.DataFrame, context: MappingContext, object_: str) -> pd.DataFrame:
    """Links by e-mail and by merge."""
    by_email = _links(records, context, object_, "email", email_key(column(records, "Email")))
    merge = _links(records, context, object_, "merge", _key(object_, column(records, "MasterRecordId")))
    return pd.concat([by_email, merge])


def _links(
    records: pd.DataFrame, context: MappingContext, object_: str, rule: str, to_key: pd.Series[Any]
) -> pd.DataFrame:
    """Links from each record to `to_key`, where there is one. A deleted record still belongs to its person."""
    rows = _rows(
        records,
        context,
        from_key=_key(object_, column(records, "Id")),
        to_key=to_key,
        rule=rule,
        updated_at=utc(column(records, "SystemModstamp")),
        date_day=_created_day(records, context),
        is_deleted=False,
    )
    return rows[to_key.notna()]


def _key(object_: str, ids: pd.Series[Any]) -> pd.Series[Any]:
    keys = ids.map(f"salesforce:{object_}:{{}}".format, na_action="ignore").astype(object)
    return keys.where(keys.notna(), None)


def _channel(kinds: pd.Series[Any], context: MappingContext) -> pd.Series[Any]:
    rules = context.config.channels
    return channel_of(
        rules,
        click_ids={},
        utm_medium=None,
        vendor_source=kinds,
        vendor_rules=context.channels("salesforce_campaign_type"),
        index=kinds.index,
    )


def _created_day(records: pd.DataFrame, context: MappingContext) -> pd.Series[Any]:
    return local_day(column(records, "CreatedDate"), context.config.zone)


def _start(records: pd.DataFrame, days: pd.Series[Any], context: MappingContext) -> pd.Series[Any]:
    """When a day of the org begins for us, but not before the record was created."""
    return start_of_day(days, context.config.zone, column(records, "CreatedDate"))


def _flag(records: pd.DataFrame, path: str) -> pd.Series[Any]:
    """Booleans: JSON's of REST, the words of a Bulk CSV; anything else stays as it is."""
    words = {"true": True, "false": False}
    return column(records, path).map(lambda value: words.get(value, value)).astype(object)
