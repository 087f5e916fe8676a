"""HubSpot's records as rows of the core tables: frame in, frame out, by docs/semantics.md.

Which property fills a column is said once, in `CONTACT_FIELDS` and `DEAL_FIELDS`; `sources.hubspot.fields` in
`pipeline.yaml` names others. The connector asks HubSpot for exactly these properties. A portal has all of them by
default but `utm_medium` and `utm_campaign`, which are asked for because many portals have made them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from b2b_pipeline.configuration.config import Config, dimension_fields
from b2b_pipeline.connectors.base import MappingContext
from b2b_pipeline.connectors.columns import (
    NO_ACCOUNT,
    channel_of,
    column,
    core_rows,
    described,
    email_domain,
    email_key,
    email_links,
    excluded_by,
    local_day,
    require,
    text,
    utc,
    utc_from_ms,
)
from b2b_pipeline.connectors.visits import channel_of_visit

# Our name -> HubSpot's property; "" is nothing unless configured. Click ids of other names are properties of that name.
# That a portal has the hs_*_click_id by default: property list of a portal, checked 2026-11-25 (CRM properties API).
CONTACT_FIELDS = {
    "company": "company", "country": "country", "region": "state", "owner": "hubspot_owner_id",
    "status": "hs_lead_status", "capture_type": "", "utm_medium": "utm_medium", "utm_campaign": "utm_campaign",
    "gclid": "hs_google_click_id", "msclkid": "hs_bing_click_id", "fbclid": "hs_facebook_click_id",
    "li_fat_id": "hs_linkedin_click_id", "ttclid": "hs_tiktok_click_id",
    "twclid": "",
}  # fmt: skip
DEAL_FIELDS = {
    "account_id": "hs_primary_associated_company", "opp_type": "dealtype", "owner": "hubspot_owner_id",
    "product": "", "region": "", "campaign_id": "",
}  # fmt: skip
CUSTOM = ("utm_medium", "utm_campaign")  # not in a portal unless somebody made them
# Traffic source -> which drill-down property has the campaign: the URL's utm_campaign, or the ad campaign's name.
# https://knowledge.hubspot.com/properties/understand-source-properties, checked 2026-11-25.
DRILL_DOWN = {"PAID_SEARCH": 1, "EMAIL_MARKETING": 1, "OTHER_CAMPAIGNS": 1, "PAID_SOCIAL": 2, "SOCIAL_MEDIA": 2}
NO_CAMPAIGN = ("Auto-tagged PPC",)  # what stands there when the click told none
# The options of `sources.hubspot.options` that name a member of the marketing e-mail, and the column they fill.
EMAIL_OPTIONS = {"purpose": "email_purpose", "audience": "email_audience"}

UNMAPPED = "unmapped"  # the stage of a vendor's word that `stages.hubspot` does not know: reported, not guessed
EVENT_TYPES = {
    "SENT": "sent", "DELIVERED": "delivered", "OPEN": "open", "CLICK": "click", "BOUNCE": "bounce",
    "SPAMREPORT": "spam", "DROPPED": "dropped",
}  # fmt: skip
ADDRESSES = "properties.hs_additional_emails"  # a list: landing hashes each on its own
UTC = ZoneInfo("UTC")
MIDNIGHT = r"^\d{4}-\d\d-\d\d(?:T00:00(?::00(?:\.0+)?)?(?:Z|\+00:00))?$"
NEVER_SENT = ("sent", "dropped", "other")  # events that need no earlier SENT event: they date themselves


def contact_fields(config: Config) -> dict[str, str]:
    """Our name -> HubSpot's property of contacts, click ids included."""
    click_ids = {name: name for name in config.channels.click_ids}
    return _configured({**click_ids, **CONTACT_FIELDS}, config) | dimension_fields(config, "hubspot", "lead")


def deal_fields(config: Config) -> dict[str, str]:
    """Our name -> HubSpot's property of deals."""
    return _configured(DEAL_FIELDS, config) | dimension_fields(config, "hubspot", "opportunity")


def _configured(defaults: Mapping[str, str], config: Config) -> dict[str, str]:
    fields = config.sources["hubspot"].fields
    return {name: chosen for name, default in defaults.items() if (chosen := fields.get(name, default))}


# -- contacts


def leads(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per contact. HubSpot converts nothing, and a merged contact's own record does not say so."""
    fields = contact_fields(context.config)
    created, email = _created(records), column(records, "properties.email")
    return _rows(
        records, context,
        lead_id=records["id"], record_key=_key(records), date_day=local_day(created, context.config.zone),
        created_at=utc(created), updated_at=_updated(records),
        email_hash=email, email_domain=email_domain(email),
        **{name: _field(records, fields, name) for name in ("company", "country", "region", "owner", "status")},
        lifecycle_stage=column(records, "properties.lifecyclestage"),
        source_original=column(records, "properties.hs_analytics_source"),
        source_latest=column(records, "properties.hs_latest_source"),
        capture_type=_field(records, fields, "capture_type"),
        is_converted=False, is_deleted=_archived(records),
        converted_contact_id=None, converted_account_id=None, converted_opp_id=None, converted_at=None,
        merged_into=None, excluded_by=excluded_by(records).fillna(_own_domain(records, context)),
        dimensions=_dimensions(records, fields, context.config.dimensions.lead),
    )  # fmt: skip


def _own_domain(records: pd.DataFrame, context: MappingContext) -> pd.Series:
    """The domain of ours that one of a contact's addresses has."""
    known = _addresses(records)
    domain = email_domain(known["address"])
    own = domain[domain.isin(context.config.exclude.email_domains)]
    found = own[~own.index.duplicated()].reindex(records.index).astype(object)
    return found.where(found.notna(), None)


def touchpoints(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per contact and source it was seen from: the original one, and the latest when it is another visit."""
    first = column(records, "properties.hs_analytics_first_timestamp").fillna(_created(records))
    latest = column(records, "properties.hs_latest_source_timestamp")
    again = records[latest.notna() & (_seconds(latest) != _seconds(first))]
    return pd.concat([_original(records, first, context), _latest(again, latest[again.index], context)])


def _original(records: pd.DataFrame, at: pd.Series, context: MappingContext) -> pd.DataFrame:
    rules, fields = context.config.channels, contact_fields(context.config)
    click_ids = {name: _field(records, fields, name) for name in rules.click_ids}
    medium, source = _field(records, fields, "utm_medium"), column(records, "properties.hs_analytics_source")
    evidence = pd.Series(None, index=records.index, dtype=object)
    for name, values in click_ids.items():
        evidence = evidence.where(evidence.notna() | values.isna(), name)
    known = medium.where(medium.astype("string").str.strip().str.lower().isin(list(rules.utm_medium)), None)
    channel = channel_of(
        rules, click_ids=click_ids, utm_medium=medium,
        vendor_source=source, vendor_rules=context.channels("hubspot_source"), index=records.index,
    )  # fmt: skip
    return _touches(
        records, context, "original", at, channel,
        campaign_id=_field(records, fields, "utm_campaign").fillna(_drill_down(records, source, "hs_analytics_source")),
        evidence=evidence.fillna(_clue("utm_medium", known)).fillna(_clue("hs_analytics_source", source)),
    )  # fmt: skip


def _latest(records: pd.DataFrame, at: pd.Series, context: MappingContext) -> pd.DataFrame:
    """The click ids and UTM parameters that HubSpot keeps are those of the first visit, so the source decides alone."""
    rules, source = context.config.channels, column(records, "properties.hs_latest_source")
    channel = channel_of(
        rules, click_ids={}, utm_medium=None,
        vendor_source=source, vendor_rules=context.channels("hubspot_source"), index=records.index,
    )  # fmt: skip
    return _touches(
        records, context, "latest", at, channel,
        campaign_id=_drill_down(records, source, "hs_latest_source"), evidence=_clue("hs_latest_source", source),
    )  # fmt: skip


def _drill_down(records: pd.DataFrame, source: pd.Series, name: str) -> pd.Series:
    """The campaign, by id or name, that HubSpot keeps for a traffic source; null where the source has none."""
    campaign = pd.Series(None, index=records.index, dtype=object)
    for number in (1, 2):
        mine = [word for word, its in DRILL_DOWN.items() if its == number]
        campaign = campaign.where(~source.isin(mine), column(records, f"properties.{name}_data_{number}"))
    return campaign.where(~campaign.isin(NO_CAMPAIGN), None)


def _touches(
    records: pd.DataFrame, context: MappingContext, kind: str, at: pd.Series, channel: pd.Series, **columns: Any
) -> pd.DataFrame:
    """Touches stay when their contact is deleted: they belong to the person."""
    key = _key(records)
    return _rows(
        records, context,
        touch_id=key + f":{kind}", record_key=key,
        touched_at=utc(at), date_day=local_day(at, context.config.zone),
        channel=channel, touch_type=kind, is_deleted=False, updated_at=_updated(records), **NO_ACCOUNT, **columns,
    )  # fmt: skip


def _clue(name: str, values: pd.Series) -> pd.Series:
    return (f"{name}=" + values.astype("string")).astype(object).where(values.notna(), None)


def lead_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per entry of a contact's `lifecyclestage` history."""
    stages = context.stages
    return _stages(records, context, "lifecyclestage", "lead", lambda words: words.map(stages).fillna(UNMAPPED))


def identity_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per contact and e-mail address, secondary ones too, and one per contact that was merged into it."""
    known = _addresses(records)
    by_email = email_links(known, context, known["id"], _key(known), known["address"], _updated(known))
    # "12;34" and "12:1672531200000;34:1672617600000", merge times in milliseconds
    ids = column(records, "properties.hs_merged_object_ids").fillna("").astype("string")
    vids = column(records, "properties.hs_calculated_merged_vids").fillna("").astype("string")
    losers = records.assign(loser=(ids + ";" + vids).str.findall(r"(?:^|;)\s*(\d+)").map(_distinct)).explode("loser")
    losers = losers[losers["loser"].notna() & (losers["loser"] != losers["id"])]
    by_merge = _links(
        losers, context, "merge", "hubspot:contact:" + losers["loser"].astype("string"), _key(losers), False
    )
    return pd.concat([by_email, by_merge])


def _addresses(records: pd.DataFrame) -> pd.DataFrame:
    """The contacts once per address that they have, which is in `address`."""
    further = column(records, ADDRESSES).map(lambda found: found if isinstance(found, list) else [], na_action=None)
    every = [[first, *others] for first, others in zip(column(records, "properties.email"), further, strict=True)]
    rows = records.assign(address=pd.Series(every, index=records.index, dtype=object)).explode("address")
    rows = rows[rows["address"].notna()]
    return rows[~pd.Series(rows["id"].astype(str) + " " + rows["address"]).duplicated()]


def _links(
    records: pd.DataFrame, context: MappingContext, rule: str, from_key: pd.Series, to_key: pd.Series,
    is_deleted: pd.Series | bool,
) -> pd.DataFrame:  # fmt: skip
    updated = _updated(records)
    return _rows(
        records, context, from_key=from_key, to_key=to_key, rule=rule,
        updated_at=updated, date_day=local_day(updated, context.config.zone), is_deleted=is_deleted,
    )  # fmt: skip


# -- deals


def opportunities(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per deal; `lead_id` is empty, the person comes by the contact roles."""
    require(records, "properties.hs_is_closed_won", "properties.hs_is_closed")
    fields, zone, created = deal_fields(context.config), context.config.zone, _created(records)
    return _rows(
        records, context,
        opp_id=records["id"], date_day=local_day(created, zone),
        created_at=utc(created), updated_at=_updated(records),
        close_date=_day_or_text(column(records, "properties.closedate"), context),
        lead_id=None, name=column(records, "properties.dealname"), stage=column(records, "properties.dealstage"),
        **{name: _field(records, fields, name) for name in DEAL_FIELDS},
        amount=column(records, "properties.amount"),
        currency=column(records, "properties.deal_currency_code").fillna(context.account.currency or ""),
        is_won=_flag(column(records, "properties.hs_is_closed_won")),
        is_closed=_flag(column(records, "properties.hs_is_closed")),
        is_deleted=_archived(records),
        dimensions=_dimensions(records, fields, context.config.dimensions.opportunity),
    )  # fmt: skip


def contact_roles(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per deal and associated contact; the first one that HubSpot names is the primary one."""
    rows = records.assign(contact=column(records, "associations.contacts")).explode("contact")
    rows = rows[rows["contact"].notna()]
    contact = rows["contact"].astype("string")
    created = _created(rows)
    return _rows(
        rows, context,
        role_id=rows["id"].astype("string") + ":" + contact, opp_id=rows["id"], contact_id=contact, role=None,
        is_primary=rows.groupby(level=0).cumcount().eq(0), is_deleted=_archived(rows),
        created_at=utc(created), updated_at=_updated(rows), date_day=local_day(created, context.config.zone),
    )  # fmt: skip


def opportunity_stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per entry of a deal's `dealstage` history. Deal stages are no lead stages: `to_stage` is the raw one."""
    return _stages(records, context, "dealstage", "opportunity", lambda words: words)


# -- e-mail


def email_sends(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per e-mail campaign id of a marketing e-mail: the id that its events carry."""
    rows, options = _sendings(records), context.settings.options
    sent = column(rows, "publishDate").fillna(column(rows, "publishedAt"))
    subject = column(rows, "subject").map(_digest, na_action="ignore")
    return _rows(
        rows, context,
        send_id=rows["send_id"], name=column(rows, "name"), subject_hash=subject,
        **{name: column(rows, options.get(option, "")) for name, option in EMAIL_OPTIONS.items()},
        sent_at=utc(sent), date_day=local_day(sent, context.config.zone),
        is_deleted=_archived(rows), updated_at=_updated(rows),
    )  # fmt: skip


def email_campaigns(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per e-mail campaign id of a marketing e-mail."""
    rows = _sendings(records)
    return _rows(
        rows, context,
        campaign_id=rows["send_id"], account_id=context.account.id, name=column(rows, "name"),
        status=column(rows, "state"), campaign_type="email", channel="email", is_deleted=_archived(rows),
        updated_at=_updated(rows), date_day=local_day(column(rows, "createdAt"), context.config.zone),
    )  # fmt: skip


def _sendings(records: pd.DataFrame) -> pd.DataFrame:
    """The marketing e-mails once per e-mail campaign id (`send_id`); a draft that was never sent may have none."""
    ids = column(records, "allEmailCampaignIds")
    ids = ids.where(ids.str.len() > 0, column(records, "primaryEmailCampaignId"))
    rows = records.assign(send_id=ids).explode("send_id")
    rows = rows[rows["send_id"].notna()]
    return rows.assign(send_id=text(rows["send_id"]))


def email_events(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per e-mail event that names a sending (UNBOUNCE does not), dated by the send.

    An unsubscription without `sentBy` (by the preferences page) is tied to no sending: `other`.
    """
    rows = records[column(records, "emailCampaignId").notna()]
    kind = _event_type(rows)
    created = utc_from_ms(column(rows, "created"))
    sent = utc_from_ms(column(rows, "sentBy.created"))
    sent = sent.where(sent.notna() | ~kind.isin(NEVER_SENT), created)
    send_id = text(column(rows, "emailCampaignId"))
    return _rows(
        rows, context,
        event_id=rows["id"], send_id=send_id, campaign_id=send_id, recipient_hash=column(rows, "recipient"),
        event_type=kind, event_at=created, sent_at=sent, date_day=local_day(sent, context.config.zone),
        is_machine=column(rows, "filteredEvent").eq(True), updated_at=created,
    )  # fmt: skip


def _event_type(records: pd.DataFrame) -> pd.Series:
    listed = column(records, "subscriptions").map(_leaves, na_action="ignore").eq(True)
    leaves = listed | column(records, "portalSubscriptionStatus").eq("UNSUBSCRIBED")
    is_change = column(records, "type").eq("STATUSCHANGE") & column(records, "sentBy.created").notna()
    kind = column(records, "type").map(EVENT_TYPES).astype(object)
    return kind.where(kind.notna(), "other").where(~(is_change & leaves), "unsubscribe")


def _leaves(subscriptions: Any) -> bool:
    return isinstance(subscriptions, list) and any(
        isinstance(item, dict) and item.get("status") == "UNSUBSCRIBED" for item in subscriptions
    )


def click_touchpoints(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per click in an e-mail by a person; machines (`filteredEvent`) do not count."""
    rows = records[column(records, "type").eq("CLICK") & ~column(records, "filteredEvent").eq(True)]
    clicked = utc_from_ms(column(rows, "created"))
    return _rows(
        rows, context,
        touch_id="hubspot:email_event:" + rows["id"].astype("string"), record_key=email_key(column(rows, "recipient")),
        touched_at=clicked, date_day=local_day(clicked, context.config.zone),
        channel="email", campaign_id=text(column(rows, "emailCampaignId")), touch_type="email_click",
        evidence="CLICK", is_deleted=False, updated_at=clicked, **NO_ACCOUNT,
    )  # fmt: skip


# -- forms and campaigns


def form_events(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per submission of a form; of whom, HubSpot tells by the address that was given. Nothing changes it."""
    submitted = utc_from_ms(column(records, "submittedAt"))
    return core_rows(
        records, context, records["conversionId"],
        event_id=records["conversionId"], record_key=email_key(column(records, "email")), submitted_at=submitted,
        date_day=local_day(submitted, context.config.zone), form_id=column(records, "form.id"),
        form_name=column(records, "form.name"), page=column(records, "page"),
        channel=channel_of_visit(records, context.config.channels), campaign_id=column(records, "utm_campaign"),
        capture_type="form", session_id=None, is_deleted=False, updated_at=submitted,
    )  # fmt: skip


def marketing_campaigns(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign of HubSpot's campaigns tool, which has assets of many channels and none of its own."""
    return _rows(
        records, context,
        campaign_id=records["id"], account_id=context.account.id, name=column(records, "properties.hs_name"),
        status=column(records, "properties.hs_campaign_status"), campaign_type="marketing_campaign", channel=None,
        is_deleted=False, updated_at=utc(column(records, "updatedAt")),
        date_day=local_day(column(records, "createdAt"), context.config.zone),
    )  # fmt: skip


# -- shared


def _rows(records: pd.DataFrame, context: MappingContext, **columns: Any) -> pd.DataFrame:
    return core_rows(records, context, records["id"], **columns)


def _stages(
    records: pd.DataFrame, context: MappingContext, name: str, kind: str, stage: Callable[[pd.Series], pd.Series]
) -> pd.DataFrame:
    """One row per value that the property ever had; a cleared property is no stage."""
    rows = records.assign(entry=column(records, f"propertiesWithHistory.{name}")).explode("entry")
    rows = rows.assign(word=rows["entry"].str.get("value"), at=rows["entry"].str.get("timestamp"))
    rows = rows[rows["word"].notna() & (rows["word"] != "")].sort_values("at", kind="stable")
    to_stage = stage(rows["word"])
    return _rows(
        rows, context, object=kind, object_id=rows["id"],
        entered_at=utc(rows["at"]), changed_at=utc(rows["at"]), date_day=local_day(rows["at"], context.config.zone),
        from_stage=to_stage.groupby(level=0).shift(), to_stage=to_stage, vendor_stage=rows["word"],
        updated_at=_updated(rows), is_deleted=False,
    )  # fmt: skip


def _field(records: pd.DataFrame, fields: Mapping[str, str], name: str) -> pd.Series:
    return column(records, f"properties.{fields.get(name, '')}")


def _dimensions(records: pd.DataFrame, fields: Mapping[str, str], names: list[str]) -> pd.Series:
    return described({name: _field(records, fields, name) for name in names}, records.index)


def _key(records: pd.DataFrame) -> pd.Series:
    return "hubspot:contact:" + records["id"].astype("string")


def _created(records: pd.DataFrame) -> pd.Series:
    return column(records, "properties.createdate").fillna(column(records, "createdAt"))


def _updated(records: pd.DataFrame) -> pd.Series:
    """The version of a record. Archiving is a change of its own, later than the last edit."""
    return utc(column(records, "archivedAt").fillna(column(records, "updatedAt")))


def _archived(records: pd.DataFrame) -> pd.Series:
    return column(records, "archived").eq(True)


def _flag(values: pd.Series) -> pd.Series:
    """HubSpot's "true" and "false"; never set means false, anything else stays for the contract to refuse."""
    return values.fillna("false").replace({"true": True, "false": False})


def _day_or_text(values: pd.Series, context: MappingContext) -> pd.Series:
    """The day of a timestamp; what is none stays as it is, so that the contract sees it.

    HubSpot writes a date without a time, such as Salesforce's close date, as midnight UTC: that day in any zone.
    """
    days = local_day(values, context.config.zone)
    dates = local_day(values, UTC).where(values.astype("string").str.contains(MIDNIGHT, na=False), None)
    return dates.fillna(days).fillna(values)


def _seconds(values: pd.Series) -> pd.Series:
    return pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601").dt.floor("s")


def _distinct(ids: list[str]) -> list[str]:
    return sorted(set(ids))


def _digest(text: str) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()[:32]
