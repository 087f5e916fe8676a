"""What a mapping saw of the configuration is kept with what it loaded."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, inspect

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    names = {column["name"] for column in inspect(op.get_bind()).get_columns("load_audit")}
    if "seen" not in names:
        op.add_column("load_audit", Column("seen", Text))
