"""Currencies: which codes there are, which the ECB fixes, which it fixed once for all, and what a user adds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Active codes of ISO 4217 (list one of 2026-01-01), without funds, metals and codes for testing.
ISO_4217 = _words(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY "
    "COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR "
    "ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK "
    "MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF "
    "SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU "
    "UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"
)
# What the ECB fixes against the euro on every TARGET working day.
FIXED_DAILY = _words(
    "USD JPY CZK DKK GBP HUF PLN RON SEK CHF ISK NOK TRY AUD BRL CAD CNY HKD IDR ILS INR KRW MXN MYR NZD PHP SGD THB "
    "ZAR"
)
# Irrevocable conversion rates, units for one euro, from the day a country took the euro on (Council Regulation
# 2866/98 as amended; https://www.ecb.europa.eu/euro/intro/html/index.en.html). Before that day the ECB fixed them.
FIXED_FOR_GOOD: Mapping[str, tuple[date, Decimal]] = {
    code: (date.fromisoformat(day), Decimal(rate))
    for code, day, rate in (
        ("ATS", "1999-01-01", "13.7603"), ("BEF", "1999-01-01", "40.3399"), ("DEM", "1999-01-01", "1.95583"),
        ("ESP", "1999-01-01", "166.386"), ("FIM", "1999-01-01", "5.94573"), ("FRF", "1999-01-01", "6.55957"),
        ("IEP", "1999-01-01", "0.787564"), ("ITL", "1999-01-01", "1936.27"), ("LUF", "1999-01-01", "40.3399"),
        ("NLG", "1999-01-01", "2.20371"), ("PTE", "1999-01-01", "200.482"), ("GRD", "2001-01-01", "340.750"),
        ("SIT", "2007-01-01", "239.640"), ("CYP", "2008-01-01", "0.585274"), ("MTL", "2008-01-01", "0.429300"),
        ("SKK", "2009-01-01", "30.1260"), ("EEK", "2011-01-01", "15.6466"), ("LVL", "2014-01-01", "0.702804"),
        ("LTL", "2015-01-01", "3.45280"), ("HRK", "2023-01-01", "7.53450"), ("BGN", "2026-01-01", "1.95583"),
    )
}  # fmt: skip
# Series that the ECB has, so that it can be asked for them.
OF_THE_ECB = FIXED_DAILY | {code for code, (day, _) in FIXED_FOR_GOOD.items() if day > date(1999, 1, 4)} | {"RUB"}
KNOWN = ISO_4217 | FIXED_FOR_GOOD.keys()

Units = Annotated[Decimal, Field(gt=0, max_digits=30)]


class Given(BaseModel):
    """What one unit of `per` is in a currency that the ECB does not fix: always (`rate`, a peg), or from a day until
    the next one (`rates`).

        currencies:
          AED: {per: USD, rate: 3.6725}
          UAH: {rates: {2026-01-01: 48.90, 2026-02-01: 49.35}}

    `days`: how long the last of `rates` holds; without it until there is another one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    per: str = "EUR"
    rate: Units | None = None
    rates: dict[date, Units] = {}
    days: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Given:
        if (self.rate is None) == (not self.rates):
            raise ValueError("give either `rate` (always the same) or `rates` (by the day from which each holds)")
        if self.per not in FIXED_DAILY | {"EUR"}:
            raise ValueError(f"`per` is EUR or a currency that the ECB fixes, not {self.per!r}")
        return self

    def on(self, day: date) -> tuple[Decimal, date] | None:
        """The rate that holds on a day, and the day since which it does; a peg holds on every day."""
        if self.rate is not None:
            return self.rate, day
        since = max((start for start in self.rates if start <= day), default=None)
        if since is None or (self.days is not None and (day - since).days >= self.days):
            return None
        return self.rates[since], since


def why_not_converted(currency: str | None, given: Mapping[str, Given]) -> str:
    """What to do about an amount that has no rate."""
    if not currency:
        return "its currency is not given"
    if currency in FIXED_DAILY:
        return "no fixing not older than 7 days; is it among the `currencies` of sources.ecb.options?"
    if currency in given:
        return f"currencies.{currency} of pipeline.yaml has no rate for that day"
    if currency in KNOWN:
        return f"the ECB does not fix it: give a peg or rates, `currencies: {{{currency}: …}}`, or a file of rates"
    return "not an ISO 4217 code: correct it, or give an alias"
