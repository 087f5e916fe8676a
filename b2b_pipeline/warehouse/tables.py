"""Every table of the warehouse, declared once: DDL, load contract, docs and asset descriptions follow from here.

A core table's `info` says how it is loaded:
    grain    one line, "One row per …"
    key      columns that identify a row
    version  column that decides between two rows of one key: the greater wins, the newer slice on a tie.
             Tables without a version are replaced by (source, account, day) from the newest slice that covers the day.
    whole    columns of what one slice gives as a whole, where that is more than one row; else the key
    required columns that must not be empty; a row without them is quarantined
    allowed  column -> the only values it may have
Timestamps are UTC, whole seconds, without zone. Money is NUMERIC(20,6) with its currency beside it; `amount_reporting`
and `spend_reporting` are in the reporting currency, at the fixing of `fx_date`. Personal data is keyed hashes.
`dimensions` is a JSON object of what `dimensions` in pipeline.yaml adds, dimension -> text.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, MetaData, Numeric, Table, Text

metadata = MetaData()

MONEY = Numeric(20, 6)
SUM = Numeric(38, 6)  # of money: room for more than one amount has
RATE = Numeric(20, 10)


def _text(*names: str) -> list[Column[Any]]:
    return [Column(name, Text) for name in names]


def _count(*names: str) -> list[Column[Any]]:
    return [Column(name, BigInteger) for name in names]


def _money(*names: str) -> list[Column[Any]]:
    return [Column(name, MONEY) for name in names]


def _flag(*names: str) -> list[Column[Any]]:
    return [Column(name, Boolean) for name in names]


def _at(*names: str) -> list[Column[Any]]:
    return [Column(name, DateTime) for name in names]


def _day(*names: str) -> list[Column[Any]]:
    return [Column(name, Date) for name in names]


def _core(name: str, *columns: Column[Any], grain: str, key: tuple[str, ...], version: str | None = None,
          required: tuple[str, ...] = (), allowed: dict[str, tuple[str, ...]] | None = None,
          whole: tuple[str, ...] = ()) -> Table:  # fmt: skip
    info = {
        "grain": grain, "key": key, "version": version, "required": (*key, *required), "allowed": allowed or {},
        "whole": whole or key,
    }  # fmt: skip
    return Table(
        name, metadata, *_text("source", "source_account", "source_id"), *columns,
        *_text("slice_id", "run_id"), *_at("loaded_at"), info=info, comment=grain,
    )  # fmt: skip


spend = _core(
    "spend",
    *_day("date_day"),
    *_text("account_id", "campaign_id", "ad_group_id", "ad_id", "level", "channel", "campaign_name"),
    *_count("impressions", "clicks"),
    Column("conversions_platform", MONEY), Column("conv_value_platform", MONEY),
    *_money("spend"), *_text("currency"), *_money("spend_reporting"), *_day("fx_date"), *_text("account_tz"),
    *_money("conv_value_reporting"),
    grain="One row per ad campaign and day of the ad account: what the platform says we spent.",
    key=("source", "account_id", "campaign_id", "ad_group_id", "ad_id", "date_day"),
)  # fmt: skip

campaign = _core(
    "campaign",
    *_text("campaign_id", "account_id", "name", "status", "campaign_type", "channel"),
    *_flag("is_deleted"), *_at("updated_at"), *_day("date_day"),
    grain="One row per campaign of an ad, e-mail or CRM system, as it is now.",
    key=("source", "campaign_id"), version="updated_at",
)  # fmt: skip

lead = _core(
    "lead",
    *_text("lead_id", "record_key"), *_day("date_day"), *_at("created_at", "updated_at"),
    *_text("email_hash", "email_domain", "company", "country", "region", "owner", "status", "lifecycle_stage",
           "source_original", "source_latest", "capture_type"),
    *_flag("is_converted", "is_deleted"),
    *_text("converted_contact_id", "converted_account_id", "converted_opp_id"), *_at("converted_at"),
    *_text("merged_into", "excluded_by", "dimensions"),
    grain="One row per lead record of one source, as it is now.",
    key=("source", "lead_id"), version="updated_at", required=("record_key", "created_at"),
)  # fmt: skip

account = _core(
    "account",
    *_text("account_id", "name", "domain", "industry", "country", "segment"), *_flag("is_deleted"),
    *_at("created_at", "updated_at"), *_day("date_day"),
    grain="One row per customer account (company) of a CRM, as it is now.",
    key=("source", "account_id"), version="updated_at",
)  # fmt: skip

opportunity = _core(
    "opportunity",
    *_text("opp_id"), *_day("date_day"), *_at("created_at", "updated_at"), *_day("close_date"),
    *_text("account_id", "lead_id", "name", "opp_type", "stage", "owner", "product", "region", "campaign_id"),
    *_money("amount"), *_text("currency"), *_money("amount_reporting"), *_day("fx_date"),
    *_flag("is_won", "is_closed", "is_deleted"), *_text("dimensions"),
    grain="One row per opportunity (deal) of one source, as it is now; `date_day` is the day it was opened.",
    key=("source", "opp_id"), version="updated_at",
)  # fmt: skip

opp_contact_role = _core(
    "opp_contact_role",
    *_text("role_id", "opp_id", "contact_id", "role"), *_flag("is_primary", "is_deleted"),
    *_at("created_at", "updated_at"), *_day("date_day"),
    grain="One row per person on an opportunity; `contact_id` is the CRM's own id.",
    key=("source", "role_id"), version="updated_at", required=("opp_id", "contact_id"),
)  # fmt: skip

stage_event = _core(
    "stage_event",
    *_text("object", "object_id"), *_at("entered_at", "changed_at"), *_day("date_day"),
    *_text("from_stage", "to_stage", "vendor_stage"), *_at("updated_at"), *_flag("is_deleted"),
    grain="One row per recorded entry of a lead or opportunity into a stage; `vendor_stage` is the source's own word.",
    key=("source", "object", "object_id", "entered_at", "to_stage"), version="updated_at",
    allowed={"object": ("lead", "opportunity")},
)  # fmt: skip

email_send = _core(
    "email_send",
    *_text("send_id", "name", "subject_hash", "purpose", "audience"), *_at("sent_at", "updated_at"), *_day("date_day"),
    *_flag("is_deleted"),
    grain="One row per e-mail that is sent to many: newsletter, nurture step, announcement.",
    key=("source", "send_id"), version="updated_at",
)  # fmt: skip

email_event = _core(
    "email_event",
    *_text("event_id", "send_id", "campaign_id", "recipient_hash", "event_type"), *_at("event_at", "sent_at"),
    *_day("date_day"), *_flag("is_machine"), *_at("updated_at"),
    grain="One row per e-mail event of one recipient; `date_day` is the day of the send.",
    key=("source", "event_id"), version="updated_at",
    required=("send_id", "recipient_hash", "event_type", "event_at", "sent_at"),
    allowed={"event_type": ("sent", "delivered", "open", "click", "bounce", "unsubscribe", "spam", "dropped", "other")},
)  # fmt: skip

email_summary = _core(
    "email_summary",
    *_text("send_id", "campaign_id"), *_at("sent_at"), *_day("date_day"),
    *_count("sends", "deliveries", "opens", "clicks", "bounces", "unsubscribes"), *_at("updated_at"),
    grain="One row per send: how many recipients the e-mail tool itself counts; `date_day` is the day of the send.",
    key=("source", "send_id"), version="updated_at", required=("sent_at",),
)  # fmt: skip

touchpoint = _core(
    "touchpoint",
    *_text("touch_id", "record_key"), *_at("touched_at"), *_day("date_day"),
    *_text("channel", "campaign_id", "touch_type", "evidence"), *_flag("is_deleted"), *_at("updated_at"),
    *_text("account_id", "account_domain", "asset"),
    grain="One row per contact of a person, or of an account, with our marketing; `record_key` names the record it was "
          "seen on.",
    key=("source", "touch_id"), version="updated_at", required=("record_key", "touched_at"),
)  # fmt: skip

identity_link = _core(
    "identity_link",
    *_text("from_key", "to_key", "rule"), *_at("updated_at"), *_day("date_day"), *_flag("is_deleted"),
    grain="One row per reason to take two keys for the same person; keys read `source:object:id` or `email:hash`.",
    key=("source", "from_key", "rule", "to_key"), version="updated_at",
    allowed={"rule": ("conversion", "merge", "email")},
)  # fmt: skip

record_present = _core(
    "record_present",
    *_text("object", "object_id"), *_at("swept_at"), *_day("date_day"),
    grain="One row per record that a CRM has had, archived and recycled ones too, with when a sweep last found it; and "
          "per object one of the id *, with when it was last swept.",
    key=("source", "source_account", "object", "object_id"), version="swept_at", required=("swept_at",),
    allowed={
        "object": (
            "lead", "contact", "account", "opportunity", "opp_contact_role", "campaign_member", "survey_response",
            "support_ticket", "customer", "registrant",
        ),
    },
)  # fmt: skip

cost_ledger = _core(
    "cost_ledger",
    *_text("cost_id"), *_day("date_day"),
    *_text("category", "channel", "campaign_id", "description"),
    *_money("amount"), *_text("currency"), *_money("amount_reporting"), *_day("fx_date"), *_at("updated_at"),
    grain="One row per cost and day; a cost of a period is spread evenly over its days.",
    key=("source", "cost_id", "date_day"), whole=("source", "cost_id"), version="updated_at",
    required=("category", "amount", "currency"),
    allowed={"category": ("ads", "agency", "tools", "salaries_sales", "salaries_marketing", "content", "event")},
)  # fmt: skip

form_event = _core(
    "form_event",
    *_text("event_id", "record_key"), *_at("submitted_at"), *_day("date_day"),
    *_text("form_id", "form_name", "page", "channel", "campaign_id", "capture_type", "session_id"),
    *_flag("is_deleted"), *_at("updated_at"),
    grain="One row per submission of a form: on the site, in an ad, of a landing page; `record_key` names the record "
          "of who sent it, where that is told.",
    key=("source", "event_id"), version="updated_at", required=("submitted_at",),
)  # fmt: skip

web_session = _core(
    "web_session",
    *_text("session_id", "anonymous_id", "record_key"), *_at("started_at", "updated_at"), *_day("date_day"),
    *_count("pageviews", "key_events"), Column("engaged_seconds", MONEY),
    *_text("landing_page", "referrer", "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term",
           "click_id", "channel", "campaign_id", "country", "device"),
    *_flag("is_engaged", "is_bot", "is_deleted"),
    grain="One row per visit to the site, from sources that give events; `click_id` is the name of the one it came by.",
    key=("source", "session_id"), version="updated_at", required=("started_at",),
)  # fmt: skip

web_traffic_daily = _core(
    "web_traffic_daily",
    *_day("date_day"),
    *_text("property_id", "level", "utm_source", "utm_medium", "campaign_id", "landing_page", "channel",
           "campaign_name"),
    *_count("sessions", "engaged_sessions", "users", "new_users", "pageviews"),
    Column("key_events", MONEY), Column("engagement_seconds", MONEY), *_text("account_tz"),
    grain="One row per day of a web property and `level`: all of it, or by source, medium and campaign, or by landing "
          "page. Levels are never summed together, nor `users` over days.",
    key=("source", "property_id", "level", "utm_source", "utm_medium", "campaign_id", "landing_page", "date_day"),
    allowed={"level": ("property", "source", "landing_page")},
)  # fmt: skip

web_behaviour_daily = _core(
    "web_behaviour_daily",
    *_day("date_day"), *_text("property_id", "level", "url"),
    *_count("sessions", "bot_sessions", "users", "pageviews", "dead_clicks", "rage_clicks", "excessive_scrolls",
            "quickbacks", "script_errors", "error_clicks"),
    Column("scroll_depth_sum", MONEY), Column("engagement_seconds", MONEY), Column("active_seconds", MONEY),
    grain="One row per day of a web property and `level`, all of it or by page: how visitors fared. `scroll_depth_sum` "
          "is the average depth, in per cent, times the sessions.",
    key=("source", "property_id", "level", "url", "date_day"),
    allowed={"level": ("property", "page")},
)  # fmt: skip

search_console_daily = _core(
    "search_console_daily",
    *_day("date_day"), *_text("site", "search_type", "level", "query", "page", "country", "device"),
    *_count("impressions", "clicks"), Column("position_sum", SUM),
    grain="One row per day of a site in a search engine and `level`: all of it, by query, or by page. Levels are never "
          "summed together: rare queries are told of none. `position_sum` is the average position times impressions.",
    key=("source", "site", "search_type", "level", "query", "page", "country", "device", "date_day"),
    allowed={"level": ("site", "query", "page")},
)  # fmt: skip

product_event = _core(
    "product_event",
    *_text("event_id", "event_name", "user_key", "record_key", "account_id", "account_domain"),
    *_at("occurred_at", "updated_at"), *_day("date_day"), *_flag("is_deleted"),
    grain="One row per event of a user in the product: sign-up, activation, use.",
    key=("source", "event_id"), version="updated_at", required=("event_name", "occurred_at"),
)  # fmt: skip

community_daily = _core(
    "community_daily",
    *_day("date_day"), *_text("community_id", "community_name", "network"), *_flag("is_public"),
    *_count("members", "new_members", "active_members", "topics", "posts", "likes", "pageviews"),
    grain="One row per community (forum, page, channel) and day. `members` are those at its end; none is summed over "
          "days but what is new on them.",
    key=("source", "community_id", "date_day"), required=("network",),
)  # fmt: skip

content_daily = _core(
    "content_daily",
    *_day("date_day"), *_text("account_id", "post_id", "network", "counted", "title", "url", "content_type", "topic"),
    *_at("published_at"),
    *_count("impressions", "reach", "clicks", "likes", "comments", "shares", "video_views", "other_interactions"),
    grain="One row per post (video, share, article) and day: what happened on the day, or, where `counted` is to_date, "
          "all that had happened until its end.",
    key=("source", "post_id", "date_day"), required=("network",),
    allowed={"counted": ("day", "to_date")},
)  # fmt: skip

pr_mention = _core(
    "pr_mention",
    *_text("mention_id"), *_at("published_at", "updated_at"), *_day("date_day"),
    *_text("outlet", "title", "url", "tone", "campaign_id"), *_count("estimated_reach"), *_flag("is_deleted"),
    grain="One row per mention of us in the press or by others; `estimated_reach` is the monitor's estimate.",
    key=("source", "mention_id"), version="updated_at", required=("published_at",),
)  # fmt: skip

survey_response = _core(
    "survey_response",
    *_text("response_id", "survey_id", "survey_name", "record_key", "account_id"), *_at("submitted_at", "updated_at"),
    *_day("date_day"), *_count("nps"), Column("csat", MONEY), *_count("csat_scale"), *_text("codes"),
    *_flag("is_partial", "is_deleted"),
    grain="One row per response to a survey. `nps` is the 0 to 10 of the likelihood to recommend, `csat` a "
          "satisfaction from 1 to `csat_scale`, `codes` a JSON list of the choices made. Free text is not kept.",
    key=("source", "response_id"), version="updated_at", required=("submitted_at",),
)  # fmt: skip

support_ticket = _core(
    "support_ticket",
    *_text("ticket_id", "record_key", "account_id"), *_at("created_at", "updated_at"), *_day("date_day"),
    *_at("first_response_at", "resolved_at"),
    *_count("first_response_minutes", "resolution_minutes", "first_response_business_minutes",
            "resolution_business_minutes", "replies", "reopens"),
    *_text("status", "priority", "channel"), Column("csat", MONEY), *_count("csat_scale"),
    *_flag("is_resolved", "is_deleted"),
    grain="One row per request for support, as it is now. `csat` is a satisfaction from 1 to `csat_scale`; times are "
          "the vendor's own, where it tells them.",
    key=("source", "ticket_id"), version="updated_at", required=("created_at",),
)  # fmt: skip

customer = _core(
    "customer",
    *_text("customer_id", "email_hash", "email_domain", "name", "domain", "country", "currency"),
    *_at("created_at", "updated_at"), *_day("date_day"), *_flag("is_deleted"),
    grain="One row per customer of a billing system, as it is now.",
    key=("source", "customer_id"), version="updated_at",
)  # fmt: skip

subscription = _core(
    "subscription",
    *_text("subscription_id", "customer_id", "status", "plan", "cancel_reason"), *_count("quantity"),
    *_at("created_at", "updated_at"), *_day("date_day"),
    *_at("started_at", "trial_ends_at", "canceled_at", "ended_at"), *_money("mrr"), *_text("currency"),
    *_money("mrr_reporting"), *_day("fx_date"), *_flag("is_deleted"), *_day("ended_day"),
    grain="One row per subscription, as it is now; `date_day` is the day it started to be paid for, after its trial, "
          "`ended_day` the day it ended. One that ended before it was paid for has no `started_at`. `mrr` is what it "
          "brings in a month, tax and what is charged by use left out: 0 while it is on trial, paused or ended.",
    key=("source", "subscription_id"), version="updated_at", required=("customer_id",),
)  # fmt: skip

invoice = _core(
    "invoice",
    *_text("invoice_id", "kind", "customer_id", "subscription_id", "credited_invoice_id", "status"),
    *_at("issued_at", "due_at", "paid_at", "updated_at"), *_day("date_day"),
    *_money("amount", "tax", "amount_paid"), *_text("currency"), *_money("amount_reporting"), *_day("fx_date"),
    *_flag("is_deleted"),
    grain="One row per invoice or credit note that was issued. `amount` is without tax; a credit note's is negative. "
          "`status` is the billing system's word, but for one that was voided: void.",
    key=("source", "kind", "invoice_id"), version="updated_at",
    required=("customer_id", "issued_at", "amount", "currency"),
    allowed={"kind": ("invoice", "credit_note")},
)  # fmt: skip

invoice_line = _core(
    "invoice_line",
    *_text("line_id", "invoice_id", "subscription_id", "plan"), *_day("date_day", "first_day", "last_day"),
    *_money("amount"), *_text("currency"), *_money("amount_reporting"), *_day("fx_date"),
    *_flag("is_proration", "is_recurring", "is_deleted"), *_at("updated_at"),
    grain="One row per line of an invoice, with the first and last day of the service that it is for; `date_day` is "
          "the day the invoice was issued.",
    key=("source", "line_id"), version="updated_at", required=("invoice_id",),
)  # fmt: skip

fx_rate = _core(
    "fx_rate",
    *_day("date_day"), *_text("currency"), Column("per_eur", RATE),
    grain="One row per currency and fixing day: units of the currency for one euro, as the ECB fixed it.",
    key=("source", "currency", "date_day"), required=("per_eur",),
)  # fmt: skip

# -- derived from the core tables

identity_cluster = Table(
    "identity_cluster", metadata, *_text("record_key", "person_key"),
    info={"grain": "One row per record key: the person it resolves to.", "key": ("record_key",)},
)  # fmt: skip

person = Table(
    "person", metadata,
    *_text("person_key"), *_day("date_day"),
    *_text("channel", "campaign_id", "first_touch_id", "owner", "country", "region"),
    *_flag("is_excluded"),
    *_text("lead_source", "status", "company", "capture_type", "dimensions"),
    info={"grain": "One row per person who is a lead; `date_day` is the day they first became one.",
          "key": ("person_key",)},
)  # fmt: skip

stage_entry = Table(
    "stage_entry", metadata,
    *_text("person_key", "stage"), *_count("nth"), *_at("entered_at", "left_at", "recorded_at"), *_day("date_day"),
    *_flag("is_implied"),
    info={"grain": "One row per person, stage and entry into it; `date_day` is the day of the entry. A stage that was "
                   "skipped has one that `is_implied`, of when the person first came beyond it.",
          "key": ("person_key", "stage", "nth")},
)  # fmt: skip

deal = Table(
    "deal", metadata,
    *_text("source", "opp_id", "person_key"), *_day("date_day", "close_date"),
    *_text("channel", "campaign_id", "account_id", "opp_type", "stage", "owner", "product", "region", "currency"),
    *_money("amount_reporting"), *_flag("is_won", "is_lost", "is_new_customer"), *_count("cycle_days"),
    *_text("dimensions"),
    info={"grain": "One row per opportunity that counts, with its person and channel.", "key": ("source", "opp_id")},
)  # fmt: skip

credit = Table(
    "credit", metadata,
    *_text("source", "opp_id", "model", "touch_id"), *_count("window_days"), *_day("date_day"),
    *_text("channel", "campaign_id"), Column("weight", RATE), *_text("currency"), *_money("amount_reporting"),
    info={"grain": "One row per won opportunity, attribution model and touch that it is credited to; a deal without a "
                   "touch in the `window_days` before its close has one row that names none. `date_day` is the close.",
          "key": ("source", "opp_id", "model", "touch_id")},
)  # fmt: skip

email_recipient = Table(
    "email_recipient", metadata,
    *_text("source", "send_id", "recipient_hash", "event_type", "campaign_id"), *_day("date_day"),
    info={"grain": "One row per send, recipient and type of event; `date_day` is the day of the send.",
          "key": ("source", "send_id", "recipient_hash", "event_type")},
)  # fmt: skip

kpi_component_daily = Table(
    "kpi_component_daily", metadata,
    *_day("date_day"), *_text("family", "component", "axis"), *_count("age"),
    *_text("channel", "campaign_id", "currency"),
    Column("value", SUM), *_count("n_rows", "n_values"), *_text("definition"), *_at("as_of"), *_text("run_id"),
    info={"grain": "One row per component, day, channel, campaign, currency, `axis` and `age`: additive, so any sum of "
                   "it is right, but for one over an axis (an attribution model). `age` is how many days a cohort took "
                   "to get there, or the value that so many rows have. `n_values` of its `n_rows` rows have a value.",
          "key": ("component", "date_day", "axis", "age", "channel", "campaign_id", "currency")},
)  # fmt: skip

kpi_change = Table(
    "kpi_change", metadata,
    *_day("date_day"), *_text("component", "axis"), *_count("age"), *_text("channel"),
    Column("old_value", SUM), Column("new_value", SUM), *_at("changed_at"), *_text("run_id", "because"),
    info={"grain": "One row per component, axis, age, day and channel whenever a value that had been published "
                   "changed.",
          "key": ("component", "axis", "age", "date_day", "channel", "changed_at")},
)  # fmt: skip

metric_def = Table(
    "metric_def", metadata,
    *_text("metric", "family", "formula", "unit", "additivity", "stage", "owner", "tier", "version"),
    *_text("unavailable_because"), *_day("known_until"),
    info={"grain": "One row per metric: what it is, and until which day all of it can be known.", "key": ("metric",)},
)  # fmt: skip

metric_gap = Table(
    "metric_gap", metadata,
    *_text("metric", "channel", "campaign_id", "because"), *_flag("is_left_out"),
    info={"grain": "One row per metric, channel and campaign in which it is unknown; `is_left_out`: of totals too.",
          "key": ("metric", "channel", "campaign_id")},
)  # fmt: skip

metric_day_gap = Table(
    "metric_day_gap", metadata,
    *_text("metric"), *_day("date_day"), *_text("because"),
    info={"grain": "One row per metric and day that is not complete.", "key": ("metric", "date_day")},
)  # fmt: skip

component_day_gap = Table(
    "component_day_gap", metadata,
    *_text("component"), *_day("date_day"),
    info={"grain": "One row per component and day that was not read whole: where it has no row, it is unknown, not 0.",
          "key": ("component", "date_day")},
)  # fmt: skip

# -- the pipeline's own books

quarantine = Table(
    "quarantine", metadata,
    *_text("source", "source_account", "stream", "target_table", "slice_id", "record"), *_count("record_number"),
    *_text("reason", "column_name"), *_day("date_day"), *_text("run_id"), *_at("quarantined_at"),
    *_text("about", "source_id", "fact_days"),
    info={"grain": "One row per row that could not be loaded, with its reason. `date_day` is its day in landing, "
                   "`fact_days` the days that it would count on, NULL when nobody can tell.",
          "key": ("target_table", "slice_id", "record_number", "reason")},
)  # fmt: skip

load_audit = Table(
    "load_audit", metadata,
    *_text("target_table", "source", "source_account", "stream", "slice_id", "mapping_version", "run_id"),
    *_count("rows_in", "rows_loaded", "rows_quarantined", "rows_deduplicated"),
    *_text("checksum", "error"), *_at("loaded_at"), *_text("notes"), *_day("first_day", "last_day"), *_text("seen"),
    info={"grain": "One row per table and slice that was loaded, written in the same transaction. `first_day` and "
                   "`last_day`: of a dropped file, the days that its rows speak of. `mapping_version` and `seen`: what "
                   "the rows hang on beside the slice, code and settings (path -> digest); when one of them changes, "
                   "the table is loaded again.",
          "key": ("target_table", "slice_id")},
)  # fmt: skip

coverage = Table(
    "coverage", metadata,
    *_text("source", "stream", "source_account"), *_day("date_day"), *_flag("is_complete"),
    *_text("reason", "target_table"),
    info={"grain": "One row per table, stream, account (of files: mapping) and day: whether the table holds all of it. "
                   "`is_complete` is NULL on days before and after the only file, which nobody said it should cover.",
          "key": ("target_table", "source", "stream", "source_account", "date_day")},
)  # fmt: skip

made_of = Table(
    "made_of", metadata,
    *_text("name", "state"),
    info={"grain": "One row per derived table, KPI family, and for coverage: a digest of the loads and the "
          "configuration that it was last made of.", "key": ("name",)},
)  # fmt: skip

installation = Table(
    "installation", metadata,
    *_text("name", "value"),
    info={"grain": "One row per setting that may not change any more: zone, currency, first day, the hash key's "
          "fingerprint.", "key": ("name",)},
)  # fmt: skip

forgotten = Table(
    "forgotten", metadata,
    *_text("token", "excluded_by", "was"),
    info={"grain": "One row per person who asked to be forgotten: the token that stands for them, and a mark by which "
          "another machine knows what it has of them.", "key": ("token",)},
)  # fmt: skip

# Rates come first: amounts are converted as they are loaded.
CORE = (fx_rate, spend, campaign, lead, account, opportunity, opp_contact_role, stage_event, email_send, email_event,
        email_summary, touchpoint, identity_link, record_present, cost_ledger, form_event, web_session,
        web_traffic_daily, web_behaviour_daily, search_console_daily, product_event, community_daily, content_daily,
        pr_mention, survey_response, support_ticket, customer, subscription, invoice, invoice_line)  # fmt: skip
DERIVED = (identity_cluster, person, stage_entry, deal, credit, email_recipient)
