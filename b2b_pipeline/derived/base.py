"""What a derived table is: the queries that its rows come from, and the way back to the core rows behind them.

Which tables it is made of follows from the queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Select, Table, func, select
from sqlalchemy.sql.elements import ClauseElement

from b2b_pipeline.configuration.config import Config

Row = dict[str, Any]
Trace = Iterator[tuple[Table, ColumnElement[bool]]]  # core table, and which of its rows


@dataclass(frozen=True)
class Derived:
    """One derived table.

    rows: all that it should hold, in the order of its columns, inside the current transaction; temporary tables that
        the query takes are gone when it ends.
    queries: what its rows say comes from the tables in these.
    beside: tables that only decide which rows stand, or name things. Coverage does not ask for them.
    trace: from some of its rows to those of core tables.
    """

    table: Table
    rows: Callable[[Connection, Config], AbstractContextManager[Select[Any]]]
    queries: Callable[[Config], Iterable[ClauseElement]]
    beside: Callable[[Config], Iterable[ClauseElement]] = lambda config: ()
    trace: Callable[[Config, list[Row]], Trace] = lambda config, rows: iter(())


def tables_in(queries: Iterable[ClauseElement]) -> set[str]:
    """The stored tables that queries read."""
    # SQLAlchemy's own `iterate` comes to a part again by every way that leads there.
    left: list[Any] = [*queries]
    seen: dict[int, Any] = {}
    while left:
        part = left.pop()
        if id(part) not in seen:
            seen[id(part)] = part
            left.extend(part.get_children())
    return {part.name for part in seen.values() if isinstance(part, Table) and part.info}


def text_order(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Text by its code points, whatever the collation of the database."""
    return column.collate("C")


def first_by(query: Select[Any], partition: ColumnElement[Any], *order: ColumnElement[Any], name: str) -> CTE:
    """The first row of each partition; `order` must end in something unique, text in `text_order`."""
    position = func.row_number().over(partition_by=partition, order_by=order).label("position")
    ranked = query.add_columns(position).subquery()
    return select(ranked).where(ranked.c.position == 1).cte(name)
