"""The ECB Data Portal's reference rates: dataflow EXR, daily, units of a currency for one euro, as SDMX-CSV.

Reference: https://data.ecb.europa.eu/help/api/data. No key is needed. As the real one does, a range in which known
series have no observation (a weekend) is answered with status 200 and an empty body, and unknown series with 404.
"""

from __future__ import annotations

import csv
import io
import re
from itertools import groupby
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from b2b_sandbox.toolkit import Dialect

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from starlette.requests import Request

    from b2b_sandbox.world import World

HEADER = (
    "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE"  # all that detail=dataonly gives
    ",OBS_STATUS,OBS_CONF,OBS_PRE_BREAK,OBS_COM,TIME_FORMAT,BREAKS,COLLECTION,COMPILING_ORG,DISS_ORG,DOM_SER_IDS"
    ",PUBL_ECB,PUBL_MU,PUBL_PUBLIC,UNIT_INDEX_BASE,COMPILATION,COVERAGE,DECIMALS,NAT_TITLE,SOURCE_AGENCY,SOURCE_PUB"
    ",TITLE,TITLE_COMPL,UNIT,UNIT_MULT"
)
CSV_TYPE = "application/vnd.sdmx.data+csv;version=1.0.0"
PARAMETERS = {"startPeriod", "endPeriod", "lastNObservations", "detail", "format"}

DIALECT = Dialect()  # no quota, no key, no pages

RATES = """
select date_day, currency, per_eur from fx_rate
where visible_at <= :now and date_day between :start and :end order by currency, date_day
"""


def routes(world: World) -> list[BaseRoute]:
    """The data query."""

    def data(request: Request) -> Response:
        return _data(world, request.path_params["flow"], request.path_params["key"], request.query_params)

    return [Route("/service/data/{flow}/{key}", data)]


def _data(world: World, flow: str, key: str, asked: Mapping[str, str]) -> Response:
    parts = key.split(".")
    start, end = asked.get("startPeriod", "0001"), asked.get("endPeriod", "9999")
    last = asked.get("lastNObservations", "0")
    if len(parts) != 5 or not (last.isdigit() and _is_period(start) and _is_period(end)):
        return PlainTextResponse("Syntax error", 400)
    if asked.keys() - PARAMETERS:
        return PlainTextResponse("Not implemented", 501)
    if asked.get("format") != "csvdata":
        return PlainTextResponse("Not Acceptable", 406)
    with world.connect() as connection:
        series = {row["currency"] for row in connection.execute("select distinct currency from fx_rate")}
        # A period may be a year or a month: as text it sorts before its first day, and "~" sorts after its last.
        rates = connection.execute(RATES, {"now": world.now(), "start": start, "end": f"{end}~"}).fetchall()
    wanted = series & set(parts[1].split("+")) if parts[1] else series
    is_daily_reference = all(mine in ("", own) for mine, own in zip(parts[2:], ("EUR", "SP00", "A"), strict=True))
    if flow.split(",")[-1 if flow.count(",") < 2 else 1] != "EXR" or parts[0] not in ("", "D"):
        wanted = set()
    if not wanted or not is_daily_reference:
        return PlainTextResponse("No results found.", 404)
    by_series = groupby((rate for rate in rates if rate["currency"] in wanted), key=lambda rate: str(rate["currency"]))
    rows = [_observation(rate) for _, found in by_series for rate in list(found)[-int(last) :]]
    columns = HEADER.split(",")[: 8 if asked.get("detail") == "dataonly" else None]
    return Response(_csv(columns, rows) if rows else b"", media_type=CSV_TYPE)


def _is_period(text: str) -> bool:
    return bool(re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", text))


def _observation(rate: sqlite3.Row) -> dict[str, object]:
    currency, value = rate["currency"], rate["per_eur"]
    return {
        "KEY": f"EXR.D.{currency}.EUR.SP00.A",
        "FREQ": "D",
        "CURRENCY": currency,
        "CURRENCY_DENOM": "EUR",
        "EXR_TYPE": "SP00",
        "EXR_SUFFIX": "A",
        "TIME_PERIOD": rate["date_day"],
        "OBS_VALUE": value,
        "OBS_STATUS": "A",
        "OBS_CONF": "F",
        "TIME_FORMAT": "P1D",
        "COLLECTION": "A",
        "UNIT_INDEX_BASE": "99Q1=100",
        "DECIMALS": len(value.partition(".")[2]),
        "SOURCE_AGENCY": "4F0",
        "TITLE": f"{currency}/Euro ECB reference exchange rate",
        "TITLE_COMPL": f"ECB reference exchange rate, {currency}/Euro, 2.15 pm (C.E.T.)",
        "UNIT": currency,
        "UNIT_MULT": 0,
    }


def _csv(columns: list[str], rows: list[dict[str, object]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()
