"""The core tables that a dropped file can feed: which columns each takes, and what has to be given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import model_validator

from b2b_pipeline.configuration.file_cells import (
    EVENT_TYPES,
    Category,
    Cell,
    Channel,
    Currency,
    Day,
    Email,
    EventType,
    Flag,
    Id,
    Moment,
    Money,
    Month,
    Number,
    Occurred,
    Text,
    When,
    Words,
    _Section,
)


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
    ttclid: Text | None = None
    twclid: Text | None = None
    campaign_id: Id | None = None
    touch_type: Text | None = None


class TouchpointTable(Table):
    """One row per contact of a person with our marketing: who came to a stand, signed up, replied.

    The channel is the `channel` column's, else that of click id and UTM medium by the channel rules.
    """

    columns: TouchpointColumns


class PrMentionColumns(_Section):
    mention_id: Id | None = None
    published_at: Moment
    updated_at: Moment | None = None
    outlet: Text | None = None
    title: Text | None = None
    url: Text | None = None
    tone: Text | None = None
    campaign_id: Id | None = None
    estimated_reach: Number | None = None


class PrMentionTable(Table):
    """One row per mention of us in the press or by others, as a monitor lists them; `estimated_reach` is its estimate.

    Without `mention_id` a mention is known by its content: the same row in two exports is one.
    """

    columns: PrMentionColumns


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
    pr_mention: PrMentionTable | None = None

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
