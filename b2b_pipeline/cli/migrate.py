"""`b2b migrate`: the warehouse's schema."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    app.command()(migrate)


def migrate() -> None:
    """Bring the warehouse's schema to the newest revision. Safe to repeat."""
    from b2b_pipeline.metrics.definitions import make_view
    from b2b_pipeline.warehouse.engine import Warehouse
    from b2b_pipeline.warehouse.migrate import HEAD, upgrade

    before = upgrade(Warehouse())
    make_view(Warehouse())
    typer.echo(f"schema {HEAD}: " + ("nothing to do" if before == HEAD else f"upgraded from {before or 'nothing'}"))
