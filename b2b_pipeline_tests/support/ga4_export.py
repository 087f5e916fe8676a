"""Google Analytics' export to BigQuery, as a copy of it in a DuckDB file: the columns that Google documents.

(https://developers.google.com/analytics/bigquery/event-schema, read 2026-12-01; items and ecommerce in part.)
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import duckdb

from b2b_sandbox.collector import HOST, Step, Visit, visits
from b2b_sandbox.world import World

Event = dict[str, Any]
DATASET = "analytics_123456789"
VALUE = "struct(string_value varchar, int_value bigint, float_value double, double_value double)"
CAMPAIGN = "campaign_id varchar, campaign_name varchar, source varchar, medium varchar"
COLUMNS = {
    "event_date": "varchar", "event_timestamp": "bigint", "event_name": "varchar",
    "event_params": f"struct(key varchar, value {VALUE})[]",
    "event_previous_timestamp": "bigint", "event_value_in_usd": "double", "event_bundle_sequence_id": "bigint",
    "event_server_timestamp_offset": "bigint", "user_id": "varchar", "user_pseudo_id": "varchar",
    "privacy_info": "struct(analytics_storage varchar, ads_storage varchar, uses_transient_token varchar)",
    "user_properties": f"struct(key varchar, value {VALUE})[]", "user_first_touch_timestamp": "bigint",
    "user_ltv": "struct(revenue double, currency varchar)",
    "device": "struct(category varchar, operating_system varchar, language varchar, web_info struct(browser varchar, "
              "browser_version varchar, hostname varchar))",
    "geo": "struct(city varchar, country varchar, continent varchar, region varchar, sub_continent varchar, "
           "metro varchar)",
    "app_info": "struct(id varchar, version varchar, install_store varchar, firebase_app_id varchar, "
                "install_source varchar)",
    "traffic_source": "struct(name varchar, medium varchar, source varchar)", "stream_id": "varchar",
    "platform": "varchar", "event_dimensions": "struct(hostname varchar)",
    "ecommerce": "struct(total_item_quantity bigint, purchase_revenue double, transaction_id varchar)",
    "items": "struct(item_id varchar, item_name varchar)[]",
    "collected_traffic_source": "struct(manual_campaign_id varchar, manual_campaign_name varchar, "
                                "manual_source varchar, manual_medium varchar, manual_term varchar, "
                                "manual_content varchar, gclid varchar, dclid varchar, srsltid varchar)",
    "is_active_user": "boolean", "batch_event_index": "bigint", "batch_page_id": "bigint",
    "batch_ordering_id": "bigint",
    "session_traffic_source_last_click": f"struct(manual_campaign struct({CAMPAIGN}), google_ads_campaign "
                                         "struct(customer_id varchar, account_name varchar, campaign_id varchar, "
                                         "campaign_name varchar, ad_group_id varchar, ad_group_name varchar), "
                                         f"cross_channel_campaign struct({CAMPAIGN}, default_channel_group varchar))",
    "copied_at": "timestamptz",  # ours: what a copy says of itself
}  # fmt: skip
SEARCH = ("www.google.com", "duckduckgo.com", "www.bing.com")
CLICKS = {"gclid": ("google", "cpc"), "fbclid": ("facebook.com", "referral"), "li_fat_id": ("linkedin.com", "referral")}


def event(name: str, at: datetime, visitor: str | None = "1.2", session: int | None = 1, **params: Any) -> Event:
    """One event of the site, by its parameters; words are words, whole numbers are numbers."""
    given = {"ga_session_id": session, **params}
    return {
        "event_name": name, "event_timestamp": int(at.timestamp() * 1_000_000), "user_pseudo_id": visitor,
        "event_params": [{"key": key, "value": _value(value)} for key, value in given.items() if value is not None],
        "privacy_info": {"analytics_storage": "Yes" if visitor else "No"}, "platform": "WEB", "stream_id": "1",
        "device": {"category": "desktop"}, "geo": {"country": "Germany"},
    }  # fmt: skip


def _value(value: Any) -> Event:
    return {"int_value": value} if isinstance(value, int) else {"string_value": str(value)}


def write(
    path: Path, tables: Mapping[str, Iterable[Event]], copied: datetime | None = None, dataset: str = DATASET,
    without: Iterable[str] = (),
) -> None:  # fmt: skip
    """Tables (`events_20260601`) in the place of those of the same name, `without` some columns."""
    columns = {name: kind for name, kind in COLUMNS.items() if name not in without}
    listed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"create schema if not exists {dataset}")
        for table, events in tables.items():
            connection.execute(f"create or replace table {dataset}.{table} ({listed})")
            with NamedTemporaryFile("w", suffix=".jsonl") as file:
                stamp = {"copied_at": copied.isoformat()} if copied else {}
                file.writelines(json.dumps({**each, **stamp}) + "\n" for each in events)
                file.flush()
                read = f"read_json('{file.name}', format = 'newline_delimited', columns = {columns})"
                connection.execute(f"insert into {dataset}.{table} by name select * from {read}")  # noqa: S608


# -- what Google would have exported of the sandbox's site


def export(world: World, path: Path, first: date, zone: ZoneInfo) -> None:
    """The days that are over at the property, as they are known now; of today the intraday table."""
    now = datetime.fromtimestamp(world.now() / 1000, UTC)
    today, by_day = now.astimezone(zone).date(), defaultdict[date, list[Event]](list)
    with world.connect() as connection:
        for visit in visits(connection):
            if not visit.is_bot:  # Google leaves out those that it knows
                for each in _of_visit(visit, world.now()):
                    at = datetime.fromtimestamp(each["event_timestamp"] / 1e6, zone)
                    by_day[at.date()].append({**each, "event_date": f"{at:%Y%m%d}"})
    days = [first + timedelta(days=n) for n in range((today - first).days)]
    of_app = {
        day: event("screen_view", datetime.combine(day, time(12), zone), "app") for day in days
    }  # not of the site
    tables = {
        f"events_{day:%Y%m%d}": [*by_day[day], {**of_app[day], "event_date": f"{day:%Y%m%d}", "platform": "ANDROID"}]
        for day in days
    }
    write(path, {**tables, f"events_intraday_{today:%Y%m%d}": by_day[today]}, now)
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"drop table if exists {DATASET}.events_intraday_{today - timedelta(days=1):%Y%m%d}")


def _of_visit(visit: Visit, now: int) -> Iterator[Event]:
    known = sorted((step for step in visit.steps if step.received <= now), key=_happened)
    if not known or known[0].kind == "product_event":
        return
    session = visit.steps[0].at // 1000 if visit.visitor else None
    views = [step for step in known if step.kind == "page_view"]
    seconds = sum(step.said.get("engaged_ms", 0) for step in known) / 1000
    is_engaged = len(views) > 1 or seconds >= 10 or any(step.kind == "form_submit" for step in known)
    for n, step in enumerate(known):
        params = {
            "page_location": _location(step), "page_referrer": _referrer(step), "form_name": step.said.get("form_name"),
            "engagement_time_msec": step.said.get("engaged_ms"), "form_id": step.said.get("form_id"),
            "session_engaged": "1" if is_engaged and n == len(known) - 1 else None,
        }  # fmt: skip
        at = datetime.fromtimestamp(_happened(step) / 1000, UTC)
        name = {"ping": "user_engagement"}.get(step.kind, step.kind)
        for each in ("session_start", name) if n == 0 and visit.visitor else (name,):
            yield {**event(each, at, visit.visitor, session, **params), **_sources(step, known[0])}


def _happened(step: Step) -> int:
    return step.received if step.is_skewed else step.at


def _location(step: Step) -> str:
    said = {name: value for name, value in step.said.items() if name.startswith("utm_")}
    said |= {step.said["click_id"]: "Cj0KCQiA"} if "click_id" in step.said else {}
    return f"https://{step.said.get('page', HOST + '/')}{'?' + urlencode(said) if said else ''}"


def _referrer(step: Step) -> str | None:
    return f"https://{step.said['referrer']}/" if "referrer" in step.said else None


def _sources(step: Step, first: Step) -> Event:
    """What Google collects of an address, or makes of a referrer; and what it says of the session."""
    said, referrer = step.said, step.said.get("referrer", HOST)
    by_site = (None, None) if referrer == HOST else (referrer, "organic" if referrer in SEARCH else "referral")
    source, medium = CLICKS.get(said.get("click_id", ""), by_site)
    collected = {
        "manual_source": said.get("utm_source", source), "manual_medium": said.get("utm_medium", medium),
        "manual_campaign_name": said.get("utm_campaign"), "gclid": "Cj0" if said.get("click_id") == "gclid" else None,
    }  # fmt: skip
    campaign = {"google_ads_campaign": {"campaign_id": "77"}} if first.said.get("click_id") == "gclid" else {}
    return {"collected_traffic_source": collected, "session_traffic_source_last_click": campaign}
