"""How rows get into a table: newest wins, replaced whole, or made equal to a query. All in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.schema import CreateTableAs, DropTable

from b2b_pipeline.warehouse.bulk import stage

MEMORY = "32MB"  # for each sort of PostgreSQL; a hash may take twice as much
MANY = 1000  # changed rows that may change how PostgreSQL should go about a query


class Changes(NamedTuple):
    """What rows that left a table said, and rows that came; an altered row is in both."""

    gone: list[dict[str, Any]]
    came: list[dict[str, Any]]

    def days(self) -> set[date | None]:
        return {row["date_day"] for side in self for row in side if "date_day" in row}


def serialise(connection: Connection, name: str) -> None:
    """Make transactions that write the same thing wait for each other (PostgreSQL; DuckDB has one writer anyway).

    At READ COMMITTED two of them would each delete what they see, and both copies would stay.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def read_whole(connection: Connection) -> None:
    """Tell PostgreSQL's planner that the queries of a transaction read whole tables: no join looks rows up one by one.

    It does so where it takes many rows for few, and of a CTE it knows no numbers: the deals of 300,000 leads took over
    10 minutes instead of 6 seconds, depending on the sample that its statistics came from. And they get memory to hash
    in: of the 4 MB that a server gives unless told otherwise, it sorts, on disk.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("set local enable_nestloop = off"))
        has = select(func.pg_size_bytes(func.current_setting("work_mem"))).scalar_subquery()
        connection.execute(select(func.set_config("work_mem", MEMORY, true())).where(has < func.pg_size_bytes(MEMORY)))


def analyse(connection: Connection, table: Table) -> None:
    """Tell PostgreSQL's planner what a transaction put into a table, which autovacuum would find out minutes later."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"analyze {connection.dialect.identifier_preparer.format_table(table)}"))


def load_much(connection: Connection) -> None:
    """Tell DuckDB not to join row groups that are not full as long as the file is open: for that it takes 110 MB. Who
    writes little later does it."""
    if connection.dialect.name == "duckdb":
        connection.execute(text("set global max_vacuum_tasks = 0"))


def append(connection: Connection, table: Table, rows: pa.Table) -> None:
    with stage(connection, table, rows) as incoming:
        connection.execute(insert(table).from_select([c.name for c in incoming.c], select(incoming)))


def merge_newest(connection: Connection, table: Table, rows: pa.Table) -> None:
    """Upsert by the table's key: a row wins over a stored one with a smaller (version, slice_id).

    Commutative and idempotent: any order of slices, any number of times, gives the same table.
    """
    version = table.info["version"]
    with stage(connection, table, rows) as incoming:
        same = and_(*(incoming.c[name] == table.c[name] for name in table.info["key"]))
        newer = (incoming.c[version] > table.c[version]) | (
            (incoming.c[version] == table.c[version]) & (incoming.c.slice_id >= table.c.slice_id)
        )
        connection.execute(delete(table).where(exists(select(1).select_from(incoming).where(same, newer))))
        fresh = select(incoming).where(~exists(select(1).select_from(table).where(same)))
        connection.execute(insert(table).from_select([c.name for c in incoming.c], fresh))


def replace_rows(connection: Connection, table: Table, rows: pa.Table) -> None:
    """Put `rows` in the place of those with the same key."""
    with stage(connection, table, rows) as incoming:
        same = and_(*(incoming.c[name] == table.c[name] for name in table.info["key"]))
        connection.execute(delete(table).where(exists(select(1).select_from(incoming).where(same))))
        connection.execute(insert(table).from_select([c.name for c in incoming.c], select(incoming)))


def replace_slices(
    connection: Connection, table: Table, rows: pa.Table, slice_ids: Iterable[str], days: Sequence[date] | None = None
) -> None:
    """Put `rows` in the place of what the slices `slice_ids` had loaded, on `days` only where given."""
    old = table.c.slice_id.in_(list(slice_ids))
    connection.execute(delete(table).where(old if days is None else and_(old, table.c.date_day.in_(days))))
    append(connection, table, rows)


def synchronise(
    connection: Connection,
    table: Table,
    wanted: Select[Any],
    *,
    stamps: Mapping[str, ColumnElement[Any]] | None = None,
    within: ColumnElement[bool] | None = None,
    tell: Sequence[str] = (),
) -> Changes:
    """Make `table`, or the part of it `within`, equal to `wanted`, touching only rows that differ.

    `wanted` selects the table's columns in order, but for `stamps`: these are put on new rows and are no difference.
    Tells of the difference the columns `tell`, each combination once.
    """
    stamps = stamps or {}
    part = true() if within is None else within
    names = [column.name for column in table.columns if column.name not in stamps]
    with _differing(connection, table, names, wanted, part) as differing:
        if connection.execute(select(differing).limit(1)).first() is None:
            return Changes([], [])
        gone = select(differing).where(~differing.c.is_wanted).subquery("gone")
        came = select(*(differing.c[name] for name in names)).where(differing.c.is_wanted).subquery("came")
        same = and_(*(_same(gone.c[name], table.c[name]) for name in table.info["key"]))
        left = connection.execute(delete(table).where(part, exists(select(1).select_from(gone).where(same))))
        insertion = insert(table).from_select([*names, *stamps], select(came, *stamps.values()))
        new = connection.execute(insertion.execution_options(preserve_rowcount=True))
        if left.rowcount + new.rowcount >= MANY:
            analyse(connection, table)
        if not tell:
            return Changes([], [])
        told = [select(*(side.c[name] for name in tell)).distinct() for side in (gone, came)]
        return Changes(*([dict(row) for row in connection.execute(query).mappings()] for query in told))


@contextmanager
def _differing(
    connection: Connection, table: Table, names: Sequence[str], wanted: Select[Any], part: ColumnElement[bool]
) -> Iterator[Table]:
    """Rows that only one of `wanted` and that part of `table` has, each once, in a temporary table.

    One pass over both: EXCEPT would read and hash all rows once for each side.
    """
    want = _typed(wanted, table, names).add_columns(literal(1).label("is_wanted"))
    have = select(*(table.c[name] for name in names), literal(0)).where(part)
    *columns, is_wanted = union_all(want, have).subquery().c
    lowest, highest = func.min(is_wanted), func.max(is_wanted)
    rows = select(*columns, lowest == 1).group_by(*columns).having(lowest == highest)
    like = Table(
        "differing", MetaData(), *(Column(name, table.c[name].type) for name in names), Column("is_wanted", Boolean)
    )
    with temporary(connection, like, like.c.keys(), rows, like.name) as differing:
        yield differing


def _same(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """NULL is the same as NULL. The first half alone would take it for the empty text, the second cannot be hashed."""
    texts = (func.coalesce(cast(side, Text), "") for side in (one, other))
    return (next(texts) == next(texts)) & one.is_not_distinct_from(other)


@contextmanager
def temporary(
    connection: Connection, like: Table, names: Sequence[str], rows: Select[Any] | CompoundSelect[Any], name: str
) -> Iterator[Table]:
    """The result of `rows` as a temporary table with the columns `names` of `like`."""
    made = make_temporary(connection, like, names, rows, name)
    yield made
    connection.execute(DropTable(made))


def make_temporary(
    connection: Connection, like: Table, names: Sequence[str], rows: Select[Any] | CompoundSelect[Any], name: str
) -> Table:
    """The same for the caller to drop."""
    # Not INSERT … SELECT: PostgreSQL runs that on one processor only.
    create = CreateTableAs(_typed(rows, like, names), name, temporary=True)
    connection.execute(create)
    analyse(connection, create.table)
    return create.table


def _typed(rows: Select[Any] | CompoundSelect[Any], like: Table, names: Sequence[str]) -> Select[Any]:
    """`rows` with the names and types of columns of `like`."""
    return select(*(cast(c, like.c[n].type).label(n) for c, n in zip(rows.subquery().c, names, strict=True)))
