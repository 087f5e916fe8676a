"""KPI families over a million leads and five million touches against hand-written SQL, on both engines.

    python -m benchmarks.kpis [--leads 1000000] [--touches 5000000] [--pairs 3]

A family's way from the core tables to its components is two queries: the derived table that it reads (`person`, `deal`)
and the family's own. Each is measured against the SQL that somebody would write for this one engine (`by_hand.py`), in
turns, and their rows are compared first. Then what the pipeline does in full: derive a table, publish a family, first
into nothing, then with nothing new.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, Select, Table, column, select, text
from sqlalchemy import table as relation

from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.derived.credit import credits
from b2b_pipeline.derived.deal import deals
from b2b_pipeline.derived.derive import derive_table
from b2b_pipeline.derived.gone import gone
from b2b_pipeline.derived.person import persons
from b2b_pipeline.derived.stage_entry import entries
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.metrics.store import family_rows, publish_family
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.migrate import upgrade
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.write import append, read_whole, temporary
from benchmarks import by_hand
from benchmarks.common import CHECKOUT, load, show
from benchmarks.load import warehouses

CONFIG = load_config(CHECKOUT / "examples" / "demo" / "pipeline.yaml")
DAYS = 1096
FIRST_DAY = np.datetime64("2023-01-01")
CHANNELS = np.array(["paid_search", "paid_social", "organic_search", "email", "direct", "referral", "events", "video"])
COMPONENTS = [each.name for each in tables.kpi_component_daily.c if each.name not in ("definition", "as_of", "run_id")]
# What is compared: the derived tables that families read, and the families.
QUERIES = {
    "person": lambda config: persons(config, tables.campaign), "stage_entry": entries,
    "deal": lambda config: deals(config, tables.campaign), "credit": lambda config: credits(config, tables.campaign),
}  # fmt: skip
PARTS = {
    "lead_generation": ("person", "stage_entry"), "funnel_conversion": ("person", "stage_entry", "deal"),
    "attribution": ("deal", "credit"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leads", type=int, default=1_000_000)
    parser.add_argument("--touches", type=int, default=5_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    config = CONFIG
    ratios: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    for url in warehouses():
        warehouse = Warehouse(url)
        upgrade(warehouse)
        for table, rows in world(options.leads, options.touches):
            with warehouse.write() as connection:
                append(connection, table, rows)
        if warehouse.dialect == "postgresql":
            analyse(warehouse)
        for table in tables.DERIVED[:-1]:
            whole.append(full(warehouse, table.name, partial(derive_table, warehouse, config, table)))
        if warehouse.dialect == "postgresql":
            analyse(warehouse)
        seconds = {}
        for name, query in QUERIES.items():
            columns = list(tables.metadata.tables[name].c.keys())
            seconds[name] = compare(
                warehouse, tables.metadata.tables[name], columns, query(config), name, options.pairs
            )
            ratios.append(row(warehouse, f"only {name}", [seconds[name]]))
        for family, names in PARTS.items():
            rows = family_rows(FAMILIES[family], config).subquery()
            columns = select(*(rows.c[part] for part in COMPONENTS))
            found = compare(warehouse, tables.kpi_component_daily, COMPONENTS, columns, family, options.pairs)
            ratios.append(row(warehouse, f"only {family}", [found]))
            ratios.append(row(warehouse, family, [*(seconds[name] for name in names), found]))
            publish = partial(publish_family, warehouse, config, FAMILIES[family], "benchmark")
            whole.append(full(warehouse, family, publish))
        show(f"Ours / by hand, {options.leads:,} leads, {options.touches:,} touches", ratios)
        show("Derived and published in full", whole)


def row(warehouse: Warehouse, name: str, parts: list[tuple[float, float]]) -> dict[str, Any]:
    ours, own = (sum(side) for side in zip(*parts, strict=True))
    times = {"ratio": ours / own, "ours s": ours, "by hand s": own}
    return {"warehouse": warehouse.dialect, "family": name, **times, "load": load()}


def compare(
    warehouse: Warehouse, like: Table, names: list[str], query: Select[Any], name: str, pairs: int
) -> tuple[float, float]:
    """Median seconds of ours, as the pipeline runs it into a temporary table, and of the SQL by hand into another."""
    plain = text(f"create temporary table by_hand as {by_hand.SQL[warehouse.dialect][name]}")
    seconds: tuple[list[float], list[float]] = ([], [])
    with warehouse.write() as connection, gone(connection, CONFIG):
        if warehouse.dialect == "postgresql":
            connection.execute(text("set local work_mem = '256MB'"))
            read_whole(connection)
        for turn in range(pairs + 1):
            began = time.perf_counter()
            with temporary(connection, like, names, query, "ours") as ours:
                between = time.perf_counter()
                connection.execute(plain)
                ended = time.perf_counter()
                if turn == 0:
                    hold_equal(connection, ours, names, name)
                else:
                    seconds[0].append(between - began)
                    seconds[1].append(ended - between)
                connection.execute(text("drop table by_hand"))
    return median(seconds[0]), median(seconds[1])


def hold_equal(connection: Connection, ours: Table, names: list[str], name: str) -> None:
    """Raise when the two did not find the same rows: then there is nothing to compare."""
    found: Any = select(*(ours.c[name] for name in names))
    own: Any = select(*(column(name) for name in names)).select_from(relation("by_hand"))
    for one, other in ((found, own), (own, found)):
        if rows := connection.execute(one.except_(other).limit(3)).all():
            raise RuntimeError(f"{name} by hand is not what ours is: {rows}")


def full(warehouse: Warehouse, what: str, run: Callable[[], object]) -> dict[str, Any]:
    times = []
    for _ in range(2):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return {"warehouse": warehouse.dialect, "what": what, "into nothing s": times[0], "nothing new s": times[1]}


def analyse(warehouse: Warehouse) -> None:
    with warehouse.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))


# -- the world


def world(leads: int, touches: int) -> list[tuple[Table, pa.Table]]:
    """Three years of a company: of five leads two turn up with the e-mail of another one, one in five has a deal."""
    random = np.random.default_rng(7)
    lead = np.arange(leads)
    key = np.char.add("salesforce:lead:", lead.astype(str))
    email = random.integers(0, leads * 4 // 5, leads)
    created = moments(random, leads)
    deals = leads // 5
    deal = np.arange(deals)
    opened = moments(random, deals)
    closed = opened.astype("datetime64[D]") + random.integers(5, 200, deals)
    won, lost = random.random(deals) < 0.3, random.random(deals) < 0.3
    cents = random.integers(100_000, 9_000_000, deals)
    stages = np.concatenate([np.flatnonzero(random.random(leads) < share) for share in (0.4, 0.2)])
    entered = created[stages] + random.integers(3600, 90 * 86_400, len(stages)).astype("timedelta64[s]")
    touched = moments(random, touches)
    spend_days, ads = np.divmod(np.arange(DAYS * 100), 100)
    cost_days, categories = np.divmod(np.arange(DAYS * 4), 4)
    converted = np.full(leads, None, dtype=object)
    converted[:deals] = np.char.add("o", deal.astype(str))
    return [
        (tables.lead, fill(
            tables.lead, leads, lead_id=lead.astype(str), record_key=key, created_at=created, updated_at=created,
            date_day=created.astype("datetime64[D]"), email_domain=np.array(["a.example", "b.example"])[lead % 2],
            owner=np.char.add("owner ", (lead % 20).astype(str)), country=np.array(["DE", "FR", "US"])[lead % 3],
            region=np.array(["EMEA", "AMER"])[lead % 2], is_deleted=lead % 50 == 0,
            converted_opp_id=converted, converted_at=created,
        )),
        (tables.identity_link, fill(
            tables.identity_link, leads, from_key=key, to_key=np.char.add("email:", email.astype(str)), rule="email",
            updated_at=created, is_deleted=False,
        )),
        (tables.touchpoint, fill(
            tables.touchpoint, touches, touch_id=np.char.add("t", np.arange(touches).astype(str)),
            record_key=key[random.integers(0, leads, touches)], touched_at=touched, updated_at=touched,
            is_deleted=False, date_day=touched.astype("datetime64[D]"),
            channel=CHANNELS[random.integers(0, len(CHANNELS), touches)],
            campaign_id=np.char.add("c", random.integers(0, 40, touches).astype(str)),
        )),
        (tables.stage_event, fill(
            tables.stage_event, len(stages), object="lead", object_id=stages.astype(str), entered_at=entered,
            updated_at=entered, date_day=entered.astype("datetime64[D]"), is_deleted=False,
            to_stage=np.where(np.arange(len(stages)) < len(stages) * 2 // 3, "mql", "sql"),
        )),
        (tables.opportunity, fill(
            tables.opportunity, deals, opp_id=np.char.add("o", deal.astype(str)), created_at=opened, updated_at=opened,
            date_day=opened.astype("datetime64[D]"), close_date=closed, account_id=(deal % (deals // 2)).astype(str),
            opp_type=np.where(deal % 10 == 0, "Renewal", "New"), currency="EUR", amount=cents, amount_reporting=cents,
            is_won=won, is_closed=won | lost, is_deleted=False,
        )),
        (tables.spend, fill(
            tables.spend, DAYS * 100, date_day=FIRST_DAY + spend_days, channel=CHANNELS[ads % 2], currency="EUR",
            campaign_id=np.char.add("c", (ads % 40).astype(str)),
            spend_reporting=random.integers(0, 90_000, DAYS * 100),
        )),
        (tables.cost_ledger, fill(
            tables.cost_ledger, DAYS * 4, date_day=FIRST_DAY + cost_days, currency="EUR",
            amount_reporting=random.integers(0, 90_000, DAYS * 4),
            category=np.array(["tools", "agency", "event", "salaries_sales"])[categories],
        )),
    ]  # fmt: skip


def moments(random: np.random.Generator, count: int) -> Any:
    return (FIRST_DAY + random.integers(0, DAYS, count)).astype("datetime64[s]") + random.integers(0, 86_400, count)


def fill(table: Table, count: int, **columns: Any) -> pa.Table:
    """Rows of a core table from numpy columns; money is given in cents, one value is meant for all rows."""
    given = {"source": "salesforce", "slice_id": "20260101-a", "run_id": "benchmark", **columns}
    arrays = []
    for field in arrow_schema(table):
        values = given.get(field.name)
        if values is None or isinstance(values, str | bool):
            arrays.append(pa.repeat(pa.scalar(values, field.type), count))
        elif pa.types.is_decimal(field.type):
            arrays.append(pa.array(values / 100).cast(field.type))
        else:
            arrays.append(pa.array(values).cast(field.type))
    return pa.table(arrays, schema=arrow_schema(table))


if __name__ == "__main__":
    main()
