"""How slices get into a table, by the kind of their stream; in the transaction that enters them in the books."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
from sqlalchemy import Column, Connection, MetaData, Table, delete, select

from b2b_pipeline.connectors.base import Kind
from b2b_pipeline.core.mapped import Mapped
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.write import append, merge_newest, replace_slices


class Place(NamedTuple):
    """Where a load writes: a table, and its two books."""

    table: Table
    audit: Table
    quarantine: Table

    @classmethod
    def of(cls, table: Table) -> Place:
        return cls(table, tables.load_audit, tables.quarantine)

    def beside(self) -> Place:
        """The same, empty and of other names, in which a table grows that is loaded again."""
        return Place(*(
            Table(f"reload_{self.table.name}_{each.name}", MetaData(), *(Column(c.name, c.type) for c in each.columns),
                  info=each.info)
            for each in self
        ))  # fmt: skip


Slices = Sequence[tuple[Mapped, pa.Table]]  # each with its rows as they are stored


def merge(connection: Connection, into: Place, slices: Slices) -> None:
    """Of each key the newest version counts, whichever slice has it."""
    merge_newest(connection, into.table, _newest_rows(into.table, slices))


def replace(connection: Connection, into: Place, slices: Slices) -> None:
    """Each in the place of the older ones of its stream and account, and of what was refused of them; of a report on
    the days that it still speaks for."""
    book, bad = into.audit.c, into.quarantine.c
    for mapped, rows in slices:
        item, days, target = mapped.item, mapped.days, mapped.table.name
        same = (book.target_table == target) & (book.source == item.source) & (book.stream == item.stream)
        query = select(book.slice_id).where(same, book.source_account == item.account["id"])
        older = [*connection.execute(query).scalars(), item.slice_id]
        refused = (bad.target_table == target) & bad.slice_id.in_(older)
        refused = refused if days is None else refused & bad.date_day.in_(days)
        connection.execute(delete(into.quarantine).where(refused))
        replace_slices(connection, into.table, rows, older, days)


def add(connection: Connection, into: Place, slices: Slices) -> None:
    """All that there are, at once, where none of them is yet: of each key the newest row counts."""
    append(connection, into.table, _newest_rows(into.table, slices))


WRITERS: Mapping[Kind, Callable[[Connection, Place, Slices], None]] = {
    "report": replace, "snapshot": replace, "changes": merge, "sweep": merge, "collection": add,
}  # fmt: skip


def _newest_rows(table: Table, slices: Slices) -> pa.Table:
    """One row per key across slices; what is spread over days comes from one slice as a whole."""
    if len(slices) == 1:  # the contract has seen to it
        return slices[0][1]
    rows = pa.concat_tables([rows for _, rows in slices])
    key, whole = list(table.info["key"]), list(table.info["whole"])
    order = [name for name in (table.info["version"], "slice_id") if name]
    frame = rows.select(list(dict.fromkeys([*key, *order]))).to_pandas().sort_values(order, kind="stable")
    kept = frame.drop_duplicates(key, keep="last")
    if whole != key:
        kept = kept[kept["slice_id"] == kept.groupby(whole)["slice_id"].transform("last")]
    return rows.take(pa.array(sorted(kept.index), pa.int64()))
