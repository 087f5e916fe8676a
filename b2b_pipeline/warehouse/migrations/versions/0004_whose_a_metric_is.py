"""Of each metric its stage, owner and tier."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, inspect

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    names = {column["name"] for column in inspect(op.get_bind()).get_columns("metric_def")}
    for name in ("stage", "owner", "tier"):
        if name not in names:
            op.add_column("metric_def", Column(name, Text))
