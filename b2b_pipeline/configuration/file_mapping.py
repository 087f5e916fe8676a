"""How a person's CSV export becomes rows of core tables: the `files:` section of `pipeline.yaml`.

    files:
      deals:
        match: "deals*.csv"                 # file names, glob; upper and lower case are the same
        cadence: monthly                    # a month without a file is incomplete; or daily, once, irregular
        read: {decimal: ",", skip_totals: {column: Deal, value: "Total*"}}
        personal: [Contact name]            # further columns that must not be stored in clear
        tables:                             # one file may feed several tables
          opportunity:
            columns:
              opp_id: Deal                  # a column of the file
              created_at: {from: Opened, date: ["%d.%m.%Y", "%Y-%m-%d"]}
              amount: Value
              currency: {value: EUR}        # the same for all rows
              stage: {from: Stage, aliases: {Gewonnen: Won}}
            won: [Won]
            lost: [Lost]
            open: [Offer, Talks]

What is not declared is not guessed: a cell that does not fit sends its row to quarantine, with the reason.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from b2b_pipeline.errors import ContractError

EPOCHS = {"epoch": 1, "epoch_ms": 1000}  # timestamps that count from 1970: units in a second

CATEGORIES = ("ads", "agency", "tools", "salaries_sales", "salaries_marketing", "content", "event")
EVENT_TYPES = ("sent", "delivered", "open", "click", "bounce", "unsubscribe", "spam", "dropped", "other")
# What an e-mail tool counts of a send -> the type of event that its recipients have.
SUMMED = {
    "sends": "sent", "deliveries": "delivered", "opens": "open", "clicks": "click", "bounces": "bounce",
    "unsubscribes": "unsubscribe",
}  # fmt: skip
# Table -> column -> what an empty one lacks.
COUNTED = {
    "spend": {
        "spend": "cost", "impressions": "impressions", "clicks": "clicks", "conversions_platform": "conversions",
        "conv_value_platform": "value of conversions",
    },
    "email_summary": {name: name for name in SUMMED},
}  # fmt: skip
CLICK_IDS = ("gclid", "msclkid", "fbclid", "li_fat_id")
DELIMITERS = (",", ";", "\t", "|")


def field_name(header: str) -> str:
    """The name under which a column is landed: dots would read as levels, a leading underscore is ours."""
    return composed(header).strip().lstrip("_").replace(".", "_")


def composed(text: str) -> str:
    """Letters as one character each (NFC), and no invisible ones: names that look the same are the same."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")


def _text(value: Any) -> Any:
    """YAML reads `12` as a number and `2026-01-01` as a date; here they are text. What it made of `no` is not known."""
    if isinstance(value, bool):
        raise ValueError("YAML reads this as true or false: put it in quotes")
    return unicodedata.normalize("NFC", str(value)) if isinstance(value, str | int | float | date) else value


def _list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Str = Annotated[str, BeforeValidator(_text)]
Words = Annotated[list[Str], BeforeValidator(_list)]
Header = Annotated[str, BeforeValidator(_text)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


# -- how one column of a core table is filled


class Cell(_Section):
    """From a column of the file (`from`), or the same for all rows (`value`). A plain text means `from`."""

    source: Header | None = Field(None, alias="from")
    value: Str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"from": str(value)} if isinstance(value, str | int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one_origin(self) -> Cell:
        given = [self.source is not None, self.value is not None, len(self.parts) > 1]
        if sum(given) != 1 and not getattr(self, "symbols", None):
            raise ValueError("give either `from` (a column of the file) or `value` (the same for all rows)")
        return self

    @property
    def parts(self) -> list[str]:
        """Several columns that are one cell together."""
        return [*getattr(self, "join", []), *getattr(self, "multiply", []), *getattr(self, "add", [])]

    @property
    def sources(self) -> list[str]:
        """The columns of the file that it is made of."""
        return self.parts if self.source is None else [self.source]

    @property
    def title(self) -> str | None:
        """How to call it to people."""
        return " and ".join(self.sources) or None

    @property
    def field(self) -> str | None:
        return None if self.source is None else field_name(self.source)


class Text(Cell):
    """Text. `aliases`: other spellings -> the one that counts; upper and lower case are the same.

    `{join: [First name, Last name], with: " "}` puts several columns together, those that are filled.
    """

    join: list[Header] = []
    between: str = Field(" ", alias="with")
    aliases: dict[Str, Str] = {}


class Id(Text):
    """What identifies something. One that a spreadsheet has turned into a number (`4.71E+14`) is none."""


class Choice(Text):
    """One of a few words of ours; `aliases` translates the file's words into them."""

    allowed: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _known(self) -> Choice:
        for word in (*self.aliases.values(), *([] if self.value is None else [self.value])):
            if word not in self.allowed:
                raise ValueError(f"{word!r} is none of {', '.join(self.allowed)}")
        return self


class Category(Choice):
    allowed = CATEGORIES


class EventType(Choice):
    allowed = EVENT_TYPES


class Flag(Choice):
    """Yes or no: true, yes, y, 1, x; false, no, n, 0, empty."""

    allowed = ("true", "false")


class Channel(Text):
    """A channel, or what stands for one: `aliases: {Google Ads: paid_search}`."""


class Email(Cell):
    """An e-mail address; it is replaced by a keyed hash before it reaches the disk."""


class Number(Cell):
    """A number in the file's decimal style; `12 %` is 0.12, `1.2K` is 1200.

    `scale`: what it is multiplied by, `0.000001` for micros. `{multiply: [Price, Quantity]}` multiplies columns,
    `{add: [Hard bounces, Soft bounces]}` adds them.
    """

    multiply: list[Header] = []
    add: list[Header] = []
    scale: Annotated[Decimal, Field(gt=0)] = Decimal(1)

    @model_validator(mode="after")
    def _one_way(self) -> Number:
        if self.multiply and self.add:
            raise ValueError("give either `multiply` or `add`")
        return self


class Money(Number):
    """An amount such as `$22,700.00`, `1.234,56 €`, `(12.50)` or `1.5M`, in the file's decimal style."""


class Currency(Text):
    """ISO 4217. `symbols: {"$": USD}` instead of `from`: by the sign in the amount, which means what is said here."""

    symbols: dict[Str, Str] = {}

    @property
    def by_sign(self) -> bool:
        return self.source is None and self.value is None


def _formats(formats: list[str], about: ValidationInfo) -> list[str]:
    for item in formats:
        if item in EPOCHS and about.field_name == "date":
            raise ValueError(f"{item!r} is a point in time: write `timestamp: {item}`")
        if "%" not in item and item not in EPOCHS:
            raise ValueError(
                f"{item!r} is no date format: write it like %d.%m.%Y, %m/%d/%Y, %Y-%m-%d, %d %b %Y; seconds or "
                "milliseconds since 1970 are `timestamp: epoch` or `timestamp: epoch_ms`"
            )
    return formats


Formats = Annotated[Words, BeforeValidator(_list)]


def _known_zone(value: str | None) -> str | None:
    if value is not None and value not in available_timezones():
        raise ValueError(f"unknown time zone {value!r}: use an IANA name such as Europe/Berlin")
    return value


def _zoned(formats: Iterable[str], zone: str | None) -> None:
    if zone is None and any("%z" not in item and item not in EPOCHS for item in formats):
        raise ValueError("a timestamp needs its time zone: add `zone: Europe/Berlin` (or %z where the text says it)")


class Day(Cell):
    """A calendar day. `date`: one format or several. Of several the one that reads the whole column, without a day in
    the future, is taken; where that leaves two, a cell that they read differently is refused.

    `timestamp` formats with their `zone` (or `%z` in them): the day is then that in the reporting time zone.
    """

    date: Formats = ["%Y-%m-%d"]
    timestamp: Formats = []
    zone: str | None = None

    _check = field_validator("date", "timestamp")(_formats)
    _check_zone = field_validator("zone")(_known_zone)

    @model_validator(mode="after")
    def _has_zone(self) -> Day:
        _zoned(self.timestamp, self.zone)
        return self


class Month(Day):
    """A calendar month."""

    date: Formats = ["%Y-%m"]


class Moment(Cell):
    """A point in time: `timestamp` formats with their `zone` (or `%z` in them), or `date` formats.

    Seconds since 1970 are `timestamp: epoch`, milliseconds `timestamp: epoch_ms`; they need no zone. A day without
    a time is that day in the reporting time zone.
    """

    date: Formats = []
    timestamp: Formats = []
    zone: str | None = None

    _check = field_validator("date", "timestamp")(_formats)
    _check_zone = field_validator("zone")(_known_zone)

    @model_validator(mode="after")
    def _declared(self) -> Moment:
        if bool(self.date) == bool(self.timestamp):
            raise ValueError(
                'declare how it is written: `date: "%d.%m.%Y"`, or `timestamp: "%d.%m.%Y %H:%M"` with `zone`'
            )
        _zoned(self.timestamp, self.zone)
        return self


class Occurred(Moment):
    """When something happened to a recipient; or with `flag: true` whether, and then it is dated by the send.

    A flag is a yes or no, or a count: 0 and empty are no.
    """

    flag: bool = False

    @model_validator(mode="after")
    def _declared(self) -> Occurred:
        if not self.flag:
            Moment._declared(self)  # type: ignore[operator]
        elif self.date or self.timestamp:
            raise ValueError("a flag has no date format: it is dated by the send")
        return self


# -- the tables that files feed


class When(_Section):
    """Which rows of the file belong to a table: those where `column` is not empty, or has one of `values`."""

    column: Header
    values: Words = []

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class Table(_Section):
    """`columns`: our column -> where it comes from. `when`: only these rows of the file."""

    columns: Any
    when: When | None = None

    def cells(self) -> Iterator[Cell]:
        """Every cell that is declared, in order."""
        for name in type(self.columns).model_fields:
            if (cell := getattr(self.columns, name)) is not None:
                yield cell


class LeadColumns(_Section):
    lead_id: Id | None = None
    email: Email | None = None
    created_at: Moment
    updated_at: Moment | None = None
    company: Text | None = None
    country: Text | None = None
    region: Text | None = None
    owner: Text | None = None
    status: Text | None = None
    lifecycle_stage: Text | None = None
    source_original: Text | None = None
    source_latest: Text | None = None
    capture_type: Text | None = None


class LeadTable(Table):
    """One row per lead. `stages`: stage -> the column with the day it was entered; each filled one is a stage entry.

    `dimensions`: one of `dimensions.lead` of pipeline.yaml -> its column.
    Without `lead_id` a lead is known by its e-mail address, without that by its row.
    """

    columns: LeadColumns
    stages: dict[str, Moment] = {}
    dimensions: dict[str, Text] = {}

    def cells(self) -> Iterator[Cell]:
        yield from super().cells()
        yield from self.stages.values()
        yield from self.dimensions.values()


class StageEventColumns(_Section):
    lead_id: Id | None = None
    email: Email | None = None
    to_stage: Text
    entered_at: Moment
    updated_at: Moment | None = None


class StageEventTable(Table):
    """One row per entry of a lead into a stage."""

    columns: StageEventColumns


class OpportunityColumns(_Section):
    opp_id: Id | None = None
    lead_id: Id | None = None
    email: Email | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None
    close_date: Day | None = None
    won_date: Day | None = None
    lost_date: Day | None = None
    account_id: Id | None = None
    name: Text | None = None
    opp_type: Text | None = None
    stage: Text | None = None
    owner: Text | None = None
    product: Text | None = None
    region: Text | None = None
    campaign_id: Id | None = None
    is_won: Flag | None = None
    is_closed: Flag | None = None
    amount: Money | None = None
    currency: Currency | None = None

    @model_validator(mode="after")
    def _complete(self) -> OpportunityColumns:
        if self.amount is not None and self.currency is None:
            raise ValueError("an amount needs its currency: `currency: {value: EUR}`, a column, or its `symbols`")
        dated = self.won_date is not None or self.lost_date is not None
        if self.is_closed is not None and self.is_won is None:
            raise ValueError("`is_closed` needs `is_won` beside it")
        if (self.stage is not None or self.is_won is not None) == dated:
            raise ValueError(
                "say what is won: `stage` with the lists won, lost and open, or `won_date` and `lost_date`, "
                "or the flags `is_won` and `is_closed`"
            )
        if self.close_date is not None and dated:
            raise ValueError("`won_date` and `lost_date` are the close date: leave `close_date` out")
        return self


class OpportunityTable(Table):
    """One row per deal. Each value of `stage` is in one of `won`, `lost`, `open`; any other one is quarantined.

    With the flags `is_won` and `is_closed` the lists are not needed: `is_closed` without `is_won` is lost.
    `stages`: stage -> the column with the day it was entered, in the file's own words or ours.
    `lead_id` is the id of the lead in its own file.
    `dimensions`: one of `dimensions.opportunity` of pipeline.yaml -> its column.
    """

    columns: OpportunityColumns
    won: Words = []
    lost: Words = []
    open: Words = []
    stages: dict[str, Moment] = {}
    dimensions: dict[str, Text] = {}

    def cells(self) -> Iterator[Cell]:
        yield from super().cells()
        yield from self.stages.values()
        yield from self.dimensions.values()

    @model_validator(mode="after")
    def _won(self) -> OpportunityTable:
        if (self.columns.stage is not None and self.columns.is_won is None) != bool(self.won):
            raise ValueError("`won` lists the values of `stage` that mean won; they go together")
        return self


class SpendColumns(_Section):
    date_day: Day
    account_id: Id
    campaign_id: Id
    campaign_name: Text | None = None
    ad_group_id: Id | None = None
    ad_id: Id | None = None
    channel: Channel | None = None
    impressions: Number | None = None
    clicks: Number | None = None
    conversions_platform: Number | None = None
    conv_value_platform: Money | None = None
    spend: Money
    currency: Currency


class SpendTable(Table):
    """One row per campaign (or ad group, or ad) and day. `account_id` tells platforms apart: `{value: linkedin}`."""

    columns: SpendColumns


class EmailEventColumns(_Section):
    event_id: Id | None = None
    send_id: Id
    campaign_id: Id | None = None
    email: Email | None = None
    recipient_id: Id | None = None
    event_type: EventType | None = None
    event_at: Moment | None = None
    sent_at: Moment | None = None
    is_machine: Flag | None = None

    @model_validator(mode="after")
    def _per_recipient(self) -> EmailEventColumns:
        if (self.email is None) == (self.recipient_id is None):
            raise ValueError(
                "an export of e-mail events needs the recipient (`email`, or `recipient_id`); counts per campaign are "
                "the table `email_summary`"
            )
        return self


class EmailEventTable(Table):
    """One row per event of one recipient; or one row per recipient, with `events`: event type -> column with its time.

    Without `sent_at` the day of the send is that of the recipient's own `sent` event in the file. Recipients without an
    address are known by `recipient_id`, and join nobody else.
    """

    columns: EmailEventColumns
    events: dict[Literal[EVENT_TYPES], Occurred] = {}  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _one_shape(self) -> EmailEventTable:
        long = self.columns.event_type is not None and self.columns.event_at is not None
        if long == bool(self.events):
            raise ValueError("give `event_type` and `event_at` (a row per event), or `events` (a row per recipient)")
        sent = self.columns.sent_at is not None or ("sent" in self.events and not self.events["sent"].flag)
        if any(cell.flag for cell in self.events.values()) and not sent:
            raise ValueError("flags are dated by the send: map `sent_at`, or `sent` under `events` with its time")
        return self

    def cells(self) -> Iterator[Cell]:
        yield from super().cells()
        yield from self.events.values()


class EmailSummaryColumns(_Section):
    send_id: Id
    campaign_id: Id | None = None
    sent_at: Moment
    updated_at: Moment | None = None
    sends: Number | None = None
    deliveries: Number | None = None
    opens: Number | None = None
    clicks: Number | None = None
    bounces: Number | None = None
    unsubscribes: Number | None = None

    @model_validator(mode="after")
    def _something(self) -> EmailSummaryColumns:
        if not any(isinstance(getattr(self, name), Number) for name in type(self).model_fields):
            raise ValueError("map at least one of sends, deliveries, opens, clicks, bounces, unsubscribes")
        return self


class EmailSummaryTable(Table):
    """One row per send, with how many recipients the e-mail tool counts: each once, so `opens` are unique opens.

    What it counts of machines is in it. Where the recipients of a send are given too, they count.
    """

    columns: EmailSummaryColumns


class CostColumns(_Section):
    cost_id: Id | None = None
    date_day: Day | None = None
    first_day: Day | None = None
    last_day: Day | None = None
    month: Month | None = None
    category: Category
    channel: Channel | None = None
    campaign_id: Id | None = None
    description: Text | None = None
    updated_at: Moment | None = None
    amount: Money
    currency: Currency

    @model_validator(mode="after")
    def _one_period(self) -> CostColumns:
        if (self.first_day is None) != (self.last_day is None):
            raise ValueError("a period has a `first_day` and a `last_day`, both included")
        if sum(cell is not None for cell in (self.date_day, self.first_day, self.month)) == 0:
            raise ValueError("a cost needs its day: `date_day`, or `first_day` and `last_day`, or `month`")
        return self


class CostTable(Table):
    """One row per cost. It counts on `date_day` where that is filled, else spread over first to last day, or month."""

    columns: CostColumns


class RateColumns(_Section):
    date_day: Day
    currency: Currency
    per_eur: Number | None = None
    in_eur: Number | None = None

    @model_validator(mode="after")
    def _one_way(self) -> RateColumns:
        if (self.per_eur is None) == (self.in_eur is None):
            raise ValueError("give `per_eur` (units for one euro, as the ECB does) or `in_eur` (euros for one unit)")
        return self


class RateTable(Table):
    """One row per currency and day from which its rate holds, at most 40 days: for what the ECB does not fix.

    A currency that a file gives is converted by files alone.
    """

    columns: RateColumns


class TouchpointColumns(_Section):
    touch_id: Id | None = None
    lead_id: Id | None = None
    email: Email | None = None
    touched_at: Moment
    updated_at: Moment | None = None
    channel: Channel | None = None
    utm_medium: Text | None = None
    gclid: Text | None = None
    msclkid: Text | None = None
    fbclid: Text | None = None
    li_fat_id: Text | None = None
    campaign_id: Id | None = None
    touch_type: Text | None = None


class TouchpointTable(Table):
    """One row per contact of a person with our marketing: who came to a stand, signed up, replied.

    The channel is the `channel` column's, else that of click id and UTM medium by the channel rules.
    """

    columns: TouchpointColumns


class Tables(_Section):
    lead: LeadTable | None = None
    stage_event: StageEventTable | None = None
    opportunity: OpportunityTable | None = None
    spend: SpendTable | None = None
    email_event: EmailEventTable | None = None
    email_summary: EmailSummaryTable | None = None
    cost_ledger: CostTable | None = None
    touchpoint: TouchpointTable | None = None
    fx_rate: RateTable | None = None

    @model_validator(mode="after")
    def _someone(self) -> Tables:
        if not self.given():
            raise ValueError(f"name at least one of {', '.join(type(self).model_fields)}")
        for name in ("stage_event", "touchpoint"):
            table = getattr(self, name)
            if table and not (table.columns.lead_id or table.columns.email or self.lead):
                raise ValueError(f"{name}: say whose it is: `lead_id` or `email`")
        return self

    def given(self) -> dict[str, Table]:
        """The declared tables by name, in the order of this class."""
        return {name: table for name in type(self).model_fields if (table := getattr(self, name)) is not None}


# -- the file


class Totals(_Section):
    """Rows that are sums of others, told by `value` in `column` (glob: `Total*`); they are left out."""

    column: Header
    value: Words


class Read(_Section):
    """How the file is written.

    encoding: default UTF-8, or what the byte-order mark says. Never guessed: a file of another one is refused.
    sheet: of a workbook; default the first that has all the columns.
    delimiter: default the one of comma, semicolon, tab, bar that makes the columns appear.
    header_row: line of the column names, from 1; default the first that has all of them.
    header: the column names of a file that has none; with `header_row` in the place of those in that line.
    skip_footer: so many rows at the end are no rows. Rows of one cell after a blank line, and such as say
        `Grand Totals (3 records)`, `Confidential …` or `Copyright …`, are left out by themselves, and counted.
    skip_totals: rows that are sums of others, one rule or several. `Total` in a row without a day is one by itself.
    nulls: what stands for an empty cell.
    decimal: decimal sign of numbers. Default: as each column shows beyond doubt (`1.234,56`); a cell that could be read
        both ways (`1,234`) is then quarantined.
    """

    encoding: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    header_row: Annotated[int, Field(ge=1)] | None = None
    header: Annotated[list[Header], Field(min_length=1)] | None = None
    sheet: Header | None = None
    skip_footer: Annotated[int, Field(ge=0)] = 0
    skip_totals: Annotated[list[Totals], BeforeValidator(_list)] = []
    nulls: list[Str] = ["", "-", "--", "n/a", "#n/a", "null"]
    decimal: Literal[".", ","] | None = None

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            return None if value is None else codecs.lookup(value).name
        except LookupError:
            raise ValueError(f"unknown encoding {value!r}: use utf-8, cp1252, iso8859-15, utf-16 or the like") from None


class FileMapping(_Section):
    """One kind of export: which files it is, how they are written, which tables they feed, and how often they come.

    cadence: which days are missing when no file has them. `monthly`: every month needs a file; `daily`: every day is in
        one; `once`: a history, and what is landed of it is all there is; `irregular`: as `once`, and no file at all
        means that there was nothing. Default: as two files or more show it; a single file speaks for the days from its
        first row to its last, and what is asked beyond is incomplete.
    """

    match: Words
    cadence: Literal["daily", "monthly", "once", "irregular"] | None = None
    read: Read = Read()
    personal: list[Header] = []
    tables: Tables

    def matches(self, name: str) -> bool:
        return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in self.match)

    def feeds(self) -> tuple[str, ...]:
        """The core tables that the file gives rows of: the declared ones first, then what follows from them.

        Stage columns of leads give `stage_event`, e-mail clicks give `touchpoint`, addresses give `identity_link`.
        """
        given = self.tables.given()
        follows = {
            "stage_event": any(getattr(table, "stages", None) for table in given.values()),
            "touchpoint": self.tables.email_event is not None,
            "identity_link": any(self.links(table) for table in given.values()),
        }
        return tuple(dict.fromkeys([*given, *(name for name, yes in follows.items() if yes)]))

    def links(self, table: Table) -> bool:
        """Whether rows of `table` join a lead to an e-mail address."""
        return getattr(table.columns, "email", None) is not None and not isinstance(table, EmailEventTable)

    def headers(self) -> list[str]:
        """The columns that the file must have, each once, as the mapping writes them."""
        totals = [rule.column for rule in self.read.skip_totals]
        tables = self.tables.given().values()
        return list(dict.fromkeys([
            *(source for table in tables for cell in table.cells() for source in cell.sources),
            *(table.when.column for table in tables if table.when), *self.personal, *totals,
        ]))  # fmt: skip

    def emails(self) -> frozenset[str]:
        """The fields that hold e-mail addresses."""
        cells = (cell for table in self.tables.given().values() for cell in table.cells())
        return frozenset(cell.field for cell in cells if isinstance(cell, Email) and cell.field)

    def unknown_names(self, stages: Iterable[str], currencies: Iterable[str]) -> Iterator[str]:
        """Complaints about names that only the rest of the configuration can judge."""
        stages, currencies = list(stages), set(currencies)
        for name, table in self.tables.given().items():
            for stage in table.stages if isinstance(table, LeadTable) else ():
                if stage not in stages:
                    yield f"tables.{name}.stages: {stage!r} is not in stages.order: {', '.join(stages)}"
            cell = getattr(table.columns, "currency", None)
            words = [*cell.aliases.values(), *cell.symbols.values(), cell.value] if cell else []
            for word in words:
                if word is not None and word not in currencies:
                    yield f"tables.{name}.columns.currency: unknown currency {word!r}: use an ISO 4217 code such as EUR"


def personal_paths(mapping: FileMapping) -> tuple[str, ...]:
    """The fields that are hashed before they reach the disk: the declared ones and every e-mail address."""
    return tuple(sorted({*(field_name(name) for name in mapping.personal), *mapping.emails()}))


def mapping_for(name: str, files: Mapping[str, FileMapping]) -> str | None:
    """The name of the mapping whose `match` fits a file name, or None. Raises ContractError when two do."""
    found = [key for key, mapping in files.items() if mapping.matches(name)]
    if len(found) > 1:
        raise ContractError(f"{name} matches several mappings: {', '.join(found)}: make their `match` narrower")
    return found[0] if found else None


def file_stream(mapping: FileMapping) -> str:
    """A file is landed once, as `raw/files/<the first table it feeds>`."""
    return mapping.feeds()[0]
