"""`pipeline.yaml` and the environment: every mistake is told with its line and what would be right."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from pathlib import Path
from unittest.mock import Mock

import pytest
import time_machine

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config, plain_id
from b2b_pipeline.connectors.base import Account, Stream, Window
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.pipeline import Pipeline

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/pipeline.yaml"))
GOOD = """\
timezone: Europe/Berlin
currency: EUR
start_date: 2026-01-01
system_of_record: salesforce
sources:
  salesforce:
  hubspot:
    accounts: [0042, 123]
    fields: {region: no}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("B2B_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pipeline.yaml"


def load(path: Path, text: str) -> Config:
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def complaint(path: Path, text: str | bytes) -> str:
    """What is said of the file, its folder left out."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        load_config(path)
    return str(error.value).replace(f"{path.parent}/", "")


# -- what is right


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_are_right(example: Path) -> None:
    assert load_config(example).start_date < date(2026, 12, 31)


def test_words_stay_words_and_numbers_become_what_is_expected(path: Path) -> None:
    config = load(path, GOOD + "gross_margin: 0.8\nlimits: {max_quarantined: 1e-2, backfill_days: 30}\n")
    assert config.sources["hubspot"].accounts == ["0042", "123"]
    assert config.sources["hubspot"].fields == {"region": "no"}
    assert config.start_date == date(2026, 1, 1)
    assert config.gross_margin == Decimal("0.8")
    assert (config.limits.max_quarantined, config.limits.backfill_days) == (0.01, 30)


def test_a_key_with_nothing_behind_it_means_the_default(path: Path) -> None:
    config = load(path, GOOD + "exclude:\nchannels:\n  paid:\nfiles:\n")
    assert config.sources["salesforce"] == type(config.sources["salesforce"])()
    assert config.exclude.opportunity_types == ["Renewal"]
    assert config.channels.paid == ["paid_search", "paid_social", "display", "video"]
    assert config.files == {}


def test_exclusions_are_kept_as_addresses_are_compared(path: Path) -> None:
    lists = "{email_domains: [' OurCompany.Example', '@own.example'], email_patterns: [' QA+Test*@*']}"
    exclude = load(path, GOOD + f"exclude: {lists}\n").exclude
    assert exclude.email_domains == ["ourcompany.example", "own.example"]
    assert exclude.email_patterns == ["qa+test*@*"]


def test_an_alias_may_lead_to_a_mapping_twice_without_being_a_repeated_key(path: Path) -> None:
    config = load(path, GOOD.replace("fields: {region: no}", "fields: &f {region: x}") + "  google_ads: {fields: *f}\n")
    assert config.sources["google_ads"].fields == {"region": "x"}


def test_a_byte_order_mark_is_no_part_of_the_first_key(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_config(path).timezone == "Europe/Berlin"


def test_the_environment_names_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(GOOD)
    monkeypatch.setenv("B2B_CONFIG", "")
    assert load_config().currency == "EUR"
    other = path.with_name("other.yaml")
    other.write_text(GOOD.replace("EUR", "USD"))
    monkeypatch.setenv("B2B_CONFIG", str(other))
    assert load_config().currency == "USD"


# -- what is wrong


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("timezone:", "time_zone:", "1: time_zone: unknown key: did you mean timezone?"),
        ("accounts:", "acounts:", "8: sources.hubspot.acounts: unknown key: did you mean accounts?"),
        ("accounts:", "zzz:", "8: sources.hubspot.zzz: unknown key: known are accounts, ended, fields, options"),
        ("Europe/Berlin", "Europe/Berln", "1: timezone: unknown time zone 'Europe/Berln': did you mean Europe/Berlin?"),
        ("Europe/Berlin", "GMT plus one", "1: timezone: unknown time zone 'GMT plus one': use one such as"),
        ("EUR", "eur", "2: currency: unknown currency 'eur': did you mean EUR?"),
        ("EUR", "doubloons", "2: currency: unknown currency 'doubloons': use one such as EUR or USD, fixed by the ECB"),
        ("  hubspot:", "  hubspt:", "7: sources.hubspt: unknown source: did you mean hubspot?"),
        (
            "  hubspot:",
            "  zzz:",
            "7: sources.zzz: unknown source: known are ",
        ),
        (": salesforce", ": pipedrive", "4: system_of_record: 'pipedrive' is not switched on: choose one of files, "),
        ("2026-01-01", "2026-02-30", "3: start_date: Input should be a valid date or datetime, day value is outside"),
        ("2026-01-01", "01.02.2026", "3: start_date: Input should be a valid date"),
        ("2026-01-01", "20260101", "3: start_date: "),
        ("2026-01-01", "1026-01-01", "3: start_date: 1026-01-01 is before the first exchange rates of the ECB"),
        ("start_date: 2026-01-01\n", "", "1: start_date: is missing: the first day of the history, such as 2026-01-31"),
        ("accounts: [0042, 123]", "streams: [contcat]", "8: sources.hubspot.streams.0: unknown stream: did you mean"),
        ("  salesforce:\n", "  salesforce: {streams: [lead]}\n", "4: system_of_record: no stream of salesforce under"),
        ("accounts: [0042, 123]", "ended: {0042: soon}", "8: sources.hubspot.ended.0042: Input should be a valid date"),
        ("[0042, 123]", "0042", "8: sources.hubspot.accounts: Input should be a valid list, not '0042'"),
        ("  hubspot:\n", "  hubspot: yes\n  google_ads:\n", "7: sources.hubspot: Input should be a valid dictionary"),
        ("  salesforce:\n", "\tsalesforce:\n", "6: not valid YAML: found character '\\t'"),
        ("currency:", "currency", "2: not valid YAML: could not find expected ':'"),
        ("EUR", "EUR: USD", "2: not valid YAML: mapping values are not allowed here"),
        ("EUR", "EUR\x07", "2: an unprintable character"),
        ("system_of_record", "currency: USD\nsystem_of_record", "4: currency stands on line 2 already"),
        ("  hubspot:", "  salesforce:", "7: salesforce stands on line 6 already: leave one of them out"),
        ("{region: no}", "{region: a, region: b}", "9: region stands on line 9 already: leave one of them out"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_would_be_right(old: str, new: str, says: str, path: Path) -> None:
    assert old in GOOD
    assert complaint(path, GOOD.replace(old, new, 1)).startswith(f"pipeline.yaml:{says}")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("stages:\n  hubspot: {lead: led}\n", "11: stages.hubspot.lead: stage 'led' is not in stages.order: lead, mql"),
        ("stages:\n  order: [lead, mql]\n", "11: stages.order: sql is missing, which metrics count"),
        ("stages:\n  order: [lead, mql, sql, mql]\n", "11: stages.order: a stage is named twice"),
        (
            "exclude: {email_domains: [ann@own.example]}\n",
            "10: exclude.email_domains: 'ann@own.example' is not a domain",
        ),
        ("exclude: {email_patterns: [test]}\n", "10: exclude.email_patterns: 'test' matches no address: write test@*"),
        ("limits:\n  backfill_days: many\n", "11: limits.backfill_days: Input should be a valid integer"),
        ("limits:\n  backfill_days: 0\n", "11: limits.backfill_days: Input should be greater than or equal to 1"),
        ("gross_margin: 0.3333333\n", "10: gross_margin: Decimal input should have no more than 6 decimal places"),
        ("gross_margin: 80\n", "10: gross_margin: Input should be less than or equal to 1, not '80'"),
        ("files:\n  deals:\n    macth: '*.csv'\n", "12: files.deals.macth: unknown key: did you mean match?"),
        (
            "files:\n  x:\n    match: x\n    tables:\n      cost_ledger:\n        columns:\n"
            "          {date_day: {from: D, date: '%Y'}, category: C, amount: A, currency: {value: EURO}}\n",
            "16: files.x.tables.cost_ledger.columns.currency: unknown currency 'EURO'",
        ),
        ("---\ncurrency: USD\n", "10: not valid YAML: but found another document"),
    ],
)
def test_a_mistake_in_a_further_section_is_told_with_its_line(more: str, says: str, path: Path) -> None:
    assert f"pipeline.yaml:{says}" in complaint(path, GOOD + more)


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines(path: Path) -> None:
    text = "inbx: here\n" + GOOD.replace("EUR", "EURO").replace("fields:", "feilds:")
    assert [line.split(":")[1] for line in complaint(path, text).splitlines()] == ["1", "3", "10"]


@pytest.mark.parametrize("text", ["", "\n\n# nothing but a comment\n", "- a\n- b\n", "just words\n"])
def test_a_file_without_settings_is_told_so(text: str, path: Path) -> None:
    assert complaint(path, text).startswith("pipeline.yaml:1: expected settings such as `timezone: Europe/Berlin`")


def test_a_file_in_another_encoding_is_told_so_with_the_line(path: Path) -> None:
    text = (GOOD + "inbox: Einkäufe\n").encode("cp1252")
    assert complaint(path, text) == "pipeline.yaml:10: not UTF-8: save the file as UTF-8"


def test_a_file_that_is_not_there_is_told_so(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pipeline\.yaml: no such file; `make setup` writes one"):
        load_config(path)


def test_a_first_day_in_the_future_is_refused_by_the_clock_of_the_reporting_zone(path: Path) -> None:
    text = GOOD.replace("2026-01-01", "2026-07-02")
    with time_machine.travel("2026-07-01T21:59:00Z", tick=False):
        assert complaint(path, text) == "pipeline.yaml:3: start_date: 2026-07-02 is in the future: " + (
            "there is nothing to read yet"
        )
    with time_machine.travel("2026-07-01T22:00:00Z", tick=False):
        assert load(path, text).start_date == date(2026, 7, 2)


# -- what may not change any more


def land(pipeline: Pipeline) -> None:
    """A slice of nothing."""
    stream = Stream("thing", "changes", "", lambda *_: iter(()), "day")
    window = Window.of_days(date(2026, 1, 1), date(2026, 1, 2), pipeline.config.zone)
    pipeline.landing.write(
        "source", stream, Account("1"), window, [], zone=pipeline.config.zone, api_version="v", run_id="r"
    )


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [("Europe/Berlin", "UTC", "timezone"), ("EUR", "USD", "currency"), ("2026-01-01", "2025-01-01", "start_date")],
)
def test_zone_currency_and_first_day_may_change_until_something_has_landed(
    old: str, new: str, name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = path.parent / "home"
    monkeypatch.setenv("B2B_HOME", str(home))
    path.write_text(GOOD.replace(old, new))
    Pipeline.from_environment()
    assert not home.exists()  # looking at the configuration writes nothing
    path.write_text(GOOD)
    land(Pipeline.from_environment())
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=f"{name} was {old} when this pipeline was set up and cannot become {new}"):
        Pipeline.from_environment()
    path.write_text(GOOD + "gross_margin: 0.5\n")
    assert Pipeline.from_environment().config.gross_margin == Decimal("0.5")
    path.write_text(GOOD.replace(old, new))
    monkeypatch.setenv("B2B_HOME", str(path.parent / "another"))
    Pipeline.from_environment()


def test_a_first_pull_that_failed_fixes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2B_HOME", str(path.parent / "home"))
    path.write_text(GOOD)
    with monkeypatch.context() as patch:
        patch.setattr("b2b_pipeline.landing.store._write_atomically", Mock(side_effect=OSError("no room")))
        with pytest.raises(OSError, match="no room"):
            land(Pipeline.from_environment())
    path.write_text(GOOD.replace("EUR", "USD"))
    land(Pipeline.from_environment())


def test_the_hash_key_may_not_change_later_and_a_lost_one_is_not_made_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = path.parent / "home"
    monkeypatch.setenv("B2B_HOME", str(home))
    monkeypatch.delenv("B2B_HASH_KEY", raising=False)
    path.write_text(GOOD)
    land(Pipeline.from_environment())
    key = (home / "hash.key").read_text()
    assert key not in (home / "landing" / "installation.json").read_text()
    monkeypatch.setenv("B2B_HASH_KEY", "another key than the one that was made")
    with pytest.raises(ConfigError, match=r"Put the old key back .* or start anew with another B2B_HOME"):
        Pipeline.from_environment()
    monkeypatch.setenv("B2B_HOME", str(path.parent / "another"))
    Pipeline.from_environment()
    monkeypatch.setenv("B2B_HOME", str(home))
    monkeypatch.setenv("B2B_HASH_KEY", key)
    Pipeline.from_environment()
    monkeypatch.delenv("B2B_HASH_KEY")
    (home / "hash.key").unlink()
    with pytest.raises(ConfigError, match=r"hash\.key is missing: restore it from a backup"):
        Pipeline.from_environment()
    assert not (home / "hash.key").exists()


def test_an_installation_that_kept_in_its_home_what_is_fixed_goes_on_holding_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = path.parent / "home"
    monkeypatch.setenv("B2B_HOME", str(home))
    monkeypatch.setenv("B2B_HASH_KEY", "the key in use today")
    path.write_text(GOOD)
    land(Pipeline.from_environment())
    (home / "landing" / "installation.json").unlink()
    (home / "fixed.json").write_text('{"timezone": "Europe/Berlin", "currency": "EUR", "start_date": "2026-01-01"}')
    Pipeline.from_environment()
    path.write_text(GOOD.replace("EUR", "USD"))
    with pytest.raises(ConfigError, match="currency was EUR"):
        Pipeline.from_environment()


# -- the environment


def test_an_empty_variable_counts_as_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("B2B_HOME", "B2B_LANDING_URL", "B2B_WAREHOUSE_URL", "HUBSPOT_BASE_URL"):
        monkeypatch.setenv(name, "")
    home = path.parent / ".b2b"
    assert settings.home() == home
    assert settings.landing_root() == home / "landing"
    assert settings.warehouse_url() == f"duckdb:///{home}/warehouse.duckdb"
    assert settings.base_url("hubspot", "https://api.example/") == "https://api.example"


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ("/data/landing", "/data/landing"),
        ("file:///data/my%20landing", "/data/my landing"),
        ("file://localhost/x", "/x"),
    ],
)
def test_landing_is_a_folder_or_its_url(given: str, folder: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2B_LANDING_URL", given)
    assert settings.landing_root() == Path(folder)


@pytest.mark.parametrize("given", ["s3://bucket/landing", "file://server/share"])
def test_a_landing_that_is_no_folder_is_refused(given: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2B_LANDING_URL", given)
    with pytest.raises(ConfigError, match=r"B2B_LANDING_URL: .* give a folder"):
        settings.landing_root()


@pytest.mark.parametrize("given", ["api.example", "localhost:8765", "https://"])
def test_a_base_url_that_is_no_address_is_refused(given: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBSPOT_BASE_URL", given)
    with pytest.raises(ConfigError, match=r"HUBSPOT_BASE_URL is not an address such as https://api\.example"):
        settings.base_url("hubspot", "https://api.example")


@pytest.mark.parametrize(
    ("written", "landed", "is_it"),
    [
        ("123-456-7890", "1234567890", True),  # Google Ads
        ("act_1201500000000001", "1201500000000001", True),  # Meta Ads
        ("1201500000000001", "1201500000000002", False),
        ("120150000000000123", "120150000000000124", False),
        ("00D5g00000AbCdE", "00D5g00000AbCdEEAV", True),  # Salesforce, without its checksum
        ("00D5g00000AbCdE", "00D5g00000AbCdFEAV", False),
    ],
)
def test_an_account_is_known_however_it_is_written_and_no_other_for_it(written: str, landed: str, is_it: bool) -> None:
    assert (plain_id(written) == plain_id(landed)) is is_it
