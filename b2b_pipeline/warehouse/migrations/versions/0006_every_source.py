"""Tables of the sources beyond ads, e-mail and CRM; accounts and assets of touches."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, inspect

from b2b_pipeline.warehouse.tables import metadata

revision = "0006"
down_revision = "0005"

NEW = (
    "form_event", "web_session", "web_traffic_daily", "web_behaviour_daily", "search_console_daily", "product_event",
    "community_daily", "content_daily", "pr_mention", "survey_response", "support_ticket", "customer", "subscription",
    "invoice", "invoice_line",
)  # fmt: skip


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection, tables=[metadata.tables[name] for name in NEW])
    there = {column["name"] for column in inspect(connection).get_columns("touchpoint")}
    for name in ("account_id", "account_domain", "asset"):
        if name not in there:
            op.add_column("touchpoint", Column(name, Text))
