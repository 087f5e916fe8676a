"""What the Google Ads API finds in the world: entities, and their metrics as known at a moment."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from b2b_sandbox.gaql import QueryError
from b2b_sandbox.gaql_fields import FIELDS, camel

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

    from b2b_sandbox.gaql import Query, Row, Value
    from b2b_sandbox.world import World

ENTITIES = """
select id, parent_id, payload from ad_entity
where vendor = 'google_ads' and account_id = :account and level = :level and visible_at <= :now
order by cast(id as integer)
"""
# The newest row of each key: beside max(), SQLite takes the other columns from the row that has the maximum.
DAYS = """
select *, max(known_at) from ad_day
where vendor = 'google_ads' and account_id = :account and date_day between :start and :end and known_at <= :now
group by campaign_id, ad_group_id, date_day
"""
CONVERSION_DAYS = """
select *, max(known_at) from ad_conversion_day
where vendor = 'google_ads' and account_id = :account and date_day between :start and :end and known_at <= :now
group by campaign_id, ad_group_id, conversion_action_id, date_day
"""

OWNERS = "select distinct account_id from ad_entity where vendor = 'google_ads' and level = 'conversion_action'"

CONVERSION_TRACKING = "customer.conversion_tracking_setting"

Metrics = dict[str, Decimal]


@dataclass(frozen=True)
class Account:
    """One row of `ad_account`."""

    id: str
    name: str
    currency: str | None
    time_zone: str | None
    manager_id: str | None
    status: str
    is_manager: bool
    path: tuple[str, ...]  # the account itself, its manager, the manager's manager, …
    conversion_customer: str  # who owns the conversion actions that count in it

    def today(self, now: int) -> date:
        """The day in the account's time zone."""
        return datetime.fromtimestamp(now / 1000, ZoneInfo(self.time_zone or "UTC")).date()


def accounts(world: World) -> list[Account]:
    """Every account, managers too, by id."""
    with world.connect() as connection:
        rows = connection.execute(
            "select id, name, currency, time_zone, manager_id, status from ad_account "
            "where vendor = 'google_ads' order by id"
        ).fetchall()
        owners = {row["account_id"] for row in connection.execute(OWNERS)}
    managers = {row["id"]: row["manager_id"] for row in rows}
    found = []
    for row in rows:
        path = [row["id"]]
        while above := managers.get(path[-1]):
            path.append(above)
        owner = next((account for account in path if account in owners), row["id"])
        is_manager = row["id"] in managers.values()
        found.append(Account(**dict(row), is_manager=is_manager, path=tuple(path), conversion_customer=owner))
    return found


def find(world: World, account: Account, query: Query, now: int) -> list[Row]:
    """The rows of a query at the clock `now`, filtered and in order. Raises QueryError for a manager's metrics."""
    used = {field.split(".")[0] for field in (*query.select, *(condition.field for condition in query.where))}
    is_report = not used.isdisjoint({"metrics", "segments"})
    if is_report and account.is_manager:
        raise QueryError(
            "REQUESTED_METRICS_FOR_MANAGER",
            "Metrics cannot be requested for a manager account. To retrieve metrics, issue separate requests against "
            "each client account under the manager account.",
        )
    if query.resource == "customer_client":
        clients = [client for client in accounts(world) if account.id in client.path]
        entities = {client.id: _client(account, client) for client in clients}
    elif query.resource == "customer":
        entities = {account.id: {}}
    else:
        with world.connect() as connection:
            entities = _entities(connection, account, query.resource, now)
    rows = {id_: _customer(account) | row for id_, row in entities.items()}
    rows = {id_: row for id_, row in rows.items() if query.keeps(row, *used - {"metrics", "segments"})}
    if not is_report:
        return query.arrange(rows.values())
    with world.connect() as connection:
        return query.arrange(_report(connection, account, query, rows, now))


def _customer(account: Account) -> Row:
    row: dict[str, Value | None] = {
        "customer.resource_name": f"customers/{account.id}",
        "customer.id": int(account.id),
        "customer.descriptive_name": account.name,
        "customer.currency_code": account.currency,
        "customer.time_zone": account.time_zone,
        "customer.manager": account.is_manager,
        "customer.test_account": False,
        "customer.status": account.status,
        f"{CONVERSION_TRACKING}.google_ads_conversion_customer": f"customers/{account.conversion_customer}",
    }
    return {field: value for field, value in row.items() if value is not None}


def _client(account: Account, client: Account) -> Row:
    own = {field.replace("customer.", "customer_client."): value for field, value in _customer(client).items()}
    return own | {
        "customer_client.resource_name": f"customers/{account.id}/customerClients/{client.id}",
        "customer_client.client_customer": f"customers/{client.id}",
        "customer_client.level": client.path.index(account.id),
        "customer_client.hidden": False,
    }


def _entities(connection: sqlite3.Connection, account: Account, level: str, now: int) -> dict[str, Row]:
    """Id -> the entity's fields, with its campaign's for an ad group."""
    campaigns = _entities(connection, account, "campaign", now) if level == "ad_group" else {}
    found = connection.execute(ENTITIES, {"account": account.id, "level": level, "now": now})
    return {
        entity["id"]: campaigns.get(entity["parent_id"], {}) | _fields(level, json.loads(entity["payload"]))
        for entity in found
    }


def _fields(level: str, payload: Mapping[str, object]) -> Row:
    """The served fields that an entity has a value for; the payload is Google's JSON."""
    row: Row = {}
    for field, kind in FIELDS.items():
        resource, _, name = field.partition(".")
        if resource == level and (value := payload.get(camel(name))) is not None:
            row[field] = int(str(value)) if kind == "int64" else value  # type: ignore[assignment]
    return row


def _report(
    connection: sqlite3.Connection, account: Account, query: Query, entities: Mapping[str, Row], now: int
) -> Iterator[Row]:
    """One row per entity and combination of the selected segments, with the metrics summed.

    Without segments, entities without traffic are there with zeros. With segments, rows whose selected metrics are all
    zero are not: https://developers.google.com/google-ads/api/docs/reporting/zero-metrics.
    """
    segments, metrics = query.selected("segments"), query.selected("metrics")
    wanted = {*metrics, *(c.field for c in query.where if c.field.startswith("metrics."))}
    by_action = any(field.startswith("segments.conversion_action") for field in segments)
    days = _conversion_days(connection, account, query, now) if by_action else _days(connection, account, query, now)
    sums: defaultdict[tuple[str, ...], Metrics] = defaultdict(lambda: dict.fromkeys(wanted, Decimal(0)))
    values: dict[tuple[str, ...], Row] = {}
    if not segments:
        values = {(id_,): {} for id_ in entities}
    for ids, segment, day_metrics in days:
        id_ = ids[query.resource]
        if id_ not in entities or not query.keeps(segment, "segments"):
            continue
        key = (id_, *(str(segment[field]) for field in segments))
        values.setdefault(key, {field: segment[field] for field in segments})
        total = sums[key]
        for field in wanted:
            total[field] += day_metrics.get(field, 0)
    for key in sorted(values, key=lambda key: (int(key[0]), *key[1:])):
        total = sums[key]
        if segments and metrics and not any(total[field] for field in metrics):
            continue
        numbers: Row = {field: int(n) if FIELDS[field] == "int64" else float(n) for field, n in total.items()}
        if query.keeps(numbers, "metrics"):
            yield entities[key[0]] | values[key] | numbers


Day = tuple[dict[str, str], "Row", Metrics]  # the ids that it belongs to, its segments, its metrics


def _days(connection: sqlite3.Connection, account: Account, query: Query, now: int) -> Iterator[Day]:
    start, end = query.days()
    for day in connection.execute(DAYS, {"account": account.id, "start": start, "end": end, "now": now}):
        metrics = {f"metrics.{name}": Decimal(day[name]) for name in day.keys() if f"metrics.{name}" in FIELDS}  # noqa: SIM118
        yield _ids(day), _date_segments(day["date_day"]), metrics


def _conversion_days(connection: sqlite3.Connection, account: Account, query: Query, now: int) -> Iterator[Day]:
    """Only actions that are included in "Conversions" count in it; all count in "All conversions"."""
    start, end = query.days()
    actions = _entities(connection, account, "conversion_action", now)
    for day in connection.execute(CONVERSION_DAYS, {"account": account.id, "start": start, "end": end, "now": now}):
        action = actions[day["conversion_action_id"]]
        segments = _date_segments(day["date_day"]) | {
            "segments.conversion_action": action["conversion_action.resource_name"],
            "segments.conversion_action_name": action["conversion_action.name"],
            "segments.conversion_action_category": action["conversion_action.category"],
        }
        metrics = {"metrics.all_conversions": Decimal(day["conversions"])}
        if action["conversion_action.include_in_conversions_metric"]:
            metrics["metrics.conversions"] = Decimal(day["conversions"])
            metrics["metrics.conversions_value"] = Decimal(day["conversions_value"])
        yield _ids(day), segments, metrics


def _ids(day: sqlite3.Row) -> dict[str, str]:
    return {"customer": day["account_id"], "campaign": day["campaign_id"], "ad_group": day["ad_group_id"]}


def _date_segments(text: str) -> Row:
    day = date.fromisoformat(text)
    return {
        "segments.date": text,
        "segments.week": (day - timedelta(days=day.weekday())).isoformat(),
        "segments.month": day.replace(day=1).isoformat(),
        "segments.quarter": day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1).isoformat(),
        "segments.year": day.year,
    }
