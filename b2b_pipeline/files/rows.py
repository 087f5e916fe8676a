"""Raw records of an export -> rows of core tables, as its mapping says.

A cell that does not fit leaves its row in the frame with the reason in `_reject` and the file's column in
`_reject_column`; the table's contract sends such rows to quarantine. Rows that are totals, or that the mapping's `when`
leaves out, are no rows of the table at all.

Keys: `source` is `files`, `source_account` the file name, `source_id` the line in the file. A lead's key is
`files:lead:<lead_id>`; `opportunity.lead_id` and `stage_event.object_id` hold the `<lead_id>`. A row without an id of its
own is known by its content, so the same row in two exports is one row; a row that stands twice in one file counts twice.
"""

from __future__ import annotations

import hashlib
from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, cast

import pandas as pd

from b2b_pipeline.config import CURRENCIES, Channels
from b2b_pipeline.core.contract import REJECT, REJECT_COLUMN
from b2b_pipeline.core.mapping import channel_of, email_domain, email_key, excluded_by, local_day
from b2b_pipeline.files import cells
from b2b_pipeline.files.mapping import (
    Cell,
    Channel,
    Choice,
    CostTable,
    Currency,
    Day,
    EmailEventTable,
    FileMapping,
    LeadTable,
    Moment,
    Money,
    Number,
    OpportunityTable,
    SpendTable,
    StageEventTable,
    Table,
    Text,
    TouchpointTable,
    field_name,
)
from b2b_pipeline.files.reading import NOT_AN_ADDRESS, PROBLEM, ROW

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

SOURCE = "files"
NOT_AT_THIS_LEVEL = "-"  # ad group and ad of a campaign's row: they are part of the key, and a key is never empty
LONGEST_PERIOD = 3660  # days; a longer one is a typing error
CLICK_IDS = ("gclid", "msclkid", "fbclid", "li_fat_id")
_YES, _NO = frozenset({"true", "yes", "y", "1", "x"}), frozenset({"false", "no", "n", "0"})


def rows(records: pd.DataFrame, mapping: FileMapping, table: str, context: MappingContext) -> pd.DataFrame:
    """The rows of one core table: its columns (text in canonical form), `_reject` and `_reject_column`.

    The index says which raw record a row came from. `table` is one of `mapping.feeds()`.
    """
    tables = mapping.tables
    kept = _without_totals(records, mapping)
    found: list[pd.DataFrame] = []
    if table == "identity_link":
        found = [
            _links(_Sheet(kept, mapping, given, context)) for given in tables.given().values() if mapping.links(given)
        ]
    elif (given := tables.given().get(table)) is not None:
        found.append(_BUILD[table](_Sheet(kept, mapping, given, context)))
    if table == "stage_event" and tables.lead is not None and tables.lead.stages:
        found.append(_lead_stages(_Sheet(kept, mapping, tables.lead, context)))
    if table == "touchpoint" and tables.email_event is not None:
        found.append(_email_clicks(_Sheet(kept, mapping, tables.email_event, context)))
    if not found:
        raise ValueError(f"the mapping does not feed {table}")
    return pd.concat(found).astype(object) if len(found) > 1 else found[0]


def _without_totals(records: pd.DataFrame, mapping: FileMapping) -> pd.DataFrame:
    return records[~totals(records, mapping)]


def totals(records: pd.DataFrame, mapping: FileMapping) -> pd.Series:
    """Which records are totals."""
    rule = mapping.read.skip_totals
    if rule is None:
        return pd.Series(False, index=records.index)
    text = cells.clean(_field(records, rule.column), mapping.read.nulls)
    return _like(text, rule.value)


def _like(text: pd.Series, patterns: list[str]) -> pd.Series:
    lowered = [pattern.lower() for pattern in patterns]
    return text.map(lambda value: value is not None and any(fnmatchcase(value.lower(), p) for p in lowered)).astype(
        bool
    )


def _field(records: pd.DataFrame, header: str) -> pd.Series:
    name = field_name(header)
    return records[name] if name in records.columns else pd.Series(None, index=records.index, dtype=object)


class _Sheet:
    """The records that one table is built from, and what has been found wrong with them so far. The first reason stays."""

    def __init__(self, records: pd.DataFrame, mapping: FileMapping, table: Table, context: MappingContext) -> None:
        self.mapping, self.table, self.context = mapping, table, context
        self.records = records
        if table.when is not None:
            column = self.text_of(table.when.column)
            wanted = column.notna() if not table.when.values else _among(column, table.when.values)
            self.records = records[wanted]
        self.reason = self.empty()
        self.where = self.empty()
        if PROBLEM in self.records.columns:
            self.reject(self.records[PROBLEM], None)

    # -- what a cell of the mapping gives

    def __getitem__(self, name: str) -> pd.Series:
        """Our column `name` of the table, in canonical text; None where the file has nothing or nothing that fits."""
        cell = getattr(self.table.columns, name)
        values = self.empty() if cell is None else self.cell(cell)
        if cell is not None and type(self.table.columns).model_fields[name].is_required():
            self.require(values, cell)
        return values

    def cell(self, cell: Cell) -> pd.Series:
        text = self.raw(cell)
        zone = self.context.config.zone
        match cell:
            case Moment(timestamp=[]):
                return self.parse(text, lambda t: cells.midnight(cells.parse_day(t, cell.date), zone), cell)
            case Moment():
                return self.parse(text, partial(cells.parse_timestamp, formats=cell.timestamp, zone=cell.zone), cell)
            case Day():
                return self.parse(text, partial(cells.parse_day, formats=cell.date), cell)
            case Money():
                return self.parse(text, partial(cells.parse_money, decimal=self.decimal(text)), cell)
            case Number():
                return self.parse(text, partial(cells.parse_number, decimal=self.decimal(text)), cell)
            case Channel():
                return self.parse(
                    _aliased(text, cell), partial(_channel, known=known_channels(self.context.config.channels)), cell
                )
            case Choice():
                return self.parse(_aliased(text, cell), partial(_choice, allowed=cell.allowed), cell)
            case Text():
                return _aliased(text, cell)
        self.fail(text == NOT_AN_ADDRESS, "not an e-mail address", cell)
        return text.where(text != NOT_AN_ADDRESS, None)

    def raw(self, cell: Cell) -> pd.Series:
        if cell.source is None:
            return pd.Series(cell.value, index=self.records.index, dtype=object)
        return self.text_of(cell.source)

    def text_of(self, header: str) -> pd.Series:
        return cells.clean(_field(self.records, header), self.mapping.read.nulls)

    def decimal(self, text: pd.Series) -> cells.Decimal_ | None:
        return self.mapping.read.decimal or cells.decimal_sign(text)

    def parse(self, text: pd.Series, parse: Callable[[str], str], cell: Cell) -> pd.Series:
        values, reasons = cells.parsed(text, parse)
        self.reject(reasons, cell)
        return values

    def empty(self) -> pd.Series:
        return pd.Series(None, index=self.records.index, dtype=object)

    # -- what is wrong

    def reject(self, reasons: pd.Series, cell: Cell | None) -> None:
        new = reasons.notna() & self.reason.isna()
        self.reason = self.reason.where(~new, reasons)
        self.where = self.where.where(~new, None if cell is None else cell.source)

    def fail(self, mask: pd.Series, reason: str, cell: Cell | None) -> None:
        self.reject(self.empty().where(~mask.astype(bool), reason), cell)

    def require(self, values: pd.Series, cell: Cell | None) -> None:
        self.fail(values.isna() & self.reason.isna(), "the cell is empty", cell)

    # -- what every row has

    def frame(self, columns: dict[str, object]) -> pd.DataFrame:
        """The finished rows."""
        common = {"source": SOURCE, "source_account": self.context.account.id, "source_id": self.records.get(ROW)}
        problems = {REJECT: self.reason, REJECT_COLUMN: self.where}
        return pd.DataFrame(common | columns | problems, index=self.records.index, dtype=object)

    def row_ids(self) -> pd.Series:
        """An id for each row from what it says, told apart by number when the file says the same again."""
        lines = self.content(sorted(self.mapping.headers())).itertuples(index=False, name=None)
        ids = pd.Series(
            [hashlib.sha256(repr(line).encode()).hexdigest()[:16] for line in lines], self.records.index, dtype=object
        )
        again = ids.groupby(ids.to_numpy()).cumcount()
        return ids.where(again == 0, ids + "-" + (again + 1).astype(str))

    def content(self, headers: list[str]) -> pd.DataFrame:
        """What the rows say in some columns of the file."""
        return pd.DataFrame({header: self.text_of(header).fillna("") for header in headers}, index=self.records.index)

    def own_id(self, name: str) -> pd.Series:
        cell = getattr(self.table.columns, name)
        if cell is None:
            return self.row_ids()
        values = self[name]
        self.require(values, cell)
        return values

    def lead_ids(self) -> pd.Series:
        """The id of the lead that each row is about: its id, else the key of its e-mail, else (in a lead file) its row."""
        columns = self.table.columns
        if getattr(columns, "lead_id", None) is None and getattr(columns, "email", None) is None:
            if self.mapping.tables.lead is None:
                return self.empty()
            return _Sheet(
                self.records, self.mapping, self.mapping.tables.lead.model_copy(update={"when": None}), self.context
            ).lead_ids()
        if columns.lead_id is not None:
            values = self["lead_id"]
            if not isinstance(self.table, OpportunityTable):
                self.require(values, columns.lead_id)
            return values
        by_email = email_key(self["email"])
        return by_email.fillna(self.row_ids()).astype(object) if isinstance(self.table, LeadTable) else by_email


def _lead(sheet: _Sheet) -> pd.DataFrame:
    lead_id, email, created_at = sheet.lead_ids(), sheet["email"], sheet["created_at"]
    plain = (
        "company",
        "country",
        "region",
        "owner",
        "status",
        "lifecycle_stage",
        "source_original",
        "source_latest",
        "capture_type",
    )
    return sheet.frame({
        "lead_id": lead_id, "record_key": _record_key(lead_id), "date_day": _day(created_at, sheet), "created_at": created_at,
        "updated_at": sheet["updated_at"], "email_hash": email, "email_domain": email_domain(email),
        **{name: sheet[name] for name in plain},
        "is_converted": False, "is_deleted": False, "converted_contact_id": None, "converted_account_id": None,
        "converted_opp_id": None, "converted_at": None, "merged_into": None, "excluded_by": excluded_by(sheet.records),
    })  # fmt: skip


def _lead_stages(sheet: _Sheet) -> pd.DataFrame:
    """One row per lead and stage whose day is filled."""
    lead_id = sheet.lead_ids()
    updated_at = sheet["updated_at"]
    parts = []
    for stage, cell in cast(LeadTable, sheet.table).stages.items():
        filled = sheet.raw(cell).notna()
        part = _Sheet(
            sheet.records[filled], sheet.mapping, sheet.table.model_copy(update={"when": None}), sheet.context
        )
        part.reason, part.where = sheet.reason[filled], sheet.where[filled]
        to_stage = pd.Series(stage, index=part.records.index, dtype=object)
        parts.append(_stage_rows(part, lead_id[filled], to_stage, part.cell(cell), updated_at[filled], cell.source))
    return pd.concat(parts).astype(object)


def _stage_event(sheet: _Sheet) -> pd.DataFrame:
    lead_id = sheet.lead_ids()
    sheet.require(lead_id, sheet.table.columns.lead_id or sheet.table.columns.email)
    to_stage = sheet["to_stage"]
    order = sheet.context.config.stages.order
    unknown = to_stage.notna() & ~to_stage.isin(order)
    sheet.reject(("stage " + to_stage.map(cells.shown, na_action="ignore") + " is not in stages.order: add an alias").where(unknown, None),
                 sheet.table.columns.to_stage)  # fmt: skip
    vendor_stage = sheet.raw(sheet.table.columns.to_stage)
    return _stage_rows(sheet, lead_id, to_stage, sheet["entered_at"], sheet["updated_at"], vendor_stage)


def _stage_rows(
    sheet: _Sheet,
    lead_id: pd.Series,
    to_stage: pd.Series,
    entered_at: pd.Series,
    updated_at: pd.Series,
    vendor_stage: object,
) -> pd.DataFrame:
    return sheet.frame({
        "object": "lead", "object_id": lead_id, "entered_at": entered_at, "changed_at": entered_at,
        "date_day": _day(entered_at, sheet), "from_stage": None, "to_stage": to_stage, "vendor_stage": vendor_stage,
        "updated_at": updated_at,
    })  # fmt: skip


def _opportunity(sheet: _Sheet) -> pd.DataFrame:
    table = cast(OpportunityTable, sheet.table)
    columns = table.columns
    in_lead_file = columns.opp_id is None and sheet.mapping.tables.lead is not None
    opp_id = sheet.lead_ids() if in_lead_file else sheet.own_id("opp_id")
    sheet.require(opp_id, columns.opp_id)
    created_at, stage, close_date = sheet["created_at"], sheet["stage"], sheet["close_date"]
    if columns.stage is not None:
        is_won, is_lost = _among(stage, table.won), _among(stage, table.lost)
        sheet.require(stage, columns.stage)
        unknown = stage.notna() & ~is_won & ~is_lost & ~_among(stage, table.open)
        reasons = "stage " + stage.map(cells.shown, na_action="ignore") + " is in none of won, lost, open"
        sheet.reject(reasons.where(unknown, None), columns.stage)
    else:
        won, lost = sheet["won_date"], sheet["lost_date"]
        is_won, is_lost, close_date = won.notna(), lost.notna(), won.fillna(lost)
        sheet.fail(is_won & is_lost, "it is both won and lost", columns.lost_date)
    plain = ("account_id", "name", "opp_type", "owner", "product", "region", "campaign_id")
    return sheet.frame({
        "opp_id": opp_id, "date_day": _day(created_at, sheet), "created_at": created_at, "updated_at": sheet["updated_at"],
        "close_date": close_date, "lead_id": sheet.lead_ids(), **{name: sheet[name] for name in plain},
        "stage": stage, **_money(sheet, "amount"), "is_won": is_won, "is_closed": is_won | is_lost, "is_deleted": False,
    })  # fmt: skip


def _spend(sheet: _Sheet) -> pd.DataFrame:
    columns = sheet.table.columns
    day, account, campaign = sheet["date_day"], sheet["account_id"], sheet["campaign_id"]
    ad_group, ad = (sheet[name].fillna(NOT_AT_THIS_LEVEL) for name in ("ad_group_id", "ad_id"))
    level = "ad" if columns.ad_id else "ad_group" if columns.ad_group_id else "campaign"
    counts = {name: _count(sheet, name) for name in ("impressions", "clicks")}
    name = sheet["campaign_name"]
    frame = sheet.frame({
        "date_day": day, "account_id": account, "campaign_id": campaign, "ad_group_id": ad_group, "ad_id": ad,
        "level": level, "channel": sheet["channel"].fillna("other"), "campaign_name": name.fillna(campaign), **counts,
        "conversions_platform": sheet["conversions_platform"], "conv_value_platform": sheet["conv_value_platform"],
        **_money(sheet, "spend"), "account_tz": sheet.context.config.timezone,
    })  # fmt: skip
    # Two different rows of one campaign and day are parts of a whole that the mapping does not tell apart: neither is it.
    key = ["account_id", "campaign_id", "ad_group_id", "ad_id", "date_day"]
    good = frame[REJECT].isna()
    said = [name for name in sheet.records.columns if name != ROW]
    different = pd.concat([frame[key], sheet.records[said].add_prefix("_")], axis=1)[good].drop_duplicates()
    torn = pd.MultiIndex.from_frame(different.loc[different.duplicated(key), key])
    split = pd.Series(pd.MultiIndex.from_frame(frame[key]).isin(torn), index=frame.index) & good
    reason = "several rows of the file have this campaign and day: map ad_group_id or ad_id to tell them apart"
    sheet.fail(split, reason, columns.campaign_id)
    return frame.assign(**{REJECT: sheet.reason, REJECT_COLUMN: sheet.where})


def _email_event(sheet: _Sheet) -> pd.DataFrame:
    table = cast(EmailEventTable, sheet.table)
    columns = table.columns
    parts = []
    for kind, cell in table.events.items():
        filled = sheet.raw(cell).notna()
        parts.append((_Sheet(sheet.records[filled], sheet.mapping, table, sheet.context), kind, cell))
    frames = []
    for part, kind, cell in parts or [(sheet, None, columns.event_at)]:
        send_id, email = part["send_id"], part["email"]
        part.require(email, columns.email)
        if kind is None:
            event_type = part["event_type"]
            part.require(event_type, columns.event_type)
        else:
            event_type = pd.Series(kind, index=part.records.index, dtype=object)
        event_at = part.cell(cast(Moment, cell))
        part.require(event_at, cell)
        event_id = part.own_id("event_id")
        machine = part["is_machine"].fillna("false")
        frames.append(part.frame({
            "event_id": event_id if kind is None else event_id + ":" + kind, "send_id": send_id,
            "campaign_id": part["campaign_id"].fillna(send_id), "recipient_hash": email, "event_type": event_type,
            "event_at": event_at, "sent_at": part["sent_at"], "date_day": None, "is_machine": machine, "updated_at": None,
        }))  # fmt: skip
    return _dated_by_send(pd.concat(frames).astype(object), sheet)


def _dated_by_send(events: pd.DataFrame, sheet: _Sheet) -> pd.DataFrame:
    """`sent_at` where the file does not say it: that of the recipient's own `sent` event; then the day of the send."""
    sent = events[(events["event_type"] == "sent") & events[REJECT].isna()]
    first = sent.groupby(["send_id", "recipient_hash"])["event_at"].min()
    pairs = pd.MultiIndex.from_frame(events[["send_id", "recipient_hash"]])
    known = pd.Series(first.reindex(pairs).to_numpy(), index=events.index, dtype=object)
    sent_at = events["sent_at"].astype(object).where(events["sent_at"].notna(), known)
    sent_at = sent_at.where(sent_at.notna(), None)
    lost = (sent_at.isna() & events[REJECT].isna()).to_numpy()
    reason = events[REJECT].mask(
        lost, "the time of the send is not known: map sent_at, or keep the file's `sent` events"
    )
    return events.assign(**{"sent_at": sent_at, "date_day": _day(sent_at, sheet), REJECT: reason})


def _email_clicks(sheet: _Sheet) -> pd.DataFrame:
    """One row per click that is not a machine's. What is wrong with others is told by the events' own table."""
    events = _email_event(sheet)
    clicks = events[(events["event_type"] == "click") & (events["is_machine"] != "true") & events[REJECT].isna()]
    return pd.DataFrame({
        **{name: clicks[name] for name in ("source", "source_account", "source_id")},
        "touch_id": "files:email_event:" + clicks["event_id"].astype(object), "record_key": email_key(clicks["recipient_hash"]),
        "touched_at": clicks["event_at"], "date_day": _day(clicks["event_at"], sheet), "channel": "email",
        "campaign_id": clicks["campaign_id"], "touch_type": "email_click", "evidence": None, "is_deleted": False,
        "updated_at": clicks["updated_at"], REJECT: None, REJECT_COLUMN: None,
    }, index=clicks.index, dtype=object)  # fmt: skip


def _cost(sheet: _Sheet) -> pd.DataFrame:
    """One row per cost and day of its period; a cost that cannot be spread is one row, rejected."""
    columns = sheet.table.columns
    cost_id, day, month = sheet.own_id("cost_id"), sheet["date_day"], sheet["month"]
    last_of_month = month.map(
        lambda d: date.fromisoformat(d).replace(day=monthrange(int(d[:4]), int(d[5:7]))[1]).isoformat(),
        na_action="ignore",
    )
    first = day.fillna(sheet["first_day"]).fillna(month)
    last = day.fillna(sheet["last_day"]).fillna(last_of_month)
    sheet.fail(
        first.isna() | last.isna(),
        "its day or period is not given",
        columns.date_day or columns.first_day or columns.month,
    )
    sheet.fail(first.fillna("") > last.fillna("9"), "its last day is before its first", columns.last_day)
    lengths = pd.to_datetime(last).sub(pd.to_datetime(first)).dt.days.add(1)
    sheet.fail(lengths > LONGEST_PERIOD, f"its period is longer than {LONGEST_PERIOD} days", columns.last_day)
    frame = sheet.frame({
        "cost_id": cost_id, "date_day": first, "category": sheet["category"], "channel": sheet["channel"],
        "campaign_id": sheet["campaign_id"], "description": sheet["description"], **_money(sheet, "amount"),
        "updated_at": sheet["updated_at"],
    })  # fmt: skip
    good = frame[REJECT].isna()
    count = lengths.where(good, 1).astype(int)
    spread = [
        _spread(amount, date.fromisoformat(start), days) if fits else [(start, amount)]
        for amount, start, days, fits in zip(frame["amount"], first, count, good, strict=True)
    ]
    long = frame.assign(_part=spread).explode("_part")
    pairs = long.pop("_part")
    return long.assign(date_day=pairs.str[0].astype(object), amount=pairs.str[1].astype(object))


def _spread(amount: str, first: date, days: int) -> list[tuple[str, str]]:
    """An amount evenly over days, cut to 6 decimals; the last day takes the remainder."""
    total = Decimal(amount)
    share = (total / days).quantize(cells.PLACES, ROUND_DOWN)
    shares = [share] * (days - 1) + [total - share * (days - 1)]
    return [((first + timedelta(days=n)).isoformat(), format(part, "f")) for n, part in enumerate(shares)]


def _touchpoint(sheet: _Sheet) -> pd.DataFrame:
    columns = sheet.table.columns
    lead_id, touched_at = sheet.lead_ids(), sheet["touched_at"]
    sheet.require(lead_id, columns.lead_id or columns.email)
    click_ids = {name: sheet[name] for name in CLICK_IDS}
    by_rules = channel_of(
        sheet.context.config.channels, click_ids=click_ids, utm_medium=sheet["utm_medium"], vendor_source=None, vendor_rules={},
        index=sheet.records.index,
    )  # fmt: skip
    evidence = pd.Series(None, index=sheet.records.index, dtype=object)
    for name in (*CLICK_IDS, "utm_medium"):
        evidence = evidence.where(evidence.notna() | (click_ids.get(name, sheet["utm_medium"])).isna(), name)
    return sheet.frame({
        "touch_id": "files:touch:" + sheet.own_id("touch_id"), "record_key": _record_key(lead_id), "touched_at": touched_at,
        "date_day": _day(touched_at, sheet), "channel": sheet["channel"].fillna(by_rules), "campaign_id": sheet["campaign_id"],
        "touch_type": sheet["touch_type"], "evidence": evidence, "is_deleted": False, "updated_at": sheet["updated_at"],
    })  # fmt: skip


def _links(sheet: _Sheet) -> pd.DataFrame:
    """One row per lead with an e-mail address. What is wrong with it is told by the lead's own table."""
    lead_id, email = sheet.lead_ids(), email_key(sheet["email"])
    links = sheet.frame({
        "from_key": _record_key(lead_id), "to_key": email, "rule": "email", "updated_at": None, "date_day": None,
        "is_deleted": False,
    })  # fmt: skip
    links[[REJECT, REJECT_COLUMN]] = None
    return links[lead_id.notna() & email.notna()]


_BUILD: dict[str, Callable[[_Sheet], pd.DataFrame]] = {
    "lead": _lead, "stage_event": _stage_event, "opportunity": _opportunity, "spend": _spend, "email_event": _email_event,
    "cost_ledger": _cost, "touchpoint": _touchpoint,
}  # fmt: skip


# -- words


def known_channels(channels: Channels) -> frozenset[str]:
    """Every channel that the rules can give, and the lists name."""
    rules = (
        channels.click_ids,
        channels.utm_medium,
        channels.hubspot_source,
        channels.salesforce_campaign_type,
        channels.google_ads_type,
    )
    return frozenset(
        {*channels.paid, *channels.not_marketing, "other", *(name for rule in rules for name in rule.values())}
    )


def _channel(text: str, known: frozenset[str]) -> str:
    name = "_".join(text.lower().replace("-", " ").replace("_", " ").split())
    if name not in known:
        raise cells.Unfit(
            f"channel {cells.shown(text)} is not known: add an alias for one of {', '.join(sorted(known))}"
        )
    return name


def _choice(text: str, allowed: tuple[str, ...]) -> str:
    word = text.lower()
    if allowed == ("true", "false"):
        word = "true" if word in _YES else "false" if word in _NO else word
    if word not in allowed:
        raise cells.Unfit(f"{cells.shown(text)} is none of {', '.join(allowed)}: add an alias")
    return word


def _aliased(text: pd.Series, cell: Text) -> pd.Series:
    if not cell.aliases:
        return text
    table = {spelling.lower(): word for spelling, word in cell.aliases.items()}
    return (
        text.map(lambda value: table.get(value.lower(), value), na_action="ignore")
        .astype(object)
        .where(text.notna(), None)
    )


def _among(text: pd.Series, words: list[str]) -> pd.Series:
    lowered = {word.lower() for word in words}
    return text.map(lambda value: value is not None and value.lower() in lowered).astype(bool)


# -- parts of rows


def _record_key(lead_id: pd.Series) -> pd.Series:
    return lead_id.map(lambda value: f"{SOURCE}:lead:{value}", na_action="ignore").astype(object)


def _day(moments: pd.Series, sheet: _Sheet) -> pd.Series:
    return local_day(moments, sheet.context.config.zone)


def _count(sheet: _Sheet, name: str) -> pd.Series:
    values = sheet[name]
    sheet.fail(
        values.map(lambda v: v is not None and ("." in v or v.startswith("-"))),
        "not a whole number",
        getattr(sheet.table.columns, name),
    )
    return values


def _money(sheet: _Sheet, name: str) -> dict[str, pd.Series]:
    """The amount and its currency: the same for all rows, by a column, or by the sign in the amount."""
    cell = getattr(sheet.table.columns, name)
    amount = sheet[name]
    currency: Currency | None = sheet.table.columns.currency
    if currency is None:
        return {name: amount, "currency": sheet.empty()}
    signs = sheet.empty() if cell is None else sheet.raw(cell).map(cells.currency_sign, na_action="ignore")
    if currency.source is None and currency.value is None:
        codes = signs.map(
            lambda sign: currency.symbols.get(sign, sign if sign in CURRENCIES else None), na_action="ignore"
        )
    else:
        codes = _aliased(sheet.raw(currency), currency).map(str.upper, na_action="ignore")
    codes = codes.astype(object).where(codes.notna(), None)
    named = currency if currency.source else cell
    sheet.fail(amount.notna() & codes.isna(), "its currency is not given", named)
    sheet.fail(codes.notna() & ~codes.isin(CURRENCIES), "its currency is not known", named)
    clash = [s is not None and c is not None and currency.symbols.get(s, c) == c and not cells.sign_allows(s, c) and s not in currency.symbols
             for s, c in zip(signs.where(signs.notna(), None), codes, strict=True)]  # fmt: skip
    sheet.fail(pd.Series(clash, index=codes.index), "the sign in the amount is of another currency", cell)
    return {name: amount, "currency": codes}
