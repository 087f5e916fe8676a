"""European Central Bank: the euro reference rates, fixed on every TARGET working day about 16:00 in Frankfurt.

No account, no key. Saturdays, Sundays and TARGET holidays have no fixing, so windows reach back over them.
Reference: https://data.ecb.europa.eu/help/api/data
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.currencies import OF_THE_ECB
from b2b_pipeline.configuration.settings import base_url
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
    Finding,
    MappingContext,
    Page,
    Record,
    Source,
    Stream,
    Window,
    WindowPolicy,
)
from b2b_pipeline.connectors.columns import column
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Ok,
    Outcome,
    Session,
    Skip,
    Wait,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.errors import ConfigError, ContractError, PipelineError, SkippedError, TransientError

if TYPE_CHECKING:
    import requests

API = "https://data-api.ecb.europa.eu"
DEFAULT_CURRENCIES = "USD GBP CHF"
COLUMNS = ("KEY", "CURRENCY", "CURRENCY_DENOM", "TIME_PERIOD", "OBS_VALUE", "OBS_STATUS")
NEVER_WITHOUT_FIXING = timedelta(days=7)  # the longest run of days without one is Easter's, Friday to Monday


@dataclass(frozen=True)
class Client:
    """The daily series of the wanted currencies, in units for one euro."""

    session: Session
    currencies: tuple[str, ...]

    def observations(self, **period: str) -> list[Page]:
        """What the ECB has of the series in a period, in one page; no page when there is nothing."""
        key = f"D.{'+'.join(self.currencies)}.EUR.SP00.A"
        try:
            answer = self.session.get(f"service/data/EXR/{key}", {**period, "format": "csvdata"})
        except SkippedError:
            return []
        records = _parse(answer)
        return [Page(records, answer.request)] if records else []


def connect(config: Config) -> Client:
    """The client for the configured currencies and the reporting currency. Raises ConfigError for an unknown one."""
    wanted = config.sources["ecb"].options.get("currencies", DEFAULT_CURRENCIES).split()
    if unknown := sorted(set(wanted) - OF_THE_ECB - {"EUR"}):
        raise ConfigError(f"sources.ecb.options.currencies: the ECB does not fix {', '.join(unknown)}")
    bases = {given.per for given in config.currencies.values()}
    currencies = sorted(({*wanted, config.currency, *bases} & OF_THE_ECB) - {"EUR"})
    if not currencies:
        raise ConfigError("sources.ecb.options.currencies: name at least one currency beside the euro, such as USD")
    session = Session(base_url("ecb", API), classify=classify, headers={"Accept": "text/csv"})
    return Client(session, tuple(currencies))


def accounts(client: Client, config: Config) -> Accounts:
    """One account that stands for the ECB; its days are Frankfurt's."""
    return Accounts([Account("ecb", "European Central Bank", "EUR", "Europe/Berlin")])


def probe(client: Client, config: Config) -> list[Finding]:
    """When each currency was fixed last."""
    try:
        pages = client.observations(lastNObservations="1")
    except PipelineError as error:
        return [Finding(False, f"ECB: {error}", error.fix or "check what stands behind ECB_BASE_URL")]
    last = {
        str(record["CURRENCY"]): date.fromisoformat(record["TIME_PERIOD"]) for page in pages for record in page.records
    }
    return [_finding(currency, last) for currency in client.currencies]


def _finding(currency: str, last: dict[str, date]) -> Finding:
    """A currency whose fixings ended while others go on is no longer of use."""
    fix = f"take {currency} out of sources.ecb.options.currencies, or choose another reporting currency"
    if currency not in last:
        return Finding(False, f"ECB: {currency} was never fixed", fix)
    is_current = max(last.values()) - last[currency] < NEVER_WITHOUT_FIXING
    return Finding(is_current, f"ECB: {currency} was last fixed on {last[currency]}", "" if is_current else fix)


def _fetch(client: Client, account: Account, window: Window) -> Iterator[Page]:
    """The fixings of the window. Raises TransientError when there is none in a window too long for that."""
    last = window.end - timedelta(days=1)  # the ECB's endPeriod is included
    pages = client.observations(startPeriod=window.start.isoformat(), endPeriod=last.isoformat())
    if not pages and window.end - window.start >= NEVER_WITHOUT_FIXING:
        raise TransientError(f"ECB: no fixing from {window.start} to {last}, although there must be some")
    return iter(pages)


def _parse(answer: Answer) -> list[Record]:
    """SDMX-CSV as one record a line, by the ECB's column names; an empty body is no record.

    Raises TransientError when it is not CSV or cut off, ContractError when a column is missing.
    """
    where = place(answer.response)
    try:
        lines = csv.DictReader(io.StringIO(answer.response.content.decode("utf-8-sig"), newline=""), strict=True)
        records: list[Record] = list(lines)
    except (UnicodeDecodeError, csv.Error):
        raise TransientError(f"{where}: the answer is not CSV") from None
    header = lines.fieldnames
    if header and (missing := [name for name in COLUMNS if name not in header]):
        raise ContractError(f"{where}: columns {', '.join(missing)} are missing")
    if any(None in record or None in record.values() for record in records):
        raise TransientError(f"{where}: the answer is cut off")
    return records


def classify(response: requests.Response) -> Outcome:
    """What the ECB says. A period without any fixing is an empty answer, or a 404 that says so."""
    status, body = response.status_code, response.content.lstrip()
    if status == 404 and b"No results found" in body:
        return Skip("no results")
    if status == 200:
        return Wait(3, "a page instead of data") if body.startswith((b"<", b"{")) else Ok()
    if status == 429:
        return wait_or_stop(retry_after(response, 60), "too many requests")
    if status >= 500:
        return wait_or_stop(retry_after(response, 3), "server error")
    return Fatal("refused")


def fx_rate(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per currency and fixing day. What the ECB marks as missing (H: holiday, L, M) is no fixing."""
    fixed = records[~column(records, "OBS_STATUS").isin(["H", "L", "M"])]
    return pd.DataFrame(
        {
            "source": context.source,
            "source_account": context.account.id,
            "source_id": column(fixed, "KEY"),
            "date_day": column(fixed, "TIME_PERIOD"),
            "currency": column(fixed, "CURRENCY"),
            "per_eur": column(fixed, "OBS_VALUE"),
        },
        index=fixed.index,
        dtype=object,
    )


SOURCE = Source(
    name="ecb",
    title="European Central Bank",
    kind="fx",
    api_version="SDMX 2.1",
    streams=(
        Stream(
            "exchange_rate",
            "report",
            "One row per currency and working day: units of the currency for one euro, as fixed.",
            _fetch,
            day="TIME_PERIOD",
            policy=WindowPolicy(overlap=timedelta(days=10)),  # a weekend at the start has its fixing before it
            feeds={"fx_rate": fx_rate},
            asks=lambda config: COLUMNS,
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
)
