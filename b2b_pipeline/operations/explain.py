"""One number, taken apart: formula, components, SQL, rows, what the vendor said, and what changed since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Date, Select, Table, and_, cast, func, literal, or_, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext
from b2b_pipeline.core.feeds import Feed, feeds
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.derived.registry import trace
from b2b_pipeline.errors import DamagedError
from b2b_pipeline.landing.store import Landing, Slice
from b2b_pipeline.metrics.answer import Answer, decimal_text
from b2b_pipeline.metrics.gaps import FoundGaps
from b2b_pipeline.metrics.known import Known
from b2b_pipeline.metrics.model import STANDARD, Aggregate, Leg, Metric, Term
from b2b_pipeline.metrics.plan import Asked, Bounds, in_range, plan
from b2b_pipeline.metrics.query import QuestionError, ask, named
from b2b_pipeline.metrics.registry import COMPONENTS
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.engine import Warehouse

ALL = "*"  # every channel
NONE = "(none)"  # how no channel is written where it must be text
ROWS = 20  # shown of each table, unless asked for more
PAYLOADS = 5  # of each core table

ENVELOPE = (
    "slice_id", "source", "stream", "account", "start", "end", "since", "until", "pulled_at", "api_version", "run_id",
)  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One component of the metric: its value on the day, and the query that computes it from the tables."""

    component: str
    description: str
    side: str
    coefficient: str
    unit: str
    value: Decimal | None
    sql: str


@dataclass(frozen=True)
class Evidence:
    """Rows of one table behind the number; `total` is how many there are. `because`: which part they belong to."""

    table: str
    because: str
    total: int
    rows: list[Row]


@dataclass(frozen=True)
class Payload:
    """The landed record that a row of a core table came from, and the envelope of its slice."""

    table: str
    key: Row
    envelope: Row
    record: Row | None


@dataclass(frozen=True)
class Explanation:
    """Everything behind one metric on one day, in one channel or all of them (`channel` = ALL)."""

    metric: Metric
    day: date
    channel: str | None
    answer: Answer
    sql: str
    parts: list[Part]
    evidence: list[Evidence] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    changes: list[Row] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The whole of it in JSON's types: money as decimal strings, days and times in ISO."""
        plain = {
            "formula": self.metric.formula, "on": self.day, "channel": self.channel, **self.answer.as_json(),
            "because": [*self.answer.reasons, *filter(None, [self.answer.why_null]), *self.answer.notes],
            "sql": self.sql,
            "components": [vars(part) for part in self.parts], "rows": [vars(item) for item in self.evidence],
            "payloads": [vars(item) for item in self.payloads], "changes": self.changes,
        }  # fmt: skip
        result: dict[str, Any] = jsonable(plain)
        return result


def jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def explain(
    warehouse: Warehouse,
    landing: Landing,
    config: Config,
    name: str,
    day: date,
    channel: str | None = ALL,
    rows: int = ROWS,
) -> Explanation:
    """Take apart metric `name` on `day`; `channel` None is what has no channel. Raises QuestionError."""
    by = () if channel == ALL else ("channel",)
    answers = ask(warehouse, config, [name], day, day, by)
    metric = named(name)
    answer = next((a for a in answers if channel == ALL or a.keys["channel"] == channel), None)
    if answer is None:
        known = ", ".join(str(a.keys["channel"] or NONE) for a in answers) or "no channel"
        raise QuestionError(f"{name} has nothing on {day} in channel {channel or NONE}; it has in {known}")
    evidence = list(_evidence(warehouse, config, metric, day, channel, rows))
    return Explanation(
        metric, day, channel, answer, _metric_sql(warehouse, config, metric, day, channel),
        list(_parts(warehouse, config, answer, day, channel)), evidence,
        list(_payloads(warehouse, landing, config, evidence)), _changes(warehouse, metric, day, channel),
    )  # fmt: skip


def sql_text(warehouse: Warehouse, query: Select[Any]) -> str:
    """The query as it runs on this warehouse, with its values written out."""
    return str(query.compile(warehouse.engine, compile_kwargs={"literal_binds": True}))


def _in_channel(column: ColumnElement[Any], channel: str | None) -> list[ColumnElement[bool]]:
    return [] if channel == ALL else [column.is_not_distinct_from(channel)]


def _metric_sql(warehouse: Warehouse, config: Config, metric: Metric, day: date, channel: str | None) -> str:
    without = _unfed(warehouse, config, metric) if channel == ALL else ()
    by = () if channel == ALL else ("channel",)
    with warehouse.read() as connection:
        known_until = FoundGaps(connection, config).of([*metric.components]).known_until
    until = cast(literal(known_until, Date), Date)  # a bare date would be text where the SQL is written out
    asked = Asked(dimensions=by, without=without, known_until=until, periods=[Bounds(None, day, day)])
    query = plan(metric, config, asked)
    if channel != ALL:
        found = query.subquery()
        query = select(found).where(*_in_channel(found.c.channel, channel))
    return sql_text(warehouse, query)


def _unfed(warehouse: Warehouse, config: Config, metric: Metric) -> tuple[str, ...]:
    """The channels that a ratio over all channels leaves out."""
    with warehouse.read() as connection:
        return Known(connection, config).unfed(metric) if metric.denominator else ()


def _parts(warehouse: Warehouse, config: Config, answer: Answer, day: date, channel: str | None) -> Iterator[Part]:
    metric = answer.metric
    for side, terms in (("numerator", metric.numerator), ("denominator", metric.denominator)):
        for term, coefficient in terms.items():
            measure, label = COMPONENTS[term.measure], term.label
            factor = coefficient(config) if callable(coefficient) else coefficient
            live = measure.cells(config, STANDARD).subquery() if measure.is_stored else measure.rows(config, STANDARD)
            which = [in_range(live.c.date_day, *term.when.span(day, day)), *_in_channel(live.c.channel, channel)]
            which += [live.c.axis == term.axis] if term.axis else []
            which += [live.c.age <= term.within] if term.within is not None else []
            definition = select(live).where(*which)
            shown = "not given" if factor is None else f"{factor:f}" if isinstance(factor, Decimal) else str(factor)
            found = None if label in answer.missing else answer.parts.get(label, Fraction(0))
            value = None if found is None else Decimal(decimal_text(found, 6))
            yield Part(label, measure.description, side, shown, measure.unit, value, sql_text(warehouse, definition))


# -- rows


def _evidence(
    warehouse: Warehouse, config: Config, metric: Metric, day: date, channel: str | None, limit: int
) -> Iterator[Evidence]:
    """The rows that the components are of, and of derived rows the core rows that they were derived from."""
    traced: dict[str, dict[tuple[Any, ...], Row]] = {}
    without = _unfed(warehouse, config, metric)
    legs = [(term, leg) for term in metric.terms for leg in COMPONENTS[term.measure].legs]
    for term, leg in legs:
        conditions = list(_of_leg(term, leg, day, channel, without if channel == ALL else ()))
        counted = [(leg, term.label + (", taken away" if leg.sign < 0 else ""), conditions)]
        for arrived in leg.into:
            them = leg.select(config, leg.about, within=term.within).where(*conditions)
            counted.append((arrived, f"{term.label}: where they got", [arrived.about.in_(them)]))
        for of, because, which in counted:
            within = term.within if of is leg else None
            total, found = _rows(warehouse, of.select(config, of.table, within=within).where(*which), of.table, limit)
            yield Evidence(of.table.name, because, total, found)
            for table, condition in trace(of.table.name, config, found) if found else ():
                for row in _rows(warehouse, select(table).where(condition), table, 10 * limit)[1]:
                    traced.setdefault(table.name, {})[_key(table, row)] = row
    for table_name, core in traced.items():
        yield Evidence(table_name, "what these rows were derived from", len(core), list(core.values())[: 10 * limit])


def _of_leg(
    term: Term, leg: Leg, day: date, channel: str | None, without: Sequence[str]
) -> Iterator[ColumnElement[bool]]:
    yield in_range(leg.day, *term.when.span(day, day))
    axis, splits = leg.dataset.axis, leg.dataset.dimensions
    if COMPONENTS[term.measure].aggregate in (Aggregate.SUM, Aggregate.LEVEL, Aggregate.STATE):
        # What is 0 adds nothing; what is NULL is what could not be converted, and shows why the sum is small.
        yield or_(leg.value.is_(None), leg.value != 0)
    if axis and term.axis:
        yield axis.column == term.axis
    if "channel" in splits:
        yield from _in_channel(splits["channel"], channel)
        if without:
            yield func.coalesce(splits["channel"], "").not_in(without)


def _rows(warehouse: Warehouse, query: Select[Any], table: Table, limit: int) -> tuple[int, list[Row]]:
    """How many rows a query of the columns of `table` has, and the first of them."""
    total = warehouse.rows(select(func.count().label("n")).select_from(query.subquery()))[0]["n"]
    order = [table.c[name] for name in table.info["key"]]
    return total, warehouse.rows(query.order_by(*order).limit(limit))


# -- what the vendor said


@dataclass(frozen=True)
class OpenSlice:
    """A slice's envelope, its records, and the rows of one table that they map to; `record_number` is which record."""

    item: Slice
    records: list[Row]
    rows: pd.DataFrame


def _payloads(
    warehouse: Warehouse, landing: Landing, config: Config, evidence: list[Evidence]
) -> Iterator[Payload]:  # fmt: skip
    """Landed records of the core rows shown, at most PAYLOADS of each table; a row that two parts share comes once."""
    for name in dict.fromkeys(item.table for item in evidence):
        table = tables.metadata.tables[name]
        if "slice_id" not in table.c:
            continue
        shared = {_key(table, row): row for item in evidence if item.table == name for row in item.rows}
        opened: dict[str, OpenSlice | None] = {}
        for row in list(shared.values())[:PAYLOADS]:
            slice_id = row["slice_id"]
            if slice_id not in opened:
                opened[slice_id] = open_slice(warehouse, landing, config, table, slice_id)
            yield payload(table, row, opened[slice_id])


def _key(table: Table, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.info["key"])


def open_slice(
    warehouse: Warehouse, landing: Landing, config: Config, table: Table, slice_id: str
) -> OpenSlice | None:  # fmt: skip
    """A slice that a core table was loaded from, mapped again; None when landing no longer has it."""
    book = tables.load_audit.c
    loaded = select(book.source, book.stream, book.source_account).where(
        book.target_table == table.name, book.slice_id == slice_id
    )
    for origin in warehouse.rows(loaded):
        for item in landing.slices(origin["source"], origin["stream"], origin["source_account"]):
            if item.slice_id == slice_id:
                return _mapped(landing, config, table, item)
    return None


def _mapped(landing: Landing, config: Config, table: Table, item: Slice) -> OpenSlice:
    try:
        records = list(landing.records(item))
    except DamagedError as error:
        item, records = item.with_flaw(str(error)), []
    feed = next((feed for feed in feeds(table.name, config) if _is_from(feed, item)), None)
    if feed is None or not records:
        return OpenSlice(item, records, pd.DataFrame({"record_number": [], "source_id": []}))
    context = MappingContext(config, feed.source, feed.stream, Account(**item.account))
    rows = feed.mapping(flattened(records), context)
    return OpenSlice(item, records, rows.reset_index(names="record_number"))


def payload(table: Table, row: Row, opened: OpenSlice | None) -> Payload:
    """The landed record that a row of a core table came from, out of its slice."""
    key = {name: row[name] for name in table.info["key"]}
    if opened is None:
        return Payload(table.name, key, {"slice_id": row["slice_id"]}, None)
    envelope = {name: getattr(opened.item, name) for name in ENVELOPE}
    envelope |= {"damage": opened.item.flaw} if opened.item.flaw else {}
    like = opened.rows[opened.rows["source_id"].astype(str) == str(row["source_id"])]
    for number, candidates in like.groupby("record_number"):
        for mapped in enforce(table, candidates.reset_index(drop=True)).rows.to_dict("records"):
            if all(_same(mapped[name], row[name]) for name in key):
                return Payload(table.name, key, envelope, opened.records[int(str(number))])
    return Payload(table.name, key, envelope, None)


def _is_from(feed: Feed, item: Slice) -> bool:
    return (feed.source, feed.stream) == (item.source, item.stream) and feed.accepts(item.account["id"])


def _same(mapped: Any, stored: Any) -> bool:
    return bool(mapped == stored) if not pd.isna(mapped) else stored is None


# -- what changed since


def _changes(warehouse: Warehouse, metric: Metric, day: date, channel: str | None) -> list[Row]:
    change = tables.kpi_change.c
    columns = ("changed_at", "component", "axis", "age", "channel", "old_value", "new_value", "because", "run_id")
    of_terms = (
        and_(
            change.component == term.measure,
            in_range(change.date_day, *term.when.span(day, day)),
            *([change.axis == term.axis] if term.axis else []),
        )
        for term in metric.terms
    )
    query = (
        select(*(change[name] for name in columns))
        .where(or_(*of_terms), *_in_channel(change.channel, channel))
        .order_by(*(change[name] for name in columns[:5]))
    )
    return warehouse.rows(query)
