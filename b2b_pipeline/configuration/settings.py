"""Where things are: the environment, read in one place."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values, load_dotenv

from b2b_pipeline.errors import AuthError, ConfigError
from b2b_pipeline.privacy import keep_secret, write_private


def load_environment(file: Path) -> None:
    """Settings of a `.env` that the environment does not have.

    Who names another `B2B_HOME` means all of it: Dagster's home is then in that one, not in the file's.
    """
    named = {name: os.environ.get(name) for name in ("B2B_HOME", "DAGSTER_HOME")}
    load_dotenv(file, override=False)
    if named["B2B_HOME"] and not named["DAGSTER_HOME"] and "DAGSTER_HOME" in dotenv_values(file):
        os.environ["DAGSTER_HOME"] = str(home() / "dagster")


def moved_from(file: Path) -> Path | None:
    """The folder that the paths of a `.env` speak of, when its checkout was moved from there with its home."""
    told = Path(dotenv_values(file).get("B2B_HOME") or "") if file.is_file() else Path()
    here = file.absolute().parent / ".b2b"
    return told.parent if told.name == ".b2b" and told != here and not told.exists() and here.exists() else None


def home() -> Path:
    """`B2B_HOME` (default `.b2b` in the working directory): warehouse, landing, Dagster's home, hash key."""
    return Path(os.environ.get("B2B_HOME") or ".b2b").expanduser().absolute()


def config_path() -> Path:
    """`B2B_CONFIG` (default `pipeline.yaml` in the working directory)."""
    return Path(os.environ.get("B2B_CONFIG") or "pipeline.yaml").expanduser().absolute()


def warehouse_url() -> str:
    """`B2B_WAREHOUSE_URL`, a SQLAlchemy URL; default a DuckDB file in the home folder."""
    return os.environ.get("B2B_WAREHOUSE_URL") or f"duckdb:///{home() / 'warehouse.duckdb'}"


def landing_root() -> Path:
    """`B2B_LANDING_URL`, a folder (or a `file://` URL of one); default `landing` in the home folder.

    Raises ConfigError for a URL of anything else.
    """
    given = os.environ.get("B2B_LANDING_URL", "")
    if "://" not in given:
        return Path(given).expanduser().absolute() if given else home() / "landing"
    url = urlsplit(given)
    if url.scheme != "file" or url.netloc not in ("", "localhost"):
        raise ConfigError(f"B2B_LANDING_URL: {url.scheme}:// is not supported; give a folder, or file:///its/path")
    return Path(unquote(url.path))


def shared() -> Path:
    """The folder beside landing: credentials that rotate and exports, which machines on one landing share."""
    root = landing_root()
    return root if root.parent == root.parent.parent else root.parent


def collected() -> Path:
    """Where events that were sent to us are kept until they are read: beside landing, so that machines share it."""
    return shared() / "collected"


def base_url(source: str, default: str) -> str:
    """`<SOURCE>_BASE_URL`, which points a connector elsewhere, or the vendor's own.

    Raises ConfigError when it is not an HTTP address.
    """
    name = f"{source.upper()}_BASE_URL"
    url = (os.environ.get(name) or default).rstrip("/")
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ConfigError(f"{name} is not an address such as {default or 'https://yourcompany.my.salesforce.com'}")
    return url


def secret(name: str) -> str:
    """A credential from the environment. Raises AuthError that names the variable when it is missing."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise AuthError(f"{name} is not set: put it into the environment or into .env")
    keep_secret(value)
    return value


def keep_setting(file: Path, name: str, value: str) -> None:
    """Put a variable into a `.env`, in the place of one of its name; the rest stays as it is. Mode 0600."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    kept = [line for line in lines if line.partition("=")[0].strip(" #") != name]
    at = next((n for n, line in enumerate(lines) if line.partition("=")[0].strip(" #") == name), len(kept))
    kept.insert(at, f"{name}={value}")
    write_private(file, "\n".join(kept) + "\n")


def credential_store(source: str) -> Path:
    """Where a rotated refresh token of `source` is kept; one that an earlier version kept in the home moves there."""
    path, earlier = (folder / "credentials" / f"{source}.json" for folder in (shared(), home()))
    if earlier != path and earlier.is_file() and not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, earlier.read_text(encoding="utf-8"))
        earlier.unlink()
    return path
