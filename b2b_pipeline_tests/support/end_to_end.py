"""A whole installation over a small world, night by night, and what its numbers must be.

Everything runs at the world's own clock. What landed is shared by the tests; each has a warehouse of its own.
"""

from __future__ import annotations

import atexit
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import time_machine
from sqlalchemy import Table, select

from b2b_pipeline.configuration.file_mapping import file_stream, mapping_for
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.load import LoadReport, load_tables
from b2b_pipeline.derived.coverage import update_coverage
from b2b_pipeline.errors import PipelineError
from b2b_pipeline.files.landing import land_file
from b2b_pipeline.landing.store import Landing, Slice
from b2b_pipeline.metrics.query import ask, free_axes
from b2b_pipeline.metrics.registry import METRICS
from b2b_pipeline.operations.replay import STAMPS, Rebuilt, rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support.installation import DEMO, Installation, served, settle
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import truth_sources
from b2b_sandbox.drops import drop_files
from b2b_sandbox.generate import advance, make_world
from b2b_sandbox.truth import truth
from b2b_sandbox.world import World

START, FIRST_UNTIL = date(2026, 5, 15), date(2026, 6, 22)
NIGHTS = 6  # after the first pull
UNTIL = FIRST_UNTIL + timedelta(days=NIGHTS)
ROUGH_START = START - timedelta(days=1)  # in New York the world's first hours are the day before
ROUGH_UNTIL = FIRST_UNTIL + timedelta(days=7)
LEADS = 210
ENGINES = ("duckdb", "postgresql")
# What the demo's sources tell; the rest is asked for by model, or of what other sources tell.
EVERY = tuple(
    name
    for name, metric in METRICS.items()
    if not free_axes(metric) and name not in truth_sources.METRICS | truth_sources.QUANTILES
)
NOTHING = (0, 0.0, "0.00", "0.000000")
COMPARED = (*tables.CORE, *tables.DERIVED, tables.kpi_component_daily, tables.coverage, tables.quarantine)


@dataclass(frozen=True)
class Night:
    """What had landed when the world's last day was `until`."""

    until: date
    now: datetime
    slices: frozenset[str]


def clock(world: World) -> datetime:
    return datetime.fromtimestamp(world.now() / 1000, UTC)


def installation(folder: Path, world: World, **settings: str) -> Installation:
    """A new installation in `folder`; `settings` replace those of the demo's pipeline.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    text = DEMO.read_text(encoding="utf-8")
    for name, value in ({"start_date": START.isoformat()} | settings).items():
        lines = [f"{name}: {value}" if line.startswith(f"{name}:") else line for line in text.splitlines()]
        text = "\n".join(lines) + "\n"
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    return Installation(folder, world)


@contextmanager
def environment(found: Installation) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        settle(found, patch)
        patch.setenv("B2B_HASH_KEY", "the same in all installations, so that their tables can be compared")
        yield patch


@contextmanager
def inside(found: Installation) -> Iterator[Pipeline]:
    """The environment of an installation at its world's clock."""
    with environment(found), time_machine.travel(clock(found.world)):
        yield found.pipeline()


def pull(found: Installation, pipeline: Pipeline, start: date, until: date, run_id: str) -> dict[str, str]:
    """Land the days from `start` to `until` of every stream, and the dropped files. Returns stream -> error."""
    failed = {}
    with served(found.world):
        for source in pipeline.config.sources:
            for stream in SOURCES[source].switched_on(pipeline.config):
                try:
                    report = pipeline.ingest(source, stream.name, start, until + timedelta(days=1), run_id)
                    errors: list[PipelineError] = list(report.failed.values())
                except PipelineError as error:  # of the source as a whole
                    errors = [error]
                failed |= {f"{source}/{stream.name}": str(error) for error in errors}
    files = pipeline.config.files
    for path in drop_files(found.world, pipeline.inbox) if files else ():
        mapping = files[mapping_for(path.name, files) or ""]
        land_file(path, mapping, file_stream(mapping), pipeline.landing, pipeline.config, run_id)
    return failed


def read_twice(found: Installation, start: date, first_until: date, until: date) -> Installation:
    """Read all days, and again when the world has gone on until another day."""
    for since, last in ((start, first_until), (first_until, until)):
        if last > first_until:
            advance(found.world, (last - first_until).days)
        with inside(found) as pipeline:
            assert not (failed := pull(found, pipeline, since, last, f"until {last}")), failed
    return found


def landed(pipeline: Pipeline) -> frozenset[str]:
    landing = pipeline.landing
    return frozenset(item.slice_id for pair in landing.streams() for item in landing.slices(*pair))


def _folder() -> Path:
    folder = Path(mkdtemp(prefix="b2b-end-to-end-"))
    atexit.register(shutil.rmtree, folder)
    return folder


@cache
def nightly() -> tuple[Installation, list[Night]]:
    """An installation that was filled once and then read every night, for NIGHTS nights."""
    folder = _folder()
    days = (FIRST_UNTIL - START).days + 1
    found = installation(folder, make_world(folder / "world.sqlite", until=FIRST_UNTIL, days=days, leads=LEADS))
    nights: list[Night] = []
    for night in range(NIGHTS + 1):
        if night:
            advance(found.world, 1)
        until = FIRST_UNTIL + timedelta(days=night)
        with inside(found) as pipeline:
            assert not pull(found, pipeline, until if night else START, until, f"night {night}")
            nights.append(Night(until, clock(found.world), landed(pipeline)))
    return found, nights


@cache
def at_once(**settings: str) -> Installation:
    """An installation that read everything at once, when the world was at UNTIL."""
    found = installation(_folder(), nightly()[0].world, **settings)
    start = date.fromisoformat(settings.get("start_date", START.isoformat()))
    with inside(found) as pipeline:
        assert not pull(found, pipeline, start, UNTIL, "at once")
    return found


@cache
def rough() -> Installation:
    """An installation over the rough world, read in two pulls a week apart; its portal has no Marketing Hub."""
    folder = _folder()
    days = (FIRST_UNTIL - START).days + 1
    world = make_world(folder / "world.sqlite", until=FIRST_UNTIL, days=days, leads=LEADS, rough=True)
    found = installation(folder, world, timezone="America/New_York", currency="USD", start_date=ROUGH_START.isoformat())
    path = folder / "pipeline.yaml"
    without_marketing = "fields: {region: region}\n    streams: [contact, deal, present]"
    path.write_text(path.read_text().replace("fields: {region: region}", without_marketing), encoding="utf-8")
    return read_twice(found, ROUGH_START, FIRST_UNTIL, ROUGH_UNTIL)


class Known(Landing):
    """Landing as if only some slices had ever come."""

    def __init__(self, landing: Landing, slices: Collection[str]) -> None:
        super().__init__(landing.root, landing.pseudonyms)
        self.known = slices

    def slices(self, source: str, stream: str, account: str | None = None) -> list[Slice]:
        return [item for item in super().slices(source, stream, account) if item.slice_id in self.known]


class Workshop(Pipeline):
    """A pipeline with another landing or warehouse than its home has."""

    @classmethod
    def of(cls, pipeline: Pipeline, warehouse: Warehouse, slices: Collection[str] | None = None) -> Workshop:
        shop = cls(pipeline.config, pipeline.home)
        shop.__dict__["warehouse"] = warehouse
        shop.__dict__["landing"] = pipeline.landing if slices is None else Known(pipeline.landing, slices)
        return shop


def new_warehouses(request: pytest.FixtureRequest) -> Callable[[], str]:
    """For fixtures with `params=ENGINES`: a function that gives the URL of a new warehouse, with its schema."""
    if request.param == "postgresql":
        return request.getfixturevalue("migrated_database")  # type: ignore[no-any-return]
    folders: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")

    def new() -> str:
        url = f"duckdb:///{folders.mktemp('warehouse') / 'warehouse.duckdb'}"
        migrated(Warehouse(url))
        return url

    return new


def build(
    found: Installation,
    url: str,
    run_id: str = "build",
    slices: Collection[str] | None = None,
    now: datetime | None = None,
) -> tuple[Workshop, Rebuilt]:
    """Bring the warehouse at `url` up to date with what landed in an installation, or with some slices of it."""
    with inside(found) as pipeline:
        shop = Workshop.of(pipeline, Warehouse(url), slices)
        with time_machine.travel(now or clock(found.world)):
            return shop, rebuild(shop, run_id, replay=False)


def load(found: Installation, url: str, *wanted: Table) -> tuple[Workshop, dict[str, LoadReport]]:
    """Load some core tables from what landed in an installation, and tell which days are whole; derive nothing."""
    with inside(found) as pipeline:
        shop = Workshop.of(pipeline, Warehouse(url))
        parts = shop.warehouse, shop.landing, shop.config
        reports = load_tables(*parts, (tables.fx_rate, *wanted), "load")
        assert not any(report.broken for report in reports.values())
        update_coverage(*parts, datetime.now(shop.config.zone).date())
    return shop, reports


def content(warehouse: Warehouse, table: Table) -> Counter[tuple[Any, ...]]:
    """What the rows of a table say, stamps left out."""
    columns = [column for column in table.columns if column.name not in STAMPS]
    return Counter(tuple(row.values()) for row in warehouse.rows(select(*columns)))


def assert_same(one: Warehouse, other: Warehouse, compared: Sequence[Table] = COMPARED) -> None:
    for table in compared:
        ours, theirs = content(one, table), content(other, table)
        here, there = list((ours - theirs).items())[:3], list((theirs - ours).items())[:3]
        assert ours == theirs, f"{table.name}: only here {here}, only there {there}"


def assert_true(
    found: Installation,
    shop: Pipeline,
    until: date,
    by: Sequence[str] = (),
    *,
    now: datetime | None = None,
    names: Sequence[str] = EVERY,
    incomplete: bool = False,
    platforms: Collection[str] = ("google_ads",),
) -> None:
    """Every metric equals the sandbox's truth as of `now` and, unless `incomplete`, says that it is complete."""
    config, start = shop.config, shop.config.start_date
    now = now or clock(found.world)
    expected = truth(
        found.world, as_of=now, metrics=names, start=start, end=until, by=by, timezone=config.timezone,
        currency=config.currency, gross_margin=config.gross_margin, platforms=platforms,
    )  # fmt: skip
    with time_machine.travel(now):
        answers = [answer.as_json() for answer in ask(shop.warehouse, config, names, start, until, by)]

    def by_key(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
        return {(row["metric"], row.get("date"), row.get("channel")): row for row in rows}

    ours, theirs = by_key(answers), by_key(expected)
    assert len(ours) == len(answers)
    assert len(theirs) == len(expected) > 0
    wrong = [
        (key, side, ours.get(key, {}).get(side), row[side])
        for key, row in theirs.items()
        for side in ("value", "numerator")
        if side == "value" or row[side] is not None  # a median has no numerator
        if key not in ours or not _equal(ours[key][side], row[side])
        if not (incomplete and _is_open(ours[key], row, side))
    ]
    assert not wrong, f"{len(wrong)} of {len(theirs)} differ: {wrong[:5]}"
    invented = [key for key, row in ours.items() if key not in theirs and row["value"] not in (None, 0, "0.00")]
    assert not invented
    not_whole = {row["metric"] for row in answers if not row["complete"]}
    assert incomplete or not not_whole, not_whole


def _is_open(ours: dict[str, Any], theirs: dict[str, Any], side: str) -> bool:
    """Of a period of which nothing was read whole nobody can say that nothing happened (`romi`: came back, -1)."""
    return ours[side] is None and not ours["complete"] and (theirs[side] in NOTHING or theirs["value"] == -1)


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return abs(ours - theirs) <= 1e-9 * max(1.0, abs(theirs))
    return bool(ours == theirs)
