"""What is wrong with this installation, and the exact thing to do about it: `b2b doctor`. Never tells a secret."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from datetime import date
from importlib import metadata
from pathlib import Path

from sqlalchemy import select, text

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import SUNSET_FAILURE, SUNSET_WARNING, Finding, Source
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.warehouse.read import through
from b2b_pipeline.core.refused import quarantined_rows, refused_slices
from b2b_pipeline.derived.identity import shared_addresses
from b2b_pipeline.errors import AuthError, ConfigError, PipelineError, SkippedError, UnreachableError
from b2b_pipeline.files.inbox import troubles
from b2b_pipeline.landing.ingest import MISSHAPEN, misshapen
from b2b_pipeline.landing.slices import refusal
from b2b_pipeline.landing.store import UNREADABLE, Landing
from b2b_pipeline.metrics import targets
from b2b_pipeline.metrics.leaks import DAYS, leaks
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.privacy import PREFIX
from b2b_pipeline.warehouse import migrate
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import coverage

DISTRIBUTION = "b2b-pipeline"
OLDEST_POSTGRESQL = 15
SHORT_KEY = 16  # characters of a hash key below which it can be guessed
FREE_GIB = 1.0
READ_AGAIN = "correct it at its source and read it again (b2b backfill --again)"
DROP_AGAIN = "correct the file and drop it again, or: b2b files forget NAME"


def examine(today: date) -> Iterator[tuple[str, Finding]]:
    """(section, finding) of everything that the pipeline needs, as it is looked at."""
    yield from _section("versions", _versions())
    config, path = None, Path(os.environ.get("B2B_CONFIG", "pipeline.yaml"))
    try:
        config = load_config()
        targets.check(config)
        Pipeline(config, settings.home()).hold_fast()
    except ConfigError as error:
        fix = f"edit {path}" if path.is_file() else "make setup, or set B2B_CONFIG to where pipeline.yaml is"
        for line in str(error).splitlines():
            yield "configuration", Finding(False, line, fix)
    else:
        what = f"{path}: {len(config.sources)} sources, {len(config.files)} file mappings"
        yield "configuration", Finding(True, what)
    yield from _section("home", _home())
    if config is not None and config.files:
        inbox = Pipeline(config, settings.home()).inbox
        fix = "make it, or correct `inbox:` in pipeline.yaml and the variables that it names"
        yield "files", Finding(inbox.is_dir(), f"inbox {inbox}{'' if inbox.is_dir() else ' is not there'}", fix)
        for trouble in troubles(inbox, config.files, Landing(settings.landing_root(), None)):
            yield "files", Finding(False, trouble.what, trouble.fix)
    yield from _section("landing", _landing())
    yield from _section("warehouse", _warehouse(config, today))
    if config is not None:
        for name in config.sources:
            yield from _section(name, _source(through(SOURCES[name], config), config, today))


def _section(name: str, findings: Iterator[Finding]) -> Iterator[tuple[str, Finding]]:
    for finding in findings:
        yield name, finding


def _versions() -> Iterator[Finding]:
    """Dagster's packages must be the very versions that this project was built for."""
    for requirement in metadata.requires(DISTRIBUTION) or []:
        pinned = re.fullmatch(r"(dagster[\w-]*)==([\w.]+)", requirement.partition(";")[0].strip())
        if pinned is None:
            continue
        name, wanted = pinned.groups()
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "missing"
        yield Finding(found == wanted, f"{name} {found}", f"pip install {name}=={wanted}" if found != wanted else "")


def _home() -> Iterator[Finding]:
    home, landing = settings.home(), settings.landing_root()
    for name, folder in (("B2B_HOME", home), ("landing", landing)):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=folder):
                yield Finding(True, f"{name}: {folder} is writable")
        except OSError as error:
            fix = f"let this user write to {folder}, or set {'B2B_LANDING_URL' if name == 'landing' else name}"
            yield Finding(False, f"{name}: {folder} cannot be written to: {error.strerror}", fix)
            return
        free = shutil.disk_usage(folder).free / 2**30
        fix = f"make room, {FREE_GIB:g} GiB at least, or move {name}"
        yield Finding(free >= FREE_GIB, f"{name}: {free:.1f} GiB free", fix)
    if stat.S_IMODE(home.stat().st_mode) & 0o077:
        yield Finding(False, f"B2B_HOME: other users of this machine can look into {home}", f"chmod 700 {home}")
    yield _hash_key(home / "hash.key", landing)


def _hash_key(path: Path, landing: Path) -> Finding:
    given = os.environ.get("B2B_HASH_KEY")
    if given:
        fix = "before any data lands: python -c 'import secrets; print(secrets.token_hex(32))' makes a good one"
        return Finding(len(given) >= SHORT_KEY, f"B2B_HASH_KEY has {len(given)} characters", fix)
    if path.is_file():
        shared = stat.S_IMODE(path.stat().st_mode) & 0o077
        return Finding(not shared, f"hash key {path}{' can be read by others' if shared else ''}", f"chmod 600 {path}")
    fix = f"restore {path} from a backup, or set B2B_HASH_KEY to the old key: with another nobody is known again"
    return Finding(not any(landing.glob("raw/*/*")), "no hash key yet; the first pull makes one", fix)


def _landing() -> Iterator[Finding]:
    """A quick look: envelopes, and the size of every body. `b2b landing verify` reads them too."""
    landing = Landing(settings.landing_root(), None)
    slices = sum(len(landing.slices(*stream)) for stream in landing.streams())
    bad = [item for item, read_again in landing.verify(thorough=False) if not read_again]
    for item in bad:
        what, _, fix = refusal(item).rpartition("; ")
        yield Finding(False, what, fix)
    for line in landing.unreadable():
        yield Finding(False, f"{line} cannot be read", UNREADABLE)
    if not bad:
        yield Finding(True, f"{slices} slices, no damage at first sight (b2b landing verify reads all of them)")


def _warehouse(config: Config | None, today: date) -> Iterator[Finding]:
    try:
        yield from _schema(Warehouse())
        if config is not None and migrate.state(Warehouse()) == migrate.HEAD:
            yield from _shared(Warehouse(), config)
            yield from _incomplete(Warehouse())
            yield from _leaks(Warehouse(), config, today)
    except PipelineError as error:
        yield Finding(False, str(error), "correct B2B_WAREHOUSE_URL; see that its server runs and lets this user in")


def _shared(warehouse: Warehouse, config: Config) -> Iterator[Finding]:
    fix = "if it is not one person's, add it to `identity: {shared_emails: […]}`: it then joins nobody"
    for address, records in shared_addresses(warehouse).items():
        if f"email:{address.removeprefix(PREFIX).partition('@')[0]}" not in config.identity.shared_keys:
            yield Finding(True, f"{address} joins {records} lead records", fix, warning=True)


def _incomplete(warehouse: Warehouse) -> Iterator[Finding]:
    """Of each stream the days that numbers are not complete for, and the newest reason."""
    told: dict[str, list[tuple[date, str]]] = {}
    c = coverage.c
    query = select(c.source, c.stream, c.date_day, c.reason).where(~c.is_complete).order_by(c.date_day, c.reason)
    for row in warehouse.rows(query):
        told.setdefault(f"{row['source']}/{row['stream']}", []).append((row["date_day"], row["reason"]))
    for stream, found in sorted(told.items()):
        days = sorted({day for day, _ in found})
        number = f"{len(days)} day{'s' if len(days) > 1 else ''}, {days[0]} to {days[-1]}"
        what = f"not complete: {stream}: {number}: {found[-1][1]}"
        yield Finding(True, what, "numbers of these days say so; b2b backfill reads what is missing", warning=True)


def _leaks(warehouse: Warehouse, config: Config, today: date) -> Iterator[Finding]:
    """Paid leads without spend, campaigns that nobody knows, spend without leads, with their amounts."""
    with warehouse.read() as connection:
        found = leaks(connection, config, today)
    for leak in found:
        what = f"in the last {DAYS} days: {leak.told(config.currency)}"
        yield Finding(True, what, leak.fix, warning=True)


def _schema(warehouse: Warehouse) -> Iterator[Finding]:
    found = migrate.state(warehouse)
    where = warehouse.url.render_as_string(hide_password=True)
    what = f"{where}: schema {found or 'not there'}, needed {migrate.HEAD}"
    is_newer = found is not None and found not in migrate.KNOWN
    fix = "upgrade b2b-pipeline: a newer one wrote it" if is_newer else "b2b migrate"
    yield Finding(found == migrate.HEAD, what, fix)
    if found is None and warehouse.dialect == "duckdb":
        return
    if found == migrate.HEAD:
        for line in [*refused_slices(warehouse), *quarantined_rows(warehouse)]:
            yield Finding(False, f"not loaded: {line}", DROP_AGAIN if " files/" in f" {line}" else READ_AGAIN)
    with warehouse.read() as connection:
        connection.execute(select(1))
        if warehouse.dialect == "postgresql":
            version = connection.execute(text("show server_version")).scalar_one()
            fix = f"upgrade the server to PostgreSQL {OLDEST_POSTGRESQL} or newer"
            yield Finding(int(re.split(r"\D", version)[0]) >= OLDEST_POSTGRESQL, f"PostgreSQL {version}", fix)
        else:
            yield Finding(True, f"DuckDB {metadata.version('duckdb')}")


def _source(source: Source, config: Config, today: date) -> Iterator[Finding]:
    missing, where = [], f"sources.{source.name}"
    for name, what in source.environment.items():
        is_set, is_optional = bool(os.environ.get(name)), name in source.optional
        if is_set or not is_optional:
            fix = f"put {name} into the environment or .env: {what}"
            yield Finding(is_set, f"{name} is {'set' if is_set else 'not set'}", fix)
        missing += [] if is_set or is_optional else [name]
    try:
        yield from sunset(source, config, today)
        if missing:
            return
        client = source.connect(config)
        accounts = source.accounts(client, config)
        names = [account.name or account.id for account in accounts.read]
        fix = "give the credentials access to an account"
        yield Finding(bool(names), f"accounts: {', '.join(names) or 'none'}", fix)
        for item in accounts.skipped:
            fix = f"give its last day under {where}.ended, or list the others under {where}.accounts"
            yield Finding(True, f"account {item.account} is left out: {item.reason}", fix, warning=True)
        yield from source.probe(client, config)
    except UnreachableError as error:
        yield Finding(False, f"{source.title}: {error.what}", error.fix)
    except PipelineError as error:
        yield Finding(False, f"{source.title}: {error}", error.fix or _advice(source, error))
    except MISSHAPEN as error:
        fix = f"see what stands behind {source.name.upper()}_BASE_URL; else report it: the vendor has changed its API"
        yield Finding(False, f"{source.title}: {misshapen(error)}", fix)


def sunset(source: Source, config: Config, today: date) -> Iterator[Finding]:
    """How long the vendor serves the version that is asked, where it says so."""
    end = source.ends(config)
    if end is None:
        return
    left = end - today
    when = f"works until {end}, {left.days} days from now" if left.days > 0 else f"ended on {end}"
    fix = "upgrade b2b-pipeline to a release that speaks a newer version"
    if source.versions:
        fix += f", or set sources.{source.name}.options.api_version to one"
    what = f"{source.title} {source.api_version} {when}"
    yield Finding(left > SUNSET_FAILURE, what, fix, warning=SUNSET_FAILURE < left <= SUNSET_WARNING)


def _advice(source: Source, error: PipelineError) -> str:
    if isinstance(error, ConfigError):
        return f"correct sources.{source.name} in pipeline.yaml, or the variable that is named"
    wanted = [f"{name} ({what})" for name, what in source.environment.items() if os.environ.get(name)]
    if wanted and isinstance(error, AuthError | SkippedError):
        return f"check {'; '.join(wanted)}"
    return f"see that sources.{source.name} in pipeline.yaml and {source.name.upper()}_BASE_URL are right"
