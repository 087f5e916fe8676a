"""Where things are: the environment, read in one place."""

from __future__ import annotations

import os
from pathlib import Path

from b2b_pipeline.errors import AuthError
from b2b_pipeline.privacy import keep_secret


def home() -> Path:
    """`B2B_HOME` (default `.b2b` in the working directory): warehouse, landing, Dagster's home, hash key."""
    return Path(os.environ.get("B2B_HOME", ".b2b")).absolute()


def warehouse_url() -> str:
    """`B2B_WAREHOUSE_URL`, a SQLAlchemy URL; default a DuckDB file in the home folder."""
    return os.environ.get("B2B_WAREHOUSE_URL") or f"duckdb:///{home() / 'warehouse.duckdb'}"


def landing_root() -> Path:
    """`B2B_LANDING_URL`, a folder (or a `file://` URL of one); default `landing` in the home folder."""
    url = os.environ.get("B2B_LANDING_URL", "")
    return Path(url.removeprefix("file://")).absolute() if url else home() / "landing"


def base_url(source: str, default: str) -> str:
    """`<SOURCE>_BASE_URL`, which points a connector elsewhere, or the vendor's own."""
    return os.environ.get(f"{source.upper()}_BASE_URL", default).rstrip("/")


def secret(name: str) -> str:
    """A credential from the environment. Raises AuthError that names the variable when it is missing."""
    value = os.environ.get(name, "")
    if not value:
        raise AuthError(f"{name} is not set: put it into the environment or into .env")
    keep_secret(value)
    return value


def credential_store(source: str) -> Path:
    """Where a rotated refresh token of `source` is kept."""
    return home() / "credentials" / f"{source}.json"
