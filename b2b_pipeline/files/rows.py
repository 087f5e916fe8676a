"""Raw records of an export -> rows of core tables, as its mapping says.

A cell that does not fit leaves its row in the frame with the reason in `_reject` and the file's column in
`_reject_column`; the table's contract sends such rows to quarantine. Rows that are totals, or that the mapping's `when`
leaves out, are no rows of the table at all.

Keys: `source` is `files`, `source_account` the file name, `source_id` the line in the file. A lead's key is
`files:lead:<lead_id>`; `opportunity.lead_id` and `stage_event.object_id` hold the `<lead_id>`. A row without an id of
its own is known by its content: the same row in two exports is one row, one that stands twice in a file counts twice.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

import pandas as pd

from b2b_pipeline.configuration.currencies import KNOWN
from b2b_pipeline.configuration.file_cells import CLICK_IDS, SUMMED, Currency, Day, Moment, field_name
from b2b_pipeline.configuration.file_mapping import FileMapping
from b2b_pipeline.configuration.file_tables import EmailEventTable, LeadTable, OpportunityTable
from b2b_pipeline.connectors.columns import (
    NOT_AT_THIS_LEVEL,
    channel_of,
    described,
    email_domain,
    email_key,
    excluded_by,
    local_day,
)
from b2b_pipeline.errors import ContractError
from b2b_pipeline.files import cells
from b2b_pipeline.files.reading import LEFT_OUT, ROW
from b2b_pipeline.files.repeats import NOTES, settled
from b2b_pipeline.files.sheet import SOURCE, Sheet, aliased, among, field_of
from b2b_pipeline.warehouse.contract import REJECT, REJECT_ABOUT, REJECT_COLUMN, enforce
from b2b_pipeline.warehouse.tables import metadata

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

LONGEST_PERIOD = 3660  # days; a longer one is a typing error
RECIPIENT = f"{SOURCE}:recipient:"  # before the id of a recipient whose address the file does not have
TOTAL = "row of totals"
# What the cell of a row of sums says; `Total Energies` is a customer.
_TOTAL = re.compile(
    r"((grand |sub-?)?(totals?|sum)|summe|zwischensumme|gesamt(summe|ergebnis)?|insgesamt|total g[eé]n[eé]ral|totale?n?"
    r"|totaal|suma)\s*((:|[-(]| for | of | von | pour | per ).*)?",
    re.IGNORECASE | re.DOTALL,
)


def rows(records: pd.DataFrame, mapping: FileMapping, table: str, context: MappingContext) -> pd.DataFrame:
    """The rows of one core table: its columns (text in canonical form), `_reject` and `_reject_column`.

    The index says which raw record a row came from. `table` is one of `mapping.feeds()`.
    """
    declared = mapping.tables.given()
    kept = records[left_out(records, mapping).isna()]

    def sheet(name: str) -> Sheet:
        return Sheet(kept, mapping, declared[name], context)

    if len(records) and (missing := [name for name in mapping.headers() if field_name(name) not in records.columns]):
        raise ContractError(
            f"the columns {', '.join(map(repr, missing))} were not mapped when the file came, so they were not stored: "
            "drop it again"
        )
    found: list[pd.DataFrame] = []
    if table in declared:
        found.append(_BUILD[table](sheet(table)))
    if table == "stage_event" and mapping.tables.lead is not None and mapping.tables.lead.stages:
        leads = sheet("lead")
        found.append(_stages(leads, leads.lead_ids(), "lead"))
    if table == "stage_event" and mapping.tables.opportunity is not None and mapping.tables.opportunity.stages:
        deals = sheet("opportunity")
        found.append(_stages(deals, _opp_ids(deals, deals.lead_ids()), "opportunity"))
    if table == "touchpoint" and "email_event" in declared:
        found.append(_email_clicks(sheet("email_event")))
    if table == "identity_link":
        for name in (name for name, given in declared.items() if mapping.links(given)):
            rejects = enforce(metadata.tables[name], rows(records, mapping, name, context)).rejects
            found.append(_links(sheet(name), rejects["record_number"]))
    frame = settled(pd.concat(found).astype(object), metadata.tables[table], mapping)
    if table == mapping.feeds()[0]:
        frame.attrs[NOTES] = [*_left_out_notes(left_out(records, mapping)), *frame.attrs.get(NOTES, [])]
    return frame


def _left_out_notes(kinds: pd.Series) -> list[str]:
    counts = kinds.value_counts()
    return [f"{count} {kind}{'s' if count > 1 else ''} left out" for kind, count in counts.items()]


def left_out(records: pd.DataFrame, mapping: FileMapping) -> pd.Series:
    """What each record is that is no row of the table: a footer line or a total; None for the others."""
    kind = pd.Series(None, index=records.index, dtype=object)
    if LEFT_OUT in records.columns:
        kind = records[LEFT_OUT].where(records[LEFT_OUT].notna(), None).astype(object)
    return kind.mask(kind.isna() & (_declared_totals(records, mapping) | _undated_totals(records, mapping)), TOTAL)


def _declared_totals(records: pd.DataFrame, mapping: FileMapping) -> pd.Series:
    found = pd.Series(False, index=records.index)
    for rule in mapping.read.skip_totals:
        patterns = [pattern.casefold() for pattern in rule.value]
        text = cells.clean(field_of(records, rule.column), mapping.read.nulls).fillna("")
        found |= pd.Series([any(fnmatchcase(t.casefold(), p) for p in patterns) for t in text], index=text.index)
    return found


def _undated_totals(records: pd.DataFrame, mapping: FileMapping) -> pd.Series:
    """Rows that say `Total` and have no day in any of the columns that hold one: no table could take them."""
    tables = mapping.tables.given().values()
    dated = {
        cell.source for table in tables for cell in table.cells() if isinstance(cell, Day | Moment) and cell.source
    }
    nothing = pd.Series(False, index=records.index)
    if not dated:
        return nothing

    undated, total = ~nothing, nothing.copy()
    for header in mapping.headers():
        text = cells.clean(field_of(records, header), mapping.read.nulls)
        found = pd.Series([isinstance(cell, str) and bool(_TOTAL.fullmatch(cell)) for cell in text], index=text.index)
        total |= found
        if header in dated:
            undated &= found | text.isna()
    return undated & total


# -- leads


def _lead(sheet: Sheet) -> pd.DataFrame:
    lead_id, email, created_at = sheet.lead_ids(), sheet["email"], sheet["created_at"]
    return sheet.frame(
        {
            "lead_id": lead_id,
            "record_key": _record_key(lead_id),
            "date_day": _day(created_at, sheet),
            "created_at": created_at,
            "email_hash": email,
            "email_domain": email_domain(email),
            "is_converted": False,
            "is_deleted": False,
            "excluded_by": excluded_by(sheet.records),
            "dimensions": _dimensions(sheet),
        },
        "updated_at", "company", "country", "region", "owner", "status", "lifecycle_stage", "source_original",
        "source_latest", "capture_type",
    )  # fmt: skip


def _stages(sheet: Sheet, object_id: pd.Series, of: str) -> pd.DataFrame:
    """One row per lead or deal and stage whose day is filled."""
    updated_at = sheet["updated_at"]
    parts = []
    for stage, cell in cast(LeadTable | OpportunityTable, sheet.table).stages.items():
        part = sheet.part(sheet.raw(cell).notna())
        index = part.records.index
        to_stage = pd.Series(stage, index=index, dtype=object)
        entered_at, its_id = part.cell(cell), object_id[index]
        parts.append(_stage_rows(part, its_id, to_stage, entered_at, updated_at[index], cell.title, of=of))
    return pd.concat(parts).astype(object)


def _stage_event(sheet: Sheet) -> pd.DataFrame:
    columns = sheet.table.columns
    lead_id, to_stage = sheet.lead_ids(), sheet["to_stage"]
    sheet.require(lead_id, columns.lead_id or columns.email)
    known = to_stage.isin(sheet.context.config.stages.order)
    sheet.fail(to_stage.notna() & ~known, "is no stage of stages.order: add an alias", columns.to_stage, to_stage)
    entered_at, updated_at = sheet["entered_at"], sheet["updated_at"]
    return _stage_rows(sheet, lead_id, to_stage, entered_at, updated_at, sheet.raw(columns.to_stage))


def _stage_rows(
    sheet: Sheet, object_id: pd.Series, to_stage: pd.Series, entered_at: pd.Series, updated_at: pd.Series, word: object,
    *, of: str = "lead",
) -> pd.DataFrame:  # fmt: skip
    return sheet.frame(
        {
            "object": of,
            "object_id": object_id,
            "entered_at": entered_at,
            "changed_at": entered_at,
            "date_day": _day(entered_at, sheet),
            "from_stage": None,
            "to_stage": to_stage,
            "vendor_stage": word,
            "updated_at": updated_at,
        }
    )


def _links(sheet: Sheet, rejected: pd.Series) -> pd.DataFrame:
    """One row per lead with an e-mail address. One that its own table rejects is told there, and links nobody."""
    lead_id, email = sheet.lead_ids(), email_key(sheet["email"])
    links = sheet.frame({"from_key": _record_key(lead_id), "to_key": email, "rule": "email", "is_deleted": False})
    return links.assign(**{REJECT: None, REJECT_COLUMN: None, REJECT_ABOUT: None})[
        lead_id.notna() & email.notna() & ~links.index.isin(rejected)
    ]


def _touchpoint(sheet: Sheet) -> pd.DataFrame:
    columns = sheet.table.columns
    lead_id, touched_at = sheet.lead_ids(), sheet["touched_at"]
    sheet.require(lead_id, columns.lead_id or columns.email)
    click_ids = {name: sheet[name] for name in CLICK_IDS}
    evidence = {"channel": sheet["channel"], **click_ids, "utm_medium": sheet["utm_medium"]}
    by_rules = channel_of(
        sheet.context.config.channels,
        click_ids=click_ids,
        utm_medium=evidence["utm_medium"],
        vendor_source=None,
        vendor_rules={},
        index=sheet.records.index,
    )
    seen_in = pd.DataFrame({name: values.notna() for name, values in evidence.items()}, index=sheet.records.index)
    return sheet.frame(
        {
            "touch_id": f"{SOURCE}:touchpoint:" + sheet.own_id("touch_id"),
            "record_key": _record_key(lead_id),
            "touched_at": touched_at,
            "date_day": _day(touched_at, sheet),
            "channel": evidence["channel"].fillna(by_rules.where(seen_in.any(axis=1), None)),
            "evidence": seen_in.idxmax(axis=1).astype(object).where(seen_in.any(axis=1), None),
            "is_deleted": False,
        },
        "campaign_id", "touch_type", "updated_at",
    )  # fmt: skip


# -- deals


def _opportunity(sheet: Sheet) -> pd.DataFrame:
    table = cast(OpportunityTable, sheet.table)
    columns = table.columns
    lead_id = sheet.lead_ids()
    opp_id = _opp_ids(sheet, lead_id)
    sheet.require(opp_id, columns.opp_id)
    created_at, stage, close_date = sheet["created_at"], sheet["stage"], sheet["close_date"]
    if columns.is_won is not None:
        is_won = sheet["is_won"] == "true"
        is_lost = (sheet["is_closed"] == "true") & ~is_won
    elif columns.stage is not None:
        is_won, is_lost = among(stage, table.won), among(stage, table.lost)
        sheet.require(stage, columns.stage)
        unknown = stage.notna() & ~is_won & ~is_lost & ~among(stage, table.open)
        sheet.fail(unknown, "is in none of won, lost, open", columns.stage, stage)
    else:
        won_date, lost_date = sheet["won_date"], sheet["lost_date"]
        is_won, is_lost, close_date = won_date.notna(), lost_date.notna(), won_date.fillna(lost_date)
        sheet.fail(is_won & is_lost, "it is both won and lost", columns.lost_date)
    return sheet.frame(
        {
            "opp_id": opp_id,
            "date_day": _day(created_at, sheet),
            "created_at": created_at,
            "close_date": close_date,
            "lead_id": lead_id,
            "stage": stage,
            **_money(sheet, "amount"),
            "is_won": is_won,
            "is_closed": is_won | is_lost,
            "is_deleted": False,
            "dimensions": _dimensions(sheet),
        },
        "updated_at", "account_id", "name", "opp_type", "owner", "product", "region", "campaign_id",
    )  # fmt: skip


def _opp_ids(sheet: Sheet, lead_id: pd.Series) -> pd.Series:
    of_leads = sheet.table.columns.opp_id is None and sheet.mapping.tables.lead is not None
    return _deals_of_leads(sheet, lead_id) if of_leads else sheet.own_id("opp_id")


def _deals_of_leads(sheet: Sheet, lead_id: pd.Series) -> pd.Series:
    """A deal of a file of leads has its lead's id; further ones of the same lead are numbered as they were opened."""
    opened = sheet["created_at"].fillna(sheet["won_date"]).fillna(sheet["lost_date"]).fillna(sheet["close_date"])
    said = sheet.said([source for cell in sheet.table.cells() for source in cell.sources])
    deals = pd.DataFrame({"lead": lead_id, "opened": opened.fillna("9999"), "said": said}).dropna(subset=["lead"])
    deals = deals.drop_duplicates().sort_values(["lead", "opened"], kind="stable")
    number = deals.groupby("lead").cumcount() + 1
    named = deals["lead"] + number.map(lambda n: "" if n == 1 else f"-{n}")
    by_deal = dict(zip(zip(deals["lead"], deals["said"], strict=True), named, strict=True))
    found = [by_deal.get(pair) for pair in zip(lead_id, said, strict=True)]
    return pd.Series(found, index=lead_id.index, dtype=object)


# -- money out


def _spend(sheet: Sheet) -> pd.DataFrame:
    columns = sheet.table.columns
    campaign_id = sheet["campaign_id"]
    frame = sheet.frame(
        {
            "campaign_id": campaign_id,
            "ad_group_id": sheet["ad_group_id"].fillna(NOT_AT_THIS_LEVEL),
            "ad_id": sheet["ad_id"].fillna(NOT_AT_THIS_LEVEL),
            "level": "ad" if columns.ad_id else "ad_group" if columns.ad_group_id else "campaign",
            "channel": sheet["channel"],
            "campaign_name": sheet["campaign_name"].fillna(campaign_id),
            "impressions": _count(sheet, "impressions"),
            "clicks": _count(sheet, "clicks"),
            **_money(sheet, "spend"),
            "account_tz": sheet.context.config.timezone,
        },
        "date_day", "account_id", "conversions_platform", "conv_value_platform",
    )  # fmt: skip
    # Different rows of one campaign and day are parts of a whole that the mapping does not tell apart: no one is it.
    key = ["account_id", "campaign_id", "ad_group_id", "ad_id", "date_day"]
    good = frame[REJECT].isna()
    said = [name for name in sheet.records.columns if name != ROW]
    different = pd.concat([frame[key], sheet.records[said].add_prefix("_")], axis=1)[good].drop_duplicates()
    torn = pd.MultiIndex.from_frame(different.loc[different.duplicated(key), key])
    split = pd.Series(pd.MultiIndex.from_frame(frame[key]).isin(torn), index=frame.index) & good
    reason = "several rows of the file have this campaign and day: map ad_group_id or ad_id to tell them apart"
    sheet.fail(split, reason, columns.campaign_id)
    return frame.assign(**sheet.problems())


def _cost(sheet: Sheet) -> pd.DataFrame:
    """One row per cost and day of its period; a cost that cannot be spread is one row, rejected."""
    columns = sheet.table.columns
    day, month = sheet["date_day"], sheet["month"]
    first = day.fillna(sheet["first_day"]).fillna(month)
    last = day.fillna(sheet["last_day"]).fillna(month.map(_last_of_month, na_action="ignore"))
    period = columns.last_day or columns.month or columns.date_day
    sheet.fail(first.isna() | last.isna(), "its day or period is not given", columns.first_day or period)
    length = (pd.to_datetime(last) - pd.to_datetime(first)).dt.days + 1
    sheet.fail(length < 1, "its last day is before its first", period)
    sheet.fail(length > LONGEST_PERIOD, f"its period is longer than {LONGEST_PERIOD} days", period)
    money = _money(sheet, "amount")
    sheet.require(money["amount"], columns.amount)
    frame = sheet.frame(
        {"cost_id": sheet.own_id("cost_id"), **money},
        "category", "channel", "campaign_id", "description", "updated_at",
    )  # fmt: skip
    good = frame[REJECT].isna()
    shares = [
        _spread(Decimal(amount), date.fromisoformat(start), int(days)) if fits else [(start, amount)]
        for amount, start, days, fits in zip(frame["amount"], first, length, good, strict=True)
    ]
    spread = frame.assign(share=pd.Series(shares, index=frame.index, dtype=object)).explode("share")
    share = spread.pop("share").astype(object)
    return spread.assign(date_day=share.str[0].astype(object), amount=share.str[1].astype(object))


def _last_of_month(day: str) -> str:
    first = date.fromisoformat(day)
    return first.replace(day=monthrange(first.year, first.month)[1]).isoformat()


def _spread(amount: Decimal, first: date, days: int) -> list[tuple[str, str]]:
    """An amount evenly over days, cut to 6 decimals; the last day takes the remainder."""
    share = (amount / days).quantize(cells.PLACES, ROUND_DOWN)
    shares = [share] * (days - 1) + [amount - share * (days - 1)]
    return [((first + timedelta(days=n)).isoformat(), format(part, "f")) for n, part in enumerate(shares)]


def _rate(sheet: Sheet) -> pd.DataFrame:
    columns = sheet.table.columns
    cell = columns.per_eur or columns.in_eur
    rate = sheet["per_eur" if columns.per_eur else "in_eur"]
    sheet.require(rate, cell)
    sheet.fail(rate.map(lambda text: Decimal(text) <= 0, na_action="ignore").eq(True), "{} is no rate", cell, rate)
    if columns.in_eur:
        rate = rate.where(sheet.reason.isna(), None).map(_inverse, na_action="ignore")
    currency = sheet["currency"].map(str.upper, na_action="ignore")
    sheet.fail(currency.notna() & ~currency.isin(KNOWN), "currency {} is not known", columns.currency, currency)
    return sheet.frame({"currency": currency, "per_eur": rate}, "date_day")


def _inverse(rate: str) -> str:
    return format((1 / Decimal(rate)).quantize(Decimal("1e-10")), "f")


# -- e-mail


def _email_event(sheet: Sheet) -> pd.DataFrame:
    """One row per event; of a file with a row per recipient, one per event whose time is filled."""
    table = cast(EmailEventTable, sheet.table)
    columns = table.columns
    if not table.events:
        event_type, event_at = sheet["event_type"], sheet["event_at"]
        sheet.require(event_type, columns.event_type)
        sheet.require(event_at, columns.event_at)
        return _dated_by_send(_events(sheet, sheet.own_id("event_id"), event_type, event_at), sheet)
    parts = []
    for kind, cell in table.events.items():
        part = sheet.part(sheet.flags(cell) if cell.flag else sheet.raw(cell).notna())
        event_type = pd.Series(kind, index=part.records.index, dtype=object)
        parts.append(
            _events(
                part, part.own_id("event_id") + f":{kind}", event_type, part.empty() if cell.flag else part.cell(cell)
            )
        )
    return _dated_by_send(pd.concat(parts).astype(object), sheet)


def _events(sheet: Sheet, event_id: pd.Series, event_type: pd.Series, event_at: pd.Series) -> pd.DataFrame:
    columns = sheet.table.columns
    send_id, recipient = sheet["send_id"], sheet["email"]
    if columns.recipient_id is not None:
        recipient = RECIPIENT + sheet["recipient_id"]
    sheet.require(recipient, columns.email or columns.recipient_id)
    return sheet.frame(
        {
            "event_id": event_id,
            "send_id": send_id,
            "campaign_id": sheet["campaign_id"].fillna(send_id),
            "recipient_hash": recipient,
            "event_type": event_type,
            "event_at": event_at,
            "is_machine": sheet["is_machine"].fillna("false"),
            "updated_at": None,
        },
        "sent_at",
    )


def _dated_by_send(events: pd.DataFrame, sheet: Sheet) -> pd.DataFrame:
    """`sent_at` where the file does not say it: that of the recipient's own `sent` event. Then the day of the send."""
    pair = ["send_id", "recipient_hash"]
    sent = events[(events["event_type"] == "sent") & events[REJECT].isna()].groupby(pair)["event_at"].min()
    known = pd.Series(sent.reindex(pd.MultiIndex.from_frame(events[pair])).to_numpy(), index=events.index, dtype=object)
    sent_at = events["sent_at"].where(events["sent_at"].notna(), known)
    sent_at = sent_at.where(sent_at.notna(), None)
    unknown = sent_at.isna() & events[REJECT].isna()
    reason = "the time of the send is not known: map sent_at, or keep the file's `sent` events"
    rejected = events[REJECT].mask(unknown, reason)
    event_at = events["event_at"].where(events["event_at"].notna(), sent_at)
    dated = {"sent_at": sent_at, "event_at": event_at, "date_day": _day(sent_at, sheet), REJECT: rejected}
    return events.assign(**dated)


def _email_clicks(sheet: Sheet) -> pd.DataFrame:
    """One row per click that is not a machine's. What is wrong with others is told by the events' own table."""
    events = _email_event(sheet)
    clicks = events[(events["event_type"] == "click") & (events["is_machine"] != "true") & events[REJECT].isna()]
    names = ["source", "source_account", "source_id", "campaign_id", "updated_at", REJECT, REJECT_COLUMN, REJECT_ABOUT]
    return clicks[names].assign(
        touch_id=f"{SOURCE}:email_event:" + clicks["event_id"],
        record_key=email_key(clicks["recipient_hash"]).fillna(clicks["recipient_hash"]),
        touched_at=clicks["event_at"],
        date_day=_day(clicks["event_at"], sheet),
        channel="email",
        touch_type="email_click",
        is_deleted=False,
    )


def _email_summary(sheet: Sheet) -> pd.DataFrame:
    send_id = sheet["send_id"]
    counts = {name: _count(sheet, name) for name in SUMMED}
    reached = counts["deliveries"].fillna(counts["sends"])
    for name in ("opens", "clicks", "unsubscribes"):
        more = [isinstance(n, str) and isinstance(of, str) and float(n) > float(of)
                for n, of in zip(counts[name], reached, strict=True)]  # fmt: skip
        cell = getattr(sheet.table.columns, name)
        sheet.fail(
            pd.Series(more, index=reached.index, dtype=bool), f"more {name} than recipients: map unique ones", cell
        )
    sent_at = sheet["sent_at"]
    return sheet.frame(
        {
            "send_id": send_id, "campaign_id": sheet["campaign_id"].fillna(send_id), **counts, "sent_at": sent_at,
            "date_day": _day(sent_at, sheet),
        },
        "updated_at",
    )  # fmt: skip


def _mention(sheet: Sheet) -> pd.DataFrame:
    published_at = sheet["published_at"]
    return sheet.frame(
        {
            "mention_id": sheet.own_id("mention_id"), "published_at": published_at,
            "date_day": _day(published_at, sheet), "estimated_reach": _count(sheet, "estimated_reach"),
            "is_deleted": False,
        },
        "updated_at", "outlet", "title", "url", "tone", "campaign_id",
    )  # fmt: skip


_BUILD: dict[str, Callable[[Sheet], pd.DataFrame]] = {
    "lead": _lead,
    "stage_event": _stage_event,
    "opportunity": _opportunity,
    "spend": _spend,
    "email_event": _email_event,
    "email_summary": _email_summary,
    "cost_ledger": _cost,
    "touchpoint": _touchpoint,
    "fx_rate": _rate,
    "pr_mention": _mention,
}


# -- parts of rows


def _record_key(lead_id: pd.Series) -> pd.Series:
    return lead_id.map(lambda value: f"{SOURCE}:lead:{value}", na_action="ignore").astype(object)


def _dimensions(sheet: Sheet) -> pd.Series:
    cells_ = cast(LeadTable | OpportunityTable, sheet.table).dimensions
    return described({name: sheet.cell(cell) for name, cell in cells_.items()}, sheet.records.index)


def _day(moments: pd.Series, sheet: Sheet) -> pd.Series:
    return local_day(moments, sheet.context.config.zone)


def _count(sheet: Sheet, name: str) -> pd.Series:
    values = sheet[name]
    uneven = values.map(lambda value: isinstance(value, str) and ("." in value or value.startswith("-"))).astype(bool)
    sheet.fail(uneven, "is not a count", getattr(sheet.table.columns, name), values)
    return values


def _money(sheet: Sheet, name: str) -> dict[str, pd.Series]:
    """The amount, where there is one, and its currency: the same for all rows, by a column, or by the amount's sign."""
    cell = getattr(sheet.table.columns, name)
    currency: Currency | None = sheet.table.columns.currency
    if cell is None or currency is None:
        return {name: sheet.empty(), "currency": sheet.empty()}
    amount = sheet.cell(cell)
    sign = sheet.raw(cell).map(cells.currency_sign, na_action="ignore")
    sign = sign.astype(object).where(sign.notna(), None)
    if currency.by_sign:
        code = sign.map(lambda text: currency.symbols.get(text, text if text in KNOWN else None))
    else:
        code = aliased(sheet.raw(currency), currency).map(str.upper, na_action="ignore")
    code = code.astype(object).where(code.notna(), None)
    named = cell if currency.source is None else currency
    sheet.fail(amount.notna() & code.isna(), "its currency is not given", named)
    clash = [
        isinstance(s, str) and isinstance(c, str) and currency.symbols.get(s) != c and not cells.sign_allows(s, c)
        for s, c in zip(sign, code, strict=True)
    ]
    sheet.fail(pd.Series(clash, index=code.index, dtype=bool), "the amount is marked with another currency", cell, sign)
    return {name: amount, "currency": code}
