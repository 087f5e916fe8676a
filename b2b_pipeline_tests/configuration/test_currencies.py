"""One rule for currencies, wherever they come from: a row counts, and an amount without a rate says so."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from b2b_pipeline.configuration.currencies import Given
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.core.fx import Rates
from b2b_pipeline.errors import ConfigError
from b2b_pipeline_tests.support.dropped import Dropped

DAY = date(2026, 5, 8)
FIXINGS = [(DAY, "USD", Decimal("1.10")), (DAY, "GBP", Decimal("0.85"))]
DEALS = """
files:
  deals:
    match: "deals*.csv"
    tables:
      opportunity:
        columns:
          opp_id: Deal
          created_at: {from: Opened, date: "%Y-%m-%d"}
          close_date: {from: Closed, date: "%Y-%m-%d"}
          stage: Stage
          amount: Amount
          currency: Currency
        won: [Won]
"""
RATES = """
  rates:
    match: "rates*.csv"
    tables:
      fx_rate:
        columns: {date_day: From, currency: Currency, in_eur: EUR}
"""


def deals(*money: tuple[str, str]) -> str:
    rows = [f"D{n},2026-01-05,2026-02-05,Won,{amount},{code}" for n, (amount, code) in enumerate(money)]
    return "\n".join(["Deal,Opened,Closed,Stage,Amount,Currency", *rows])


def rate(currency: str, day: date, reporting: str = "EUR", **given: Given) -> tuple[str, date] | None:
    found = Rates(FIXINGS, reporting, given).on(currency, day)
    return (str(found.rate.normalize()), found.fixed_on) if found else None


def test_a_deal_in_a_currency_that_nobody_fixes_counts_and_its_amount_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Dropped.of(tmp_path, monkeypatch, DEALS)
    money = [("100", "EUR"), ("2000", "AED"), ("2000", "UAH"), ("2000", "RUB"), ("2000", "Euro"), ("195.583", "bgn")]
    assert not found.drop("deals.csv", deals(*money, ("753.45", "HRK")))
    assert not found.load().loads["opportunity"].failures
    assert found.value("won") == 7
    (bookings,) = found.ask("bookings", "2026-02-05", "2026-02-05")
    assert (bookings["value"], bookings["complete"]) == ("300.00", False)
    told = "; ".join(bookings["reasons"])
    assert "opportunity in AED cannot be converted: the ECB does not fix it: give a peg or rates" in told
    assert "opportunity in EURO cannot be converted: not an ISO 4217 code" in told
    assert "BGN" not in told
    assert "HRK" not in told
    (won,) = found.ask("won", "2026-02-05", "2026-02-05")
    assert won["complete"]


def test_pegs_and_rates_of_pipeline_yaml_convert_what_the_ecb_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = """
currencies:
  AED: {per: EUR, rate: 4}
  UAH: {rates: {2026-01-01: 40, 2026-02-05: 50}}
"""
    found = Dropped.of(tmp_path, monkeypatch, given + DEALS)
    found.drop("deals.csv", deals(("400", "AED"), ("500", "UAH")))
    found.load()
    (bookings,) = found.ask("bookings", "2026-02-05", "2026-02-05")
    assert (bookings["value"], bookings["complete"]) == ("110.00", True)


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        ("{AED: {per: EUR, rate: 4}}", "{AED: {per: EUR, rate: 5}}", "80.00"),
        ("{AED: {rates: {2026-01-01: 4}}}", "{AED: {rates: {2026-01-01: 8}}}", "50.00"),
        ("{AED: {per: EUR, rate: 4}}", "{}", None),
    ],
    ids=["a peg", "a rate", "none any more"],
)
def test_a_rate_that_is_corrected_converts_anew_what_was_converted_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, value: str | None
) -> None:
    found = Dropped.of(tmp_path, monkeypatch, f"currencies: {before}\n{DEALS}")
    found.drop("deals.csv", deals(("400", "AED")))
    found.load()
    assert found.value("bookings", "2026-02-05", "2026-02-05") == "100.00"
    found = Dropped.of(tmp_path, monkeypatch, f"currencies: {after}\n{DEALS}")
    found.load()
    assert found.value("bookings", "2026-02-05", "2026-02-05") == value


def test_rates_of_a_file_convert_amounts_that_were_loaded_before_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Dropped.of(tmp_path, monkeypatch, DEALS + RATES)
    found.drop("deals.csv", deals(("400", "AED")))
    found.load()
    assert found.value("bookings") is None
    found.drop("rates.csv", "From,Currency,EUR\n2026-01-01,aed,0.5\n2026-02-01,AED,0.25\n2026-02-28,AED,1\n")
    found.load()
    assert found.value("bookings", "2026-02-05", "2026-02-05") == "100.00"
    found.drop("rates.csv", "From,Currency,EUR\n2026-02-01,AED,0.50\n")
    found.load()
    assert found.value("bookings", "2026-02-05", "2026-02-05") == "200.00"


def test_a_peg_follows_the_fixing_of_the_currency_that_it_hangs_on() -> None:
    aed = Given(per="USD", rate=Decimal("3.6725"))
    assert rate("AED", DAY, AED=aed) == ("0.2475400705", DAY)  # 1 / (3.6725 x 1.10)
    assert rate("AED", DAY, "USD", AED=aed) == ("0.2722940776", DAY)
    assert rate("AED", date(2030, 1, 1), AED=aed) is None
    assert rate("AED", date(2030, 1, 1), "USD", AED=aed) == ("0.2722940776", date(2030, 1, 1))
    assert rate("GBP", DAY, "AED", AED=aed) == ("4.7526470588", DAY)


def test_a_rate_holds_from_its_day_until_the_next_one_and_a_files_rate_at_most_40_days() -> None:
    rates = {date(2026, 1, 1): Decimal(40), date(2026, 2, 1): Decimal(50)}
    assert rate("UAH", date(2025, 12, 31), UAH=Given(rates=rates)) is None
    assert rate("UAH", date(2026, 1, 31), UAH=Given(rates=rates)) == ("0.025", date(2026, 1, 1))
    assert rate("UAH", date(2027, 1, 31), UAH=Given(rates=rates)) == ("0.02", date(2026, 2, 1))
    assert rate("UAH", date(2026, 3, 12), UAH=Given(rates=rates, days=40)) == ("0.02", date(2026, 2, 1))
    assert rate("UAH", date(2026, 3, 13), UAH=Given(rates=rates, days=40)) is None


def test_a_currency_that_went_over_into_the_euro_keeps_its_rate_for_good_and_had_fixings_before() -> None:
    assert rate("HRK", date(2026, 3, 1)) == ("0.1327228084", date(2023, 1, 1))
    assert rate("HRK", date(2022, 12, 30)) is None
    before = Rates([(date(2022, 12, 30), "HRK", Decimal("7.5365"))], "EUR").on("HRK", date(2022, 12, 30))
    assert before is not None
    assert before.rate == Decimal("0.1326875871")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("currency: AED", "the ECB does not fix AED: give a peg or rates under `currencies`"),
        ("currencies: {AED: {per: USD}}", "give either `rate`"),
        ("currencies: {AED: {per: SAR, rate: 1}}", "`per` is EUR or a currency that the ECB fixes, not 'SAR'"),
        ("currencies: {AEX: {rate: 1}}", "unknown currency 'AEX'"),
        ("currencies: {AED: {rate: 0}}", "greater than 0"),
    ],
)
def test_a_mistake_about_currencies_is_told_with_its_line(tmp_path: Path, settings: str, complaint: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(f"start_date: 2026-01-01\nsystem_of_record: files\n{settings}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as found:
        load_config(path)
    assert str(found.value).startswith(f"{path}:3: ")
    assert complaint in str(found.value)
