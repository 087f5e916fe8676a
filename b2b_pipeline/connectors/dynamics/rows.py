"""Records of Dynamics 365 Sales as rows of the core tables: frame in, frame out, by docs/semantics.md.

Record keys are `dynamics:lead:<id>` and `dynamics:contact:<id>`. Choices are numbers; their words are under `labels`.
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

NONE: Mapping[str, str] = {}
STAGE = "_activestageid_value"
EMAILS = ("emailaddress1", "emailaddress2", "emailaddress3")
MADE = "opportunity_originating_lead"
MADE_OF_IT = (MADE, "parentcontactid", "parentaccountid")
OF_LEAD = {"company": "companyname", "country": "address1_country", "region": "", "owner": "_ownerid_value",
           "capture_type": ""}  # fmt: skip
OF_ACCOUNT = {"industry": "industrycode", "country": "address1_country", "segment": "customertypecode"}
OF_DEAL = {"opp_type": "", "owner": "_ownerid_value", "product": "", "region": "", "campaign_id": "_campaignid_value"}
WON, CLOSED = {0: False, 1: True, 2: False}, {0: False, 1: True, 2: True}  # by statecode: open, won, lost
QUALIFIED = 1  # statecode of a lead
CREATED = 1  # operation of the audit log
_key = partial(record_key, "dynamics")


def leads(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per lead, as it is now."""
    require(records, "statecode")
    email = addresses(records, *EMAILS).map(lambda found: found[0] if found else None)
    domain, is_qualified = email_domain(email), column(records, "statecode").eq(QUALIFIED)
    own = domain.where(domain.isin(context.config.exclude.email_domains), None)
    return _rows(
        records, context, records["leadid"],
        lead_id=records["leadid"], record_key=_key("lead", records["leadid"]), email_hash=email, email_domain=domain,
        **{name: _field(records, context, name, OF_LEAD) for name in OF_LEAD}, status=_word(records, "statuscode"),
        lifecycle_stage=pd.Series("sql", records.index, dtype=object).where(is_qualified, None),
        source_original=_word(records, "leadsourcecode"), source_latest=None, is_converted=is_qualified,
        is_deleted=False, converted_contact_id=column(records, "_parentcontactid_value").where(is_qualified, None),
        converted_account_id=column(records, "_parentaccountid_value").where(is_qualified, None),
        converted_opp_id=column(records, "_qualifyingopportunityid_value"), converted_at=_qualified_at(records),
        merged_into=_key("lead", _master(records)), excluded_by=excluded_by(records).fillna(own),
        dimensions=_dimensions(records, context, "lead"),
    )  # fmt: skip


def lead_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per lead that was qualified. One of which nothing was made was qualified nobody knows when: its row is
    refused, and the numbers that lack it say so."""
    require(records, "statecode")
    at, is_qualified = _qualified_at(records), column(records, "statecode").eq(QUALIFIED)
    at = at.where(at.notna() | ~is_qualified, "qualified, and nothing was made of it")
    ids, updated = records["leadid"], records["modifiedon"]
    rows = stage_entries(records, context, ids, at, "sql", updated, object="lead", vendor_stage="Qualified")
    return rows[at.notna()]


def history(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """Each change of a lead's status into a stage, and the stage of the status that it was created with: as the log has
    it, or as its first change left it, or as it still is."""
    names = ("lead.leadid", "lead.createdon", "lead.labels.statuscode", "createdon", "old", "new", "auditid")
    lead, created, now, logged, old, new, audit = (column(records, name) for name in names)
    was_created = column(records, "operation").eq(CREATED)
    made = status_at_creation(records, context, lead, created, now.where(was_created & new.isna(), None))
    at = logged.where(~was_created, created)  # the log has it a moment later
    return pd.concat([made, status_changes(records, context, lead, created, at, old, new, audit)])


def is_undated(lead: Mapping[str, Any]) -> bool:
    """Whether a lead was qualified, and neither its contact nor its account was made of it."""
    made = (lead.get(name) or {} for name in MADE_OF_IT)
    return lead["statecode"] == QUALIFIED and all(
        each.get("_originatingleadid_value") != lead["leadid"] for each in made
    )


def _qualified_at(records: pd.DataFrame) -> pd.Series:
    """When the first of what was made of a lead was created."""
    made = [
        pd.to_datetime(column(records, f"{name}.createdon"), utc=True, errors="coerce", format="ISO8601").where(
            column(records, f"{name}._originatingleadid_value").eq(records["leadid"])
        )
        for name in MADE_OF_IT
    ]
    first = pd.concat(made, axis=1).min(axis=1).astype(object)
    return first.where(first.notna(), None)


def lead_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """A lead's links: to its addresses, to the lead it was merged into, to the contact it was qualified to."""
    contact = column(records, "_parentcontactid_value").where(column(records, "statecode").eq(QUALIFIED), None)
    link = record_links(
        records, context, records["leadid"], _key("lead", records["leadid"]), _key("contact", contact), "conversion",
        records["modifiedon"],
    )  # fmt: skip
    return pd.concat([_links(records, context, "lead"), link])


def contact_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """A contact's links: to its addresses, to the contact it was merged into."""
    return _links(records, context, "contact")


def _links(records: pd.DataFrame, context: MappingContext, kind: str) -> pd.DataFrame:
    ids = records[f"{kind}id"]
    found = (records, context, ids, _key(kind, ids))
    by_email = email_links(*found, addresses(records, *EMAILS), records["modifiedon"])
    merge = record_links(*found, _key(kind, _master(records)), "merge", records["modifiedon"])
    return pd.concat([by_email, merge])


def touchpoints(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per lead whose columns, as configured, tell by which click or medium it came, when it was created."""

    def field(name: str) -> pd.Series:
        return _field(records, context, name, NONE)

    ids = records["leadid"]
    return touches_of_fields(
        records, context, ids, _key("lead", ids), records["createdon"], records["modifiedon"], field
    )


def accounts(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per account; `domain` is that of its website."""
    return _rows(
        records, context, records["accountid"],
        account_id=records["accountid"], name=column(records, "name"), domain=host_of(column(records, "websiteurl")),
        **{name: _field(records, context, name, OF_ACCOUNT) for name in OF_ACCOUNT}, is_deleted=False,
    )  # fmt: skip


def opportunities(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per opportunity: worth what it brought if it was won, else what is expected of it."""
    state = records["statecode"]
    is_won, is_closed = meant(state, WON, "state"), meant(state, CLOSED, "state")
    actual, expected = (decimal_text(column(records, name)) for name in ("actualvalue", "estimatedvalue"))
    closed = column(records, "actualclosedate").where(is_closed.ne(False), column(records, "estimatedclosedate"))
    return _rows(
        records, context, records["opportunityid"],
        opp_id=records["opportunityid"], close_date=closed, account_id=column(records, "_parentaccountid_value"),
        lead_id=column(records, "_originatingleadid_value"), name=column(records, "name"),
        stage=column(records, "stepname"), **{name: _field(records, context, name, OF_DEAL) for name in OF_DEAL},
        amount=actual.where(is_won.eq(True) & actual.notna(), expected),
        currency=column(records, "transactioncurrencyid.isocurrencycode"),
        is_won=is_won, is_closed=is_closed, is_deleted=False, dimensions=_dimensions(records, context, "opportunity"),
    )  # fmt: skip


def contact_roles(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per opportunity that has a contact. Stakeholders beside it are connections, which are not read."""
    contact, deal = records["_parentcontactid_value"], records["opportunityid"]
    rows = _rows(
        records, context, deal,
        role_id=deal + ":" + contact.astype("string"), opp_id=deal, contact_id=contact, role=None, is_primary=True,
        is_deleted=False,
    )  # fmt: skip
    return rows[contact.notna()]


def deal_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per opportunity and stage that it was seen in, from when the stage began."""
    stage = column(records, f"labels.{STAGE}")
    at = column(records, "activestagestartedon")
    ids, updated = records["_opportunityid_value"], records["modifiedon"]
    rows = stage_entries(records, context, ids, at, stage, updated, object="opportunity", vendor_stage=stage)
    return rows[at.notna() & stage.notna()]


def _rows(records: pd.DataFrame, context: MappingContext, ids: pd.Series, **columns: Any) -> pd.DataFrame:
    created = column(records, "createdon")
    stamps = {"created_at": utc(created), "updated_at": utc(column(records, "modifiedon"))}
    return core_rows(records, context, ids, date_day=local_day(created, context.config.zone), **stamps, **columns)


def _field(records: pd.DataFrame, context: MappingContext, name: str, standard: Mapping[str, str]) -> pd.Series:
    return _word(records, context.settings.fields.get(name, standard.get(name, "")))


def _word(records: pd.DataFrame, field: str) -> pd.Series:
    """What a column says: of a choice its word, where there is one."""
    label, value = column(records, f"labels.{field}"), column(records, field)
    return label.where(label.notna(), value.where(value.isna(), value.astype("string").astype(object)))


def _dimensions(records: pd.DataFrame, context: MappingContext, table: str) -> pd.Series:
    asked = dimension_fields(context.config, context.source, table)
    return described({name: _word(records, field) for name, field in asked.items()}, records.index)


def _master(records: pd.DataFrame) -> pd.Series:
    return column(records, "_masterid_value")
