"""Every derived table, in the order in which they are made, and what each is made of."""

from __future__ import annotations

from functools import cache

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.base import Derived, Row, Trace, tables_in
from b2b_pipeline.derived.credit import CREDIT
from b2b_pipeline.derived.deal import DEAL
from b2b_pipeline.derived.email_recipient import EMAIL_RECIPIENT
from b2b_pipeline.derived.identity import IDENTITY_CLUSTER
from b2b_pipeline.derived.person import PERSON
from b2b_pipeline.derived.stage_entry import STAGE_ENTRY

DERIVED: dict[str, Derived] = {
    each.table.name: each for each in (IDENTITY_CLUSTER, PERSON, STAGE_ENTRY, DEAL, CREDIT, EMAIL_RECIPIENT)
}
# A configuration decides which rows a query takes, and not from which tables.
ANY = Config.model_validate({"start_date": "2000-01-01", "system_of_record": "files", "sources": {}, "files": {}})


@cache
def inputs(table: str) -> frozenset[str]:
    """The core tables that what a table, core or derived, says comes from: those of its queries, all the way down."""
    if table not in DERIVED:
        return frozenset({table})
    return frozenset().union(*(inputs(part) for part in tables_in(DERIVED[table].queries(ANY))))


@cache
def behind(table: str) -> frozenset[str]:
    """The core tables that a table, core or derived, is computed from in any way, all the way down."""
    if table not in DERIVED:
        return frozenset({table})
    return frozenset[str]().union(*(behind(part) for part in reads(table)))


@cache
def reads(table: str) -> frozenset[str]:
    """All tables, core or derived, that a derived table is computed from, those beside its queries too."""
    found = DERIVED[table]
    return frozenset(tables_in([*found.queries(ANY), *found.beside(ANY)]))


def trace(table: str, config: Config, rows: list[Row]) -> Trace:
    """From rows of a table to those of core tables that they were derived from; none for a core table's own."""
    return DERIVED[table].trace(config, rows) if table in DERIVED else iter(())
