"""Two machines, each with a home of its own: on one warehouse, or on one landing."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from b2b_pipeline.configuration import settings
from b2b_pipeline.connectors.base import Account, Page, Stream, Window
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.landing.store import Slice
from b2b_pipeline.metrics import ledger
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import forgotten, installation, kpi_change
from b2b_pipeline_tests.support.installation import Installation, copy
from b2b_pipeline_tests.support.migrated import migrated

CONFIG = "timezone: UTC\ncurrency: EUR\nstart_date: 2026-01-01\nsystem_of_record: files\nsources: {}\n"
ANN = "ann@example.com"


class Machines:
    """Homes on one warehouse. The environment is that of the machine that was asked for last."""

    def __init__(self, folder: Path, url: str, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.url, self.patch = folder, url, patch
        migrated(Warehouse(url))

    def __call__(self, name: str, config: str = CONFIG, *, landing: str = "", key: str = "the same key") -> Pipeline:
        (self.folder / f"{name}.yaml").write_text(config)
        for variable, value in {
            "B2B_CONFIG": str(self.folder / f"{name}.yaml"), "B2B_HOME": str(self.folder / name), "B2B_HASH_KEY": key,
            "B2B_WAREHOUSE_URL": self.url, "B2B_LANDING_URL": landing,
        }.items():  # fmt: skip
            self.patch.setenv(variable, value)
        return Pipeline.from_environment()


@pytest.fixture(params=["duckdb", "postgresql"])
def machines(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    if request.param == "duckdb":
        return Machines(tmp_path, f"duckdb:///{tmp_path / 'shared.duckdb'}", monkeypatch)
    new: Callable[[], str] = request.getfixturevalue("migrated_database")
    return Machines(tmp_path, new(), monkeypatch)


def land(pipeline: Pipeline, *emails: str) -> Slice:
    config = pipeline.config
    stream = Stream("thing", "changes", "", lambda *_: iter(()), "day", personal=("email",))
    window = Window.of_days(config.start_date, config.start_date.replace(day=2), config.zone)
    page = Page([{"day": config.start_date.isoformat(), "email": email, "name": "x"} for email in emails])
    return pipeline.landing.write(
        "source", stream, Account("1"), window, [page], zone=config.zone, api_version="v", run_id="r"
    )


def emails(pipeline: Pipeline) -> list[str]:
    landing = pipeline.landing
    return [row["email"] for item in landing.slices("source", "thing") for row in landing.records(item)]


@pytest.mark.parametrize(
    ("config", "key", "says"),
    [
        (
            CONFIG,
            "another key than that of the first",
            "the hash key is not the one that this pipeline was set up with",
        ),
        (CONFIG.replace("UTC", "Europe/Berlin"), "the same key", "timezone was UTC when this pipeline was set up"),
        (CONFIG.replace("EUR", "USD"), "the same key", "currency was EUR when this pipeline was set up"),
        (CONFIG.replace("2026-01-01", "2026-02-01"), "the same key", "start_date was 2026-01-01 when this pipeline"),
    ],
)
def test_another_machine_with_another_setting_is_refused_before_anything_lands(
    config: str, key: str, says: str, machines: Machines
) -> None:
    land(machines("one"), ANN)
    other = machines("two", config, key=key)
    with pytest.raises(ConfigError, match=says):
        land(other, ANN)
    assert not (machines.folder / "two" / "landing").exists()
    land(machines("three"), ANN)


def test_a_machine_without_the_key_makes_none_of_its_own(machines: Machines) -> None:
    land(machines("one", key=""), ANN)
    with pytest.raises(ConfigError, match=r"two/hash\.key is missing"):
        land(machines("two", key=""), ANN)
    assert not (machines.folder / "two" / "hash.key").exists()
    (machines.folder / "two").mkdir()
    shutil.copy(machines.folder / "one" / "hash.key", machines.folder / "two" / "hash.key")
    land(machines("two", key=""), ANN)


def test_a_setting_may_change_in_the_warehouse_too_as_long_as_nothing_has_landed(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "b2b_pipeline.landing.store._write_atomically", None
        )  # it breaks off right before the slice appears
        with pytest.raises(TypeError):
            land(machines("one"), ANN)
    land(machines("one", CONFIG.replace("2026-01-01", "2026-02-01")), ANN)
    with pytest.raises(ConfigError, match="start_date was 2026-02-01"):
        machines("one")
    (row,) = Warehouse(machines.url).rows(select(installation).where(installation.c.name == "start_date"))
    assert row["value"] == "2026-02-01"


def test_a_person_forgotten_on_one_machine_is_forgotten_on_the_other_and_in_what_it_has(machines: Machines) -> None:
    from b2b_pipeline.operations.forget import forget

    two = machines("two")
    land(two, ANN, "bob@example.com")
    one = machines("one")
    land(one, ANN)
    pseudonyms = one.landing.pseudonyms
    token, pseudonym = pseudonyms.forget_token(ANN), pseudonyms.remembered(ANN)
    assert pseudonym in emails(one)
    forget(one, ANN, "forget")
    assert emails(one) == [token]

    two = machines("two")
    land(two, ANN, "carl@example.com")
    assert emails(two)[0] == token
    assert emails(two).count(token) == 2
    assert len(set(emails(two))) == 3
    assert list(two.landing.verify()) == []
    stored = json.dumps(Warehouse(machines.url).rows(select(forgotten)))
    assert pseudonym.partition("@")[0].removeprefix("h1:") not in stored


def test_machines_on_one_landing_share_who_is_forgotten_rotated_tokens_and_exports(machines: Machines) -> None:
    shared = str(machines.folder / "disk" / "landing")
    one = machines("one", landing=shared)
    one.landing.pseudonyms.forget(ANN)
    store = settings.credential_store("hubspot")
    assert store == machines.folder / "disk" / "credentials" / "hubspot.json"
    assert settings.shared() == machines.folder / "disk"
    two = machines("two", landing=shared)
    land(two, ANN)
    assert emails(two) == [one.landing.pseudonyms.forget_token(ANN)]
    assert settings.credential_store("hubspot") == store
    with pytest.raises(ConfigError, match="currency was EUR"):
        machines("three", CONFIG.replace("EUR", "USD"), landing=shared)


def test_what_an_earlier_version_kept_in_the_home_is_still_known(machines: Machines) -> None:
    earlier = machines.folder / "one" / "credentials" / "hubspot.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("{}")
    (machines.folder / "one" / "landing").mkdir()
    token = machines("one").landing.pseudonyms.forget_token(ANN)
    (machines.folder / "one" / "landing" / "forgotten.json").write_text(json.dumps({token: None}))
    one = machines("one", landing=str(machines.folder / "disk" / "landing"))
    land(one, ANN)
    assert emails(one) == [token]
    moved = settings.credential_store("hubspot")
    assert (moved.read_text(), stat.S_IMODE(moved.stat().st_mode), earlier.exists()) == ("{}", 0o600, False)


# -- the ledger


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return copy(tmp_path / "it", monkeypatch)


def changes(pipeline: Pipeline) -> list[dict[str, object]]:
    return pipeline.warehouse.rows(select(kpi_change).order_by(*kpi_change.c))


def test_what_published_numbers_became_survives_an_empty_warehouse(found: Installation, tmp_path: Path) -> None:
    pipeline = found.pipeline()
    for item in pipeline.landing.slices("google_ads", "campaign_daily"):
        pipeline.landing.rewrite(item, lambda line: line.replace('"costMicros":"', '"costMicros":"1'))
    rebuild(pipeline, "restated", replay=True)
    told = changes(pipeline)
    assert told
    for path in found.home.glob("warehouse.duckdb*"):
        path.unlink()
    pipeline = found.pipeline()
    migrated(pipeline.warehouse)
    for _ in range(2):
        rebuild(pipeline, "anew", replay=True)
        assert changes(pipeline) == told
    lines = [line for path in (found.home / "landing" / "ledger").iterdir() for line in path.read_text().splitlines()]
    assert len(lines) == len(told)


def test_a_publish_that_was_killed_before_the_ledger_is_caught_up_with(
    found: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = found.pipeline()
    item = pipeline.landing.slices("google_ads", "campaign_daily")[-1]
    pipeline.landing.rewrite(item, lambda line: line.replace('"costMicros":"', '"costMicros":"1'))
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "keep", lambda *_, **__: None)
        rebuild(pipeline, "restated", replay=True)
    count = select(func.count().label("n")).select_from(kpi_change)
    told = pipeline.warehouse.rows(count)[0]["n"]
    assert told
    for _ in range(2):
        ledger.keep(pipeline.warehouse, pipeline.landing.root)
        lines = [
            line for path in (found.home / "landing" / "ledger").iterdir() for line in path.read_text().split("\n")
        ]
        assert len(list(filter(None, lines))) == told
    assert pipeline.warehouse.rows(count)[0]["n"] == told
