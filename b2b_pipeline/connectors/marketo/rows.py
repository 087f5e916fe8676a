"""Marketo's records as rows of the core tables: frame in, frame out, by docs/semantics.md.

A lead is a lead record, `marketo:lead:<id>`; activities name the lead, never an address. A program is a campaign; so is
an e-mail, `email:<id>`, since both have numbers of their own.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Iterable
from datetime import date
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.configuration.config import Config, dimension_fields
from b2b_pipeline.connectors.columns import (
    column,
    core_rows,
    described,
    email_domain,
    email_links,
    excluded_by,
    local_day,
    text,
    utc,
)
from b2b_pipeline.connectors.visits import channel_of_visit
from b2b_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

FORM, PROGRESSION, DELETED, MERGED, CLICKED = 2, 104, 37, 32, 11
EVENTS = {
    6: "sent", 7: "delivered", 8: "bounce", 27: "bounce", 9: "unsubscribe", 10: "open", CLICKED: "click",
}  # fmt: skip
SENDINGS = (6, 7)  # kept for a shorter time than the rest
TYPES = (*EVENTS, FORM, PROGRESSION)  # ten are the most that may be asked for at once
UNMAPPED = "unmapped"  # a status that `stages.marketo` does not name: reported, not guessed
STANDARD = {"company": "company", "country": "country", "region": "state", "status": "leadStatus", "owner": ""}
SHARE = Decimal("0.000001")


# -- leads


def leads(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    email, created = column(records, "email"), column(records, "createdAt")
    domain = email_domain(email)
    own = domain.where(domain.isin(context.config.exclude.email_domains), None)
    named = {name: context.settings.fields.get(name, default) for name, default in STANDARD.items()}
    further = dimension_fields(context.config, context.source, "lead")
    return _leads(
        records, context, records["id"], date_day=local_day(created, context.config.zone), created_at=utc(created),
        updated_at=utc(column(records, "updatedAt")), email_hash=email, email_domain=domain,
        **{name: column(records, field) for name, field in named.items()},
        lifecycle_stage=column(records, named["status"]), source_original=column(records, "leadSource"),
        is_deleted=False, excluded_by=excluded_by(records).fillna(own),
        dimensions=described({name: column(records, field) for name, field in further.items()}, records.index),
    )  # fmt: skip


def deleted(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per lead that was deleted. What it had been is not told, and counts no more."""
    rows = records[_is(records, DELETED)]
    at = utc(column(rows, "activityDate"))
    nothing = dict.fromkeys((
        "date_day", "email_hash", "email_domain", *STANDARD, "lifecycle_stage", "source_original", "excluded_by",
        "dimensions",
    ))  # fmt: skip
    return _leads(rows, context, column(rows, "leadId"), created_at=at, updated_at=at, is_deleted=True, **nothing)


def _leads(records: pd.DataFrame, context: MappingContext, ids: pd.Series, **columns: Any) -> pd.DataFrame:
    nothing = dict.fromkeys((
        "source_latest", "capture_type", "converted_contact_id", "converted_account_id", "converted_opp_id",
        "converted_at", "merged_into",
    ))  # fmt: skip
    return core_rows(
        records, context, text(ids), lead_id=text(ids), record_key=_key(ids), is_converted=False, **nothing, **columns
    )


def identity_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    ids = records["id"]
    return email_links(records, context, text(ids), _key(ids), column(records, "email"), column(records, "updatedAt"))


def merged(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per lead that was merged into the one whose activity it is."""
    rows = records[_is(records, MERGED)]
    rows = rows.assign(loser=column(rows, "mergeIds").map(_ids, na_action="ignore")).explode("loser")
    rows = rows[rows["loser"].notna()]
    rows = rows[text(rows["loser"]) != text(rows["leadId"])]
    at = utc(column(rows, "activityDate"))
    return core_rows(
        rows, context, rows["id"], from_key=_key(rows["loser"]), to_key=_key(rows["leadId"]), rule="merge",
        updated_at=at, date_day=local_day(at, context.config.zone), is_deleted=False,
    )  # fmt: skip


def _ids(given: Any) -> list[int]:
    """A list in JSON, or of numbers with commas."""
    try:
        found = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        found = str(given).strip("[]").split(",")
    return [int(each) for each in (found if isinstance(found, list) else [found]) if str(each).strip().isdecimal()]


def stages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per change of the status; what a lead was made with is no change."""
    words, at = column(records, "to"), utc(column(records, "activityDate"))
    rows = core_rows(
        records, context, records["id"], object="lead", object_id=text(records["leadId"]), entered_at=at, changed_at=at,
        date_day=local_day(at, context.config.zone), from_stage=_stage(column(records, "from"), context),
        to_stage=_stage(words, context).fillna(UNMAPPED), vendor_stage=words, updated_at=at, is_deleted=False,
    )  # fmt: skip
    return rows[words.notna()]


def _stage(words: pd.Series, context: MappingContext) -> pd.Series:
    return words.map(context.stages).astype(object)


# -- activities


def email_events(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per event of an e-mail. Of when it was sent only the sending tells: the others are dated by themselves,
    and by the sending in `email_recipient`."""
    kind = column(records, "activityTypeId").map(EVENTS)
    rows = records[kind.notna() & column(records, "about").notna()]
    kind, at = kind[rows.index], utc(column(rows, "activityDate"))
    send = text(column(rows, "about"))
    return core_rows(
        rows, context, rows["id"], event_id=rows["id"], send_id=send, campaign_id="email:" + send,
        recipient_hash=_key(rows["leadId"]), event_type=kind, event_at=at, sent_at=at,
        date_day=local_day(at, context.config.zone), is_machine=_says(rows, "isBot"), updated_at=at,
    )  # fmt: skip


def form_events(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    rows = records[_is(records, FORM)]
    at = utc(column(rows, "activityDate"))
    return core_rows(
        rows, context, rows["id"], event_id=rows["id"], record_key=_key(rows["leadId"]), submitted_at=at,
        date_day=local_day(at, context.config.zone), form_id=text(column(rows, "about")),
        form_name=column(rows, "name"), page=None, channel=channel_of_visit(rows, context.config.channels),
        campaign_id=column(rows, "utm_campaign"),
        capture_type="form", session_id=None, is_deleted=False, updated_at=at,
    )  # fmt: skip


def touchpoints(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per click in an e-mail by a person, and per success in a program: attended, downloaded, asked."""
    is_click = _is(records, CLICKED) & ~_says(records, "isBot")
    is_success = _is(records, PROGRESSION) & _says(records, "success")
    rows = records[is_click | is_success]
    click, at, about = is_click[rows.index], utc(column(rows, "activityDate")), text(column(rows, "about"))
    channel = _channel(rows, context).fillna("other")
    return core_rows(
        rows, context, rows["id"], touch_id="marketo:activity:" + rows["id"].astype("string"),
        record_key=_key(rows["leadId"]), touched_at=at, date_day=local_day(at, context.config.zone),
        channel=channel.where(~click, "email"), campaign_id=("email:" + about).where(click, about),
        touch_type=pd.Series("campaign_response", index=rows.index).where(~click, "email_click"),
        evidence=column(rows, "newStatus").where(~click, "Click Email"), account_id=None, account_domain=None,
        asset=None, is_deleted=False, updated_at=at,
    )  # fmt: skip


# -- programs


def campaigns(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    created, updated = (_time(column(records, name)) for name in ("createdAt", "updatedAt"))
    return core_rows(
        records, context, text(records["id"]), campaign_id=text(records["id"]), account_id=context.account.id,
        name=column(records, "name"), status=column(records, "status"), campaign_type=column(records, "type"),
        channel=_channel(records, context), is_deleted=False, updated_at=utc(updated),
        date_day=local_day(created, context.config.zone),
    )  # fmt: skip


def costs(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """A period's cost, which Marketo has by month, evenly over the days of its month; the last has what is left.

    What a program in a paid channel cost is what an ad platform was paid, and counts by its ad spend, unless
    `options: {paid_costs: all}` says that no platform that is read has it.
    """
    currency = context.settings.options.get("currency")
    rows = records.assign(cost=column(records, "costs"), channel_=_channel(records, context))
    if not _with_paid(context.config):
        rows = rows[~rows["channel_"].isin(context.config.channels.paid)]
    rows = rows.explode("cost")
    rows = rows[rows["cost"].notna()] if currency else rows[:0]
    nth = rows.groupby(level=0).cumcount()
    rows = rows.assign(cost_id=text(rows["id"]).astype("string") + ":" + nth.astype("string"))
    rows = rows.assign(part=rows["cost"].map(lambda cost: [*_parts(cost)])).explode("part")
    category = rows["channel_"].map(lambda channel: _category(channel, context.config)).astype(object)
    return core_rows(
        rows, context, text(rows["id"]), cost_id=rows["cost_id"], date_day=rows["part"].str[0], category=category,
        channel=rows["channel_"], campaign_id=text(rows["id"]), description=column(rows, "name"),
        amount=rows["part"].str[1], currency=currency, updated_at=utc(_time(column(rows, "updatedAt"))),
    )  # fmt: skip


def _parts(cost: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Days with their part of the cost, as text. A cost of no day, or of no amount, stays to be seen."""
    try:
        first, amount = date.fromisoformat(str(cost["startDate"])[:10]).replace(day=1), Decimal(str(cost["cost"]))
    except (ValueError, ArithmeticError):
        yield str(cost.get("startDate")), str(cost.get("cost"))
        return
    days = calendar.monthrange(first.year, first.month)[1]
    share = (amount / days).quantize(SHARE, ROUND_DOWN)
    for number in range(1, days + 1):
        yield str(first.replace(day=number)), str(share if number < days else amount - share * (days - 1))


def _category(channel: str | None, config: Config) -> str:
    if channel in config.channels.paid:
        return "ads"
    return "event" if channel == "events" else "content"


def _with_paid(config: Config) -> bool:
    given = config.sources["marketo"].options.get("paid_costs", "none")
    if given not in ("all", "none"):
        raise ConfigError(f"sources.marketo.options.paid_costs: {given!r} is neither all nor none")
    return given == "all"


def states_costs(config: Config) -> list[str]:
    ads = ["ads"] if _with_paid(config) else []
    return [*ads, "event", "content"] if config.sources["marketo"].options.get("currency") else []


def _channel(records: pd.DataFrame, context: MappingContext) -> pd.Series:
    words = column(records, "channel")
    channels = words.map(context.channels("marketo_channel")).astype(object)
    return channels.where(channels.notna(), words.map(lambda word: "other", na_action="ignore")).astype(object)


def _time(values: pd.Series) -> pd.Series:
    """Assets have times such as 2015-05-21T22:45:13Z+0000."""
    return values.map(lambda cell: str(cell).removesuffix("+0000"), na_action="ignore")


# -- shared


def _key(ids: pd.Series) -> pd.Series:
    return "marketo:lead:" + text(ids).astype("string").astype(object)


def _is(records: pd.DataFrame, kind: int) -> pd.Series:
    return column(records, "activityTypeId").eq(kind)


def _says(records: pd.DataFrame, name: str) -> pd.Series:
    """Whether a flag, which may be text, is set."""
    return column(records, name).astype("string").str.lower().isin(["true", "1", "yes"]).fillna(False).astype(bool)
