"""Every asset, check, job, schedule and sensor of the demo's configuration, with all sources on, walked once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.derived.registry import ANY
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.metrics.view import kpi_daily
from b2b_pipeline.orchestration.build import build_defs
from b2b_pipeline.orchestration.common import RETRY
from b2b_pipeline.orchestration.jobs import ingest_job_name
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support import dagster_home
from b2b_pipeline_tests.support.installation import DEMO

KINDS_OF_TABLE = {"pandas", "sql"}


OWNERS = {
    "kpi/paid_media": ["team:marketing"], "kpi/lead_generation": ["team:marketing"], "kpi/pipeline": ["team:sales"],
    "kpi/acquisition": ["team:marketing", "team:revenue-operations"], "kpi/attribution": ["team:marketing"],
    "kpi/email_engagement": ["team:marketing"], "kpi/customer_voice": ["team:marketing"],
    "kpi/community": ["team:marketing"], "kpi/content": ["team:marketing"], "kpi/web_traffic": ["team:marketing"],
    "kpi/organic_search": ["team:marketing"], "kpi/forms": ["team:marketing"],
    "kpi/web_visits": ["team:marketing"],
    "kpi/web_behaviour": ["team:marketing"],
}  # fmt: skip


EVERY = "{streams: [campaign_daily, account_daily, campaign, lead]}"  # some are read only where they are named
EXPORT = "{streams: [visit, form], options: {other_sites: 'yes'}}"
OPTIONS = {"linkedin_ads": EVERY, "meta_ads": EVERY, "ga4_export": EXPORT}


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.Definitions]:
    folder = tmp_path_factory.mktemp("graph")
    config = folder / "pipeline.yaml"
    text = DEMO.read_text(encoding="utf-8")
    others = [f"  {name}: {OPTIONS.get(name, '{}')}\n" for name in SOURCES if f"\n  {name}:" not in text]
    config.write_text(text.replace("  ecb: {}\n", f"  ecb: {{}}\n{''.join(others)}"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("B2B_CONFIG", str(config))
        patch.setenv("B2B_HOME", str(folder / "home"))
        yield build_defs(Pipeline.from_environment())


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def check_names(defs: dg.Definitions, asset: str) -> set[str]:
    keys = defs.resolve_asset_graph().asset_check_keys
    return {key.name for key in keys if key.asset_key.to_user_string() == asset}


def job_keys(defs: dg.Definitions, job: str) -> tuple[set[str], set[str]]:
    """The assets and the checks (`asset:check`) of a job."""
    layer = defs.resolve_job_def(job).asset_layer
    assets = {key.to_user_string() for key in layer.executable_asset_keys}
    checks = {f"{key.asset_key.to_user_string()}:{key.name}" for key in layer.asset_graph.asset_check_keys}
    return assets, checks


def test_the_assets_are_the_streams_the_tables_and_the_kpi_families(defs: dg.Definitions) -> None:
    raw = {f"raw/{name}/{stream.name}" for name in SOURCES for stream in SOURCES[name].streams}
    assert specs(defs).keys() == {
        *raw, "raw/files/cost_ledger", "raw/files/lead",
        *(table.name for table in (*tables.CORE, *tables.DERIVED, tables.quarantine, tables.coverage)),
        *(f"kpi/{family}" for family in FAMILIES), "export/parquet",
    }  # fmt: skip


def test_every_asset_says_whose_it_is_what_it_is_and_how_it_is_partitioned_and_retried(defs: dg.Definitions) -> None:
    daily = {spec.partitions_def for name, spec in specs(defs).items() if not name.startswith("raw/files/")}
    assert len(daily) == 1, "one partition a day, the very same everywhere, so that assets share a run"
    assert isinstance(daily.pop(), dg.DailyPartitionsDefinition)
    for name, spec in specs(defs).items():
        assert spec.owners == OWNERS.get(name, ["team:revenue-operations"]), name
        assert spec.group_name not in (None, "default"), name
        assert 1 <= len(spec.kinds) <= 3, name
        assert len(spec.description or "") > 20, name
        assets = defs.resolve_assets_def(spec.key)
        assert assets.op.retry_policy == RETRY, name
        if name.startswith("raw/files/"):
            assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition), name
            assert spec.partitions_def.name == f"files_{spec.key.path[-1]}"
        else:
            assert assets.backfill_policy == dg.BackfillPolicy.multi_run(120), name
        pool = name.split("/")[1] if name.startswith("raw/") else None
        assert assets.op.pool == pool, name


def test_every_table_shows_its_columns_and_its_grain(defs: dg.Definitions) -> None:
    for table in (*tables.CORE, *tables.DERIVED, tables.quarantine, tables.coverage):
        spec = specs(defs)[table.name]
        schema = spec.metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == [column.name for column in table.columns]
        assert spec.description.startswith(table.info["grain"])
        assert {"table"} < spec.kinds <= {"table", *KINDS_OF_TABLE}
    for family in FAMILIES:
        spec = specs(defs)[f"kpi/{family}"]
        assert spec.metadata["dagster/table_name"] == "kpi_component_daily"
        names = [column.name for column in spec.metadata["table_columns"].columns]
        assert names == [column.name for column in tables.kpi_component_daily.columns]
    columns = specs(defs)["export/parquet"].metadata["dagster/column_schema"].columns
    assert [column.name for column in columns] == [column.name for column in kpi_daily(ANY).selected_columns]


def test_every_kpi_asset_names_its_metrics_and_is_watched_for_freshness_and_completeness(defs: dg.Definitions) -> None:
    for family in FAMILIES.values():
        spec = specs(defs)[f"kpi/{family.name}"]
        assert isinstance(spec.freshness_policy, dg.FreshnessPolicy)
        assert check_names(defs, f"kpi/{family.name}") == {"freshness", "completeness"}
        for metric in family.metrics:
            assert f"- **{metric.name}**: {metric.formula}" in spec.description
        assert {dep.asset_key.to_user_string() for dep in spec.deps} >= {"coverage"}


def test_tables_and_sources_have_their_checks(defs: dg.Definitions) -> None:
    for table in tables.CORE:
        assert check_names(defs, table.name) >= {"contract", "quarantine"}
    assert {name for name in specs(defs) if "volume" in check_names(defs, name)} == {
        "spend", "lead", "opportunity", "email_event",
    }  # fmt: skip
    assert "reconciliation" in check_names(defs, "raw/google_ads/campaign_daily")
    for source in SOURCES.values():
        assert "api_version" in check_names(defs, f"raw/{source.name}/{source.streams[0].name}")


def test_a_core_table_depends_on_every_stream_that_feeds_it(defs: dg.Definitions) -> None:
    upstream = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs(defs).items()}
    for table in tables.CORE:
        feeding = {
            f"raw/{name}/{stream.name}"
            for name in SOURCES
            for stream in SOURCES[name].streams
            if table.name in stream.feeds
        }
        assert feeding <= upstream[table.name]
    assert {"raw/files/cost_ledger", "fx_rate"} <= upstream["cost_ledger"]
    assert {"spend", "kpi/lead_generation"} <= upstream["kpi/acquisition"]
    assert upstream["export/parquet"] == {f"kpi/{family}" for family in FAMILIES}


def test_derive_has_everything_behind_landing_and_no_freshness_check(defs: dg.Definitions) -> None:
    assets, checks = job_keys(defs, "derive")
    assert assets == {name for name in specs(defs) if not name.startswith("raw/")}
    assert {"kpi/acquisition:completeness", "spend:contract", "spend:volume"} <= checks
    assert not [check for check in checks if check.endswith(":freshness") or check.startswith("raw/")]


def test_each_source_has_an_ingest_job_that_ends_at_its_raw_assets(defs: dg.Definitions) -> None:
    for source in SOURCES.values():
        assets, checks = job_keys(defs, f"ingest_{source.name}")
        assert assets == {f"raw/{source.name}/{stream.name}" for stream in source.streams}
        assert f"raw/{source.name}/{source.streams[0].name}:api_version" in checks


def test_the_freshness_job_judges_every_kpi_and_materialises_nothing(defs: dg.Definitions) -> None:
    assert job_keys(defs, "freshness") == (set(), {f"kpi/{family}:freshness" for family in FAMILIES})


def test_schedules_and_sensors_run_without_being_switched_on(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
    assert schedules.keys() == {
        *(f"nightly_{name}" for name in SOURCES),
        "freshness_every_hour",
        "retention_every_night",
    }
    for schedule in schedules.values():
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
        assert schedule.execution_timezone == "UTC"
    sensors = {sensor.name: sensor for sensor in repository.sensor_defs}
    assert sensors.keys() == {"ask_again", "derive_after_ingest", "file_drops", "tell_state_changes"}
    assert {sensor.default_status for sensor in sensors.values()} == {dg.DefaultSensorStatus.RUNNING}


def test_only_the_edge_knows_dagster() -> None:
    """Connectors, contracts, transforms, metrics and the sandbox import without it."""
    program = """
import importlib, pkgutil, sys
import b2b_pipeline, b2b_sandbox
edge = ("b2b_pipeline.orchestration", "b2b_pipeline.definitions", "b2b_pipeline.warehouse.migrations")
found = (m.name for p in (b2b_pipeline, b2b_sandbox) for m in pkgutil.walk_packages(p.__path__, f"{p.__name__}."))
names = [name for name in found if not name.startswith(edge) and not name.endswith("__main__")]
assert len(names) > 50, names
for name in names:
    importlib.import_module(name)
print(*[name for name in sys.modules if name.split(".")[0] in ("dagster", "dagster_webserver", "dagster_shared")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize("settings", [dagster_home.SETTINGS, Path(__file__).parents[2] / "docker" / "dagster.yaml"])
def test_vendors_that_hang_leave_runs_for_what_derives(settings: Path, defs: dg.Definitions) -> None:
    runs = yaml.safe_load(settings.read_text(encoding="utf-8"))["concurrency"]["runs"]
    (reading,) = runs["tag_concurrency_limits"]
    assert reading["limit"] < runs["max_concurrent_runs"]
    tagged = {job.name for job in defs.resolve_all_job_defs() if reading["key"] in job.tags}
    assert tagged == {ingest_job_name(source) for source in SOURCES}
