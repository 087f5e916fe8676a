"""The sandbox's ECB rates, asked for as the ECB Data Portal is asked."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest
import requests

from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("ecb") / "world.sqlite"
    with running(make_world(path, until=date(2026, 3, 11), days=10, leads=0)) as base:
        yield f"{base}/ecb/service/data/EXR"


def get(url: str, key: str = "D.USD+GBP.EUR.SP00.A", **parameters: str) -> requests.Response:
    return requests.get(f"{url}/{key}", {"format": "csvdata", **parameters}, timeout=10)


def test_the_fixings_of_a_range_come_series_by_series_without_weekends(url: str) -> None:
    answer = get(url, startPeriod="2026-03-06", endPeriod="2026-03-09")
    assert answer.text.startswith(
        "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE,OBS_STATUS,"
    )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["CURRENCY"], row["TIME_PERIOD"]) for row in rows] == [
        ("GBP", "2026-03-06"),
        ("GBP", "2026-03-09"),
        ("USD", "2026-03-06"),
        ("USD", "2026-03-09"),
    ]
    assert {row["KEY"] for row in rows} == {"EXR.D.GBP.EUR.SP00.A", "EXR.D.USD.EUR.SP00.A"}
    assert all(Decimal(row["OBS_VALUE"]) > 0 and len(row) == 32 for row in rows)


def test_a_weekend_is_an_empty_200_and_an_unknown_currency_a_404(url: str) -> None:
    weekend = get(url, startPeriod="2026-03-07", endPeriod="2026-03-08")
    assert (weekend.status_code, weekend.content, weekend.headers["Content-Length"]) == (200, b"", "0")
    assert get(url, "D.XXX.EUR.SP00.A").status_code == 404
    assert get(url, "M.USD.EUR.SP00.A").status_code == 404


def test_the_last_fixing_on_or_before_a_day_can_be_asked_for(url: str) -> None:
    answer = get(url, "D.USD.EUR.SP00.A", endPeriod="2026-03-08", lastNObservations="1", detail="dataonly")
    [row] = csv.DictReader(io.StringIO(answer.text))
    assert (row["TIME_PERIOD"], len(row)) == ("2026-03-06", 8)


def test_what_is_not_a_query_is_refused(url: str) -> None:
    assert get(url, "USD").status_code == 400
    assert get(url, startPeriod="yesterday").status_code == 400
    assert get(url, format="jsondata").status_code == 406
    assert get(url, updatedAfter="2026-03-01").status_code == 501
