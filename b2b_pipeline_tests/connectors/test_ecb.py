"""The ECB connector against SDMX-CSV as the ECB Data Portal gives it, and against the sandbox."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import requests
import responses
from pandas.testing import assert_frame_equal

from b2b_pipeline.configuration.config import Config, SourceConfig
from b2b_pipeline.connectors.base import MappingContext, Window
from b2b_pipeline.connectors.ecb import source as ecb
from b2b_pipeline.connectors.ecb.source import SOURCE, classify
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Skip, Wait
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import ConfigError, ContractError, TransientError
from b2b_sandbox.faults import add_fault
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running

CSV = (Path(__file__).parents[1] / "fixtures" / "ecb" / "exchange_rate.csv").read_bytes()
URL = "https://data-api.ecb.europa.eu/service/data/EXR/D.GBP+USD.EUR.SP00.A"
NO_RESULTS = b'{"title":"Not Found","status":404,"detail":"No results found."}'
HTML = b"<!DOCTYPE html><html></html>"


def make_config(currencies: str = "USD GBP", currency: str = "EUR") -> Config:
    source = SourceConfig(options={"currencies": currencies})
    return Config.model_construct(currency=currency, sources={"ecb": source})


def window(start: str, end: str) -> Window:
    return Window.of_days(date.fromisoformat(start), date.fromisoformat(end), ZoneInfo("UTC"))


def fetch(asked: Window, config: Config | None = None) -> list[dict[str, Any]]:
    config = config or make_config()
    client = ecb.connect(config)
    [account] = ecb.accounts(client, config).read
    return [dict(r) for page in SOURCE.stream("exchange_rate").fetch(client, account, asked) for r in page.records]


@pytest.fixture(autouse=True)
def _the_ecb_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECB_BASE_URL", raising=False)


@responses.activate
def test_fixings_become_rates_and_holidays_do_not() -> None:
    responses.get(URL, body=CSV)
    records = fetch(window("2026-04-01", "2026-04-08"))
    assert responses.calls[0].request.params == {  # type: ignore[attr-defined]
        "startPeriod": "2026-04-01",
        "endPeriod": "2026-04-07",
        "format": "csvdata",
    }
    context = MappingContext(
        make_config(), "ecb", "exchange_rate", ecb.accounts(ecb.connect(make_config()), make_config()).read[0]
    )
    frame = ecb.fx_rate(flattened(records), context)
    expected = pd.DataFrame(
        [
            ["ecb", "ecb", "EXR.D.GBP.EUR.SP00.A", "2026-04-01", "GBP", "0.86843"],
            ["ecb", "ecb", "EXR.D.GBP.EUR.SP00.A", "2026-04-02", "GBP", "0.8691"],
            ["ecb", "ecb", "EXR.D.GBP.EUR.SP00.A", "2026-04-07", "GBP", "0.87005"],
            ["ecb", "ecb", "EXR.D.USD.EUR.SP00.A", "2026-04-01", "USD", "1.1594"],
            ["ecb", "ecb", "EXR.D.USD.EUR.SP00.A", "2026-04-02", "USD", "1.1613"],
            ["ecb", "ecb", "EXR.D.USD.EUR.SP00.A", "2026-04-07", "USD", "1.1588"],
        ],
        columns=["source", "source_account", "source_id", "date_day", "currency", "per_eur"],
        index=[0, 1, 3, 4, 5, 7],
    )
    assert_frame_equal(frame, expected, check_dtype=False)


@responses.activate
@pytest.mark.parametrize(("body", "status"), [(b"", 200), (NO_RESULTS, 404)])
def test_a_weekend_has_no_fixing_and_a_week_without_one_is_not_believed(body: bytes, status: int) -> None:
    responses.get(URL, body=body, status=status)
    assert fetch(window("2026-04-04", "2026-04-06")) == []
    with pytest.raises(TransientError, match="no fixing from 2026-04-01 to 2026-04-07"):
        fetch(window("2026-04-01", "2026-04-08"))


@responses.activate
@pytest.mark.parametrize("cut", [len(CSV) - 20, len(CSV) // 2, len(CSV) - 60])
def test_an_answer_that_is_cut_off_is_refused(cut: int) -> None:
    responses.get(URL, body=CSV[:cut])
    with pytest.raises(TransientError, match=r"cut off|not CSV"):
        fetch(window("2026-04-01", "2026-04-08"))


@responses.activate
def test_a_missing_column_is_named() -> None:
    responses.get(URL, body=CSV.replace(b"OBS_VALUE", b"VALUE"))
    with pytest.raises(ContractError, match="columns OBS_VALUE are missing"):
        fetch(window("2026-04-01", "2026-04-08"))


def test_the_reporting_currency_is_always_asked_for_and_an_unknown_one_is_refused() -> None:
    assert ecb.connect(make_config("USD", currency="SEK")).currencies == ("SEK", "USD")
    assert ecb.connect(make_config("USD EUR")).currencies == ("USD",)
    with pytest.raises(ConfigError, match="does not fix XXX"):
        ecb.connect(make_config("USD XXX"))
    with pytest.raises(ConfigError, match="at least one currency"):
        ecb.connect(make_config("EUR"))


@responses.activate
def test_doctor_names_a_currency_that_is_no_longer_fixed() -> None:
    lines = CSV.splitlines(keepends=True)
    last = [line for line in lines if b"GBP,EUR,SP00,A,2026-04-07" in line or b"KEY" in line]
    old = b"EXR.D.BGN.EUR.SP00.A,D,BGN" + last[1].removeprefix(b"EXR.D.GBP.EUR.SP00.A,D,GBP").replace(
        b"2026-04", b"2025-12"
    )
    responses.get(URL.replace("GBP+", "BGN+GBP+"), body=b"".join([*last, old]))
    config = make_config("BGN GBP USD")
    findings = SOURCE.probe(ecb.connect(config), config)
    assert [(finding.ok, finding.what) for finding in findings] == [
        (False, "ECB: BGN was last fixed on 2025-12-07"),
        (True, "ECB: GBP was last fixed on 2026-04-07"),
        (False, "ECB: USD was never fixed"),
    ]


DIALECT: list[tuple[str, int, bytes, dict[str, str], Outcome]] = [
    ("fixings", 200, CSV, {}, Ok()),
    ("nothing", 200, b"", {}, Ok()),
    ("a page instead of data", 200, HTML, {}, Wait(3, "a page instead of data")),
    ("another format", 200, b'{"dataSets":[]}', {}, Wait(3, "a page instead of data")),
    ("no results", 404, NO_RESULTS, {}, Skip("no results")),
    ("a path that is gone", 404, HTML, {}, Fatal("refused")),
    ("a malformed key", 400, b"Syntax error", {}, Fatal("refused")),
    ("too many requests", 429, HTML, {"Retry-After": "20"}, Wait(20, "too many requests")),
    ("too many requests, no time given", 429, HTML, {}, Wait(60, "too many requests")),
    ("an outage", 503, HTML, {}, Wait(3, "server error")),
]


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome"), [row[1:] for row in DIALECT], ids=[r[0] for r in DIALECT]
)
def test_every_answer_is_understood(status: int, body: bytes, headers: dict[str, str], outcome: Outcome) -> None:
    response = requests.Response()
    response.status_code, response._content = status, body
    response.headers.update(headers)
    assert classify(response) == outcome


def test_every_working_day_of_the_sandbox_has_its_rates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = make_world(tmp_path / "world.sqlite", until=date(2026, 10, 20), days=10, leads=10)
    asked = window("2026-10-11", "2026-10-21")
    with running(world) as url:
        monkeypatch.setenv("ECB_BASE_URL", f"{url}/ecb")
        records = fetch(asked, make_config("USD GBP CHF"))
        assert fetch(window("2026-10-17", "2026-10-19")) == []
        config = make_config("USD GBP")
        assert all(finding.ok for finding in SOURCE.probe(ecb.connect(config), config))
        add_fault(world, "ecb", "cut_body")
        with pytest.raises(TransientError, match="cut off"):
            fetch(asked)
    with world.connect() as connection:
        truth = connection.execute(
            "select currency, date_day, per_eur from fx_rate where currency in ('USD', 'GBP', 'CHF') "
            "and date_day between '2026-10-11' and '2026-10-20' order by currency, date_day"
        ).fetchall()
    assert [(r["CURRENCY"], r["TIME_PERIOD"], r["OBS_VALUE"]) for r in records] == [tuple(row) for row in truth]
    assert len({r["TIME_PERIOD"] for r in records}) == 7
