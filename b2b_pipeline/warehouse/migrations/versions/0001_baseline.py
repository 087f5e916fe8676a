"""Every table as `warehouse.tables` declares it, and on PostgreSQL the indexes.

The baseline follows the declaration until the first release; what changes after that is a revision of its own.
DuckDB gets no indexes: they block ALTER and do not help its scans.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Index
from sqlalchemy.schema import CreateIndex

from b2b_pipeline.warehouse.tables import metadata

revision = "0001"
down_revision = None

# Hash indexes, because an id may be longer than a b-tree's page can hold.
BY_ID = {
    "lead": ("lead_id", "record_key"), "account": ("account_id",), "opportunity": ("opp_id",),
    "opp_contact_role": ("role_id",), "stage_event": ("object_id",), "email_event": ("event_id", "send_id"),
    "touchpoint": ("touch_id", "record_key"), "identity_link": ("from_key",), "identity_cluster": ("record_key",),
}  # fmt: skip
BY_ORDER = {
    "spend": ("date_day",), "cost_ledger": ("date_day",), "kpi_component_daily": ("component", "date_day"),
    "kpi_change": ("date_day",), "coverage": ("date_day",), "load_audit": ("target_table", "slice_id"),
}  # fmt: skip


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection)
    if connection.dialect.name == "postgresql":
        for name, columns in BY_ID.items():
            for column in columns:
                op.execute(CreateIndex(_index(name, column, using="hash")))
        for name, columns in BY_ORDER.items():
            op.execute(CreateIndex(_index(name, *columns)))


def _index(name: str, *columns: str, using: str = "btree") -> Index:
    # On a copy: the declaration itself stays without indexes.
    table = metadata.tables[name].to_metadata(type(metadata)())
    return Index(f"{name}_by_{'_'.join(columns)}", *(table.c[column] for column in columns), postgresql_using=using)
