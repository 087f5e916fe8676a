"""Components, computed from the tables and stored by day; what changed since the last time is written down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
from sqlalchemy import (
    Connection,
    DateTime,
    Dialect,
    RowMapping,
    Select,
    Text,
    cast,
    func,
    literal,
    select,
    union,
    union_all,
)
from sqlalchemy.dialects import postgresql

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.core.fingerprint import digest
from b2b_pipeline.derived.made_of import Loads
from b2b_pipeline.derived.registry import inputs
from b2b_pipeline.metrics.model import STANDARD, Aggregate, Family, Measure
from b2b_pipeline.metrics.registry import COMPONENTS
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.tables import (
    kpi_change,
    kpi_component_daily,
    load_audit,
)
from b2b_pipeline.warehouse.write import Changes, append, read_whole, serialise, synchronise

_DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
_DEFINITIONS: dict[str, dict[str, str]] = {}  # configuration -> those of its components
TOLD = ("component", "axis", "age", "date_day", "channel", "campaign_id", "currency", "value")  # of what changed


def definitions(config: Config) -> dict[str, str]:
    """Component -> its definition. Made once for all families that a process publishes."""
    meaning = config.model_dump_json()
    if meaning not in _DEFINITIONS:
        _DEFINITIONS.clear()
        _DEFINITIONS[meaning] = {name: definition(measure, config) for name, measure in COMPONENTS.items()}
    return _DEFINITIONS[meaning]


def definition(measure: Measure, config: Config) -> str:
    """A digest of the query that a measure is: what changes it, in code or configuration, cannot pass as the same."""
    query = measure.cells(config, STANDARD)
    text = str(query.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
    return digest(text, measure.aggregate.value)


def family_rows(family: Family, config: Config) -> Select[Any]:
    """The rows of `kpi_component_daily` that a family stores, without their stamps."""
    parts, digests = [], definitions(config)
    for measure in family.stored:
        cell = measure.cells(config, STANDARD).subquery().c
        parts.append(
            select(
                cell.date_day,
                cast(literal(family.name), Text).label("family"),
                cast(literal(measure.name), Text).label("component"),
                cell.axis, cell.age, cell.channel, cell.campaign.label("campaign_id"), cell.currency,
                cell.value, cell.n_rows, cell.n_values,
                cast(literal(digests[measure.name]), Text).label("definition"),
            )
        )  # fmt: skip
    everything = union_all(*parts).subquery()
    return select(everything)


def publish_family(warehouse: Warehouse, config: Config, family: Family, run_id: str) -> set[date | None]:
    """Recompute a family's components and write what differs. Returns the days that changed.

    A day that had been published before and now says something else is listed in `kpi_change`, with the streams that
    brought news since.
    """
    if not family.stored:
        return set()
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    stored = kpi_component_daily
    with warehouse.write() as connection:
        serialise(connection, f"{stored.name} {family.name}")
        Loads(connection, config).note(connection, family.name, family.tables)
        read_whole(connection)
        days = select(stored.c.date_day, func.max(stored.c.as_of).label("as_of")).group_by(stored.c.date_day)
        before = connection.execute(days.where(stored.c.family == family.name))
        published: dict[date, datetime | None] = {row.date_day: row.as_of for row in before}
        changes = synchronise(
            connection, stored, family_rows(family, config),
            stamps={"as_of": cast(literal(now), DateTime), "run_id": cast(literal(run_id), Text)},
            within=stored.c.family == family.name, tell=TOLD,
        )  # fmt: skip
        _note_changes(connection, family, changes, published, now, run_id)
    return changes.days()


def restated_days(warehouse: Warehouse, family: Family, run_id: str) -> set[date]:
    """Days on which a run changed what a metric of the family is made of, whichever family stores it."""
    used = {name for metric in family.metrics for name in metric.components}
    days = [
        select(table.c.date_day).where(table.c.run_id == run_id, table.c.component.in_(used))
        for table in (kpi_component_daily, kpi_change)
    ]
    return {row["date_day"] for row in warehouse.rows(union(*days)) if row["date_day"]}


class _Cell(NamedTuple):
    component: str
    day: date
    channel: str | None
    axis: str | None
    age: int | None  # of what is kept value by value; of a cohort all ages are one sum


def _note_changes(
    connection: Connection,
    family: Family,
    changes: Changes,
    published: Mapping[date, datetime | None],
    now: datetime,
    run_id: str,
) -> None:
    gone, came = _totals(changes.gone), _totals(changes.came)
    more = {cell: more for cell in {*gone, *came} if cell.day in published and (more := came[cell] - gone[cell])}
    if not more:
        return
    last = max(filter(None, published.values()), default=None)
    because, stored = _news(connection, family, run_id, last), _stored(connection, family, more)
    rows = [
        {
            "date_day": cell.day, "component": cell.component, "axis": cell.axis, "age": cell.age,
            "channel": cell.channel, "old_value": stored[cell] - more[cell], "new_value": stored[cell],
            "changed_at": now, "run_id": run_id, "because": because,
        }
        for cell in sorted(more, key=str)
    ]  # fmt: skip
    append(connection, kpi_change, pa.Table.from_pylist(rows, schema=arrow_schema(kpi_change)))


def _totals(rows: Iterable[RowMapping | dict[str, Any]]) -> dict[_Cell, Decimal]:
    totals: dict[_Cell, Decimal] = defaultdict(Decimal)
    for row in rows:
        measure = COMPONENTS.get(row["component"])  # of an earlier version there may be others
        age = row["age"] if measure and measure.aggregate is Aggregate.QUANTILE else None
        cell = _Cell(row["component"], row["date_day"], row["channel"], row["axis"], age)
        totals[cell] += row["value"] or Decimal(0)
    return totals


def _stored(connection: Connection, family: Family, cells: Iterable[_Cell]) -> dict[_Cell, Decimal]:
    """What is stored of these cells now, whole."""
    stored = kpi_component_daily.c
    components, days = {cell.component for cell in cells}, {cell.day for cell in cells}
    keys = [stored[name] for name in _Cell._fields if name != "day"] + [stored.date_day]
    query = select(*keys, func.sum(stored.value).label("value")).where(
        stored.family == family.name, stored.component.in_(components), stored.date_day.in_(days)
    )
    return _totals(connection.execute(query.group_by(*keys)).mappings())


def _news(connection: Connection, family: Family, run_id: str, since: datetime | None) -> str:
    """The streams from which this run has loaded the family's tables; where it has not, all since the last change."""
    behind = {part for component in family.components for table in component.tables for part in inputs(table)}
    audit = load_audit.c
    query = (
        select(audit.source, audit.stream, func.count(audit.slice_id.distinct()), func.sum(audit.rows_loaded))
        .where(audit.target_table.in_(behind), audit.rows_loaded > 0)
        .group_by(audit.source, audit.stream)
        .order_by(audit.source, audit.stream)
    )
    earlier = query if since is None else query.where(audit.loaded_at >= since)
    found = connection.execute(query.where(audit.run_id == run_id)).all() or connection.execute(earlier).all()
    told = [f"{source}/{stream}: {rows} rows in {slices} slices" for source, stream, slices, rows in found]
    return "; ".join(told) or "a changed definition or configuration"
