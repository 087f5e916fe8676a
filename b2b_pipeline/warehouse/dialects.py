"""The few SQL constructs that DuckDB and PostgreSQL spell differently."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Date, Numeric, Text, case, cast, null
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction


class days_between(GenericFunction[int]):
    """Whole days from the first date to the second."""

    type = BigInteger()
    inherit_cache = True


@compiles(days_between, "duckdb")
def _days_between_duckdb(element: Any, compiler: Any, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"date_diff('day', {start}, {end})"


@compiles(days_between, "postgresql")
def _days_between_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"cast(({end}) - ({start}) as bigint)"


class minus_days(GenericFunction[Any]):
    """The date so many days earlier."""

    type = Date()
    inherit_cache = True


@compiles(minus_days)
def _minus_days(element: Any, compiler: Any, **options: Any) -> str:
    day, number = (compiler.process(clause, **options) for clause in element.clauses)
    return f"cast(({day}) - cast({number} as integer) as date)"


class truncate_day(GenericFunction[Any]):
    """`truncate_day('month', date)`: the first day of the week (ISO), month, quarter or year."""

    type = Date()
    inherit_cache = True


@compiles(truncate_day)
def _truncate_day(element: Any, compiler: Any, **options: Any) -> str:
    grain, day = (compiler.process(clause, **options) for clause in element.clauses)
    return f"cast(date_trunc({grain}, {day}) as date)"


class median(GenericFunction[Any]):
    """The median, the mean of the middle two for an even number."""

    type = Numeric()
    inherit_cache = True


@compiles(median, "duckdb")
def _median_duckdb(element: Any, compiler: Any, **options: Any) -> str:
    return f"median({compiler.process(element.clauses, **options)})"


@compiles(median, "postgresql")
def _median_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"percentile_cont(0.5) within group (order by {compiler.process(element.clauses, **options)})"


class entry(GenericFunction[str]):
    """The text under a key of a JSON object that is kept as text; NULL where it has none."""

    type = Text()
    inherit_cache = True


@compiles(entry)
def _entry(element: Any, compiler: Any, **options: Any) -> str:
    json, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(cast({json} as json) ->> {key})"


def ratio(numerator: ColumnElement[Any], denominator: ColumnElement[Any]) -> ColumnElement[Any]:
    """Numerator / denominator, NULL when the denominator is 0 or NULL. The only division in the project."""
    return case((denominator != 0, cast(numerator, Numeric(38, 12)) / cast(denominator, Numeric(38, 12))), else_=null())
