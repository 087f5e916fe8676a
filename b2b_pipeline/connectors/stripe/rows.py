"""Stripe's records as rows of the core tables: frame in, frame out, by docs/semantics.md.

Money is a whole number of the currency's smallest unit, but for a few currencies that Stripe counts otherwise
(https://docs.stripe.com/currencies). What a subscription brings in a month is not told: it follows from the prices of
its items, or is unknown where they do not tell it.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.connectors.columns import (
    column,
    core_rows,
    email_domain,
    local_day,
    major_units,
    member,
    require,
    utc,
    utc_from_seconds,
)

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

NO_DECIMALS = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"  # ISK and UGX are written with two
THREE_DECIMALS = "BHD JOD KWD OMR TND"
DIGITS = dict.fromkeys(NO_DECIMALS.split(), 0) | dict.fromkeys(THREE_DECIMALS.split(), 3)
NEVER_STARTED = ("incomplete", "incomplete_expired")
MONTHS = {"month": Decimal(1), "year": Decimal(12), "week": Decimal(12) / 52, "day": Decimal(12) / 365}


def customers(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per customer. A name may be a person's: only that of a business is kept."""
    email = column(records, "email")
    return _rows(
        records, context, column(records, "created"),
        customer_id=records["id"], email_hash=email, email_domain=email_domain(email), domain=None,
        name=column(records, "business_name"), country=column(records, "address.country"),
        currency=column(records, "currency").str.upper(), created_at=utc_from_seconds(column(records, "created")),
        is_deleted=column(records, "deleted").eq(True),
    )  # fmt: skip


def subscriptions(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per subscription. It starts when its trial is over; one that was never paid for did not start."""
    records = _only(records, "subscription")
    require(records, "status", "start_date", "trial_end", "ended_at", "items")
    trial, ended = records["trial_end"], records["ended_at"]
    start, over = (pd.to_numeric(values, errors="coerce") for values in (records["start_date"], trial))
    paid_from = start.where(~(over > start), over)
    is_never = records["status"].isin(NEVER_STARTED) | (pd.to_numeric(ended, errors="coerce") <= paid_from)
    started = utc_from_seconds(paid_from)
    mrr = [monthly({str(name): cell for name, cell in each.items()}) for each in records.to_dict("records")]
    currency = records["currency"].str.upper()
    return _rows(
        records, context, paid_from,
        subscription_id=records["id"], customer_id=records["customer"], status=records["status"],
        plan=records["items"].map(_plans), quantity=records["items"].map(_quantity), mrr=_exact(mrr, currency),
        cancel_reason=_first(records, "cancellation_details.feedback", "cancellation_details.reason"),
        currency=currency,
        created_at=utc_from_seconds(records["created"]), started_at=started.where(~is_never, None),
        trial_ends_at=utc_from_seconds(trial), canceled_at=utc_from_seconds(column(records, "canceled_at")),
        ended_at=utc_from_seconds(ended), ended_day=local_day(utc_from_seconds(ended), context.config.zone),
        is_deleted=False,
    )  # fmt: skip


def invoices(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per invoice that is no draft, on its date of issue. `amount` has discounts, and no tax."""
    records = _issued(records)
    net, tax = _net_and_tax(records)
    moves = "status_transitions"
    return _money_rows(
        records, context, _issue(records), net, tax,
        invoice_id=records["id"], kind="invoice", subscription_id=column(records, "subscription"),
        credited_invoice_id=None, due_at=utc_from_seconds(column(records, "due_date")),
        paid_at=utc_from_seconds(column(records, f"{moves}.paid_at")), paid=column(records, "amount_paid"),
    )  # fmt: skip


def credit_notes(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per credit note; what it takes back is negative."""
    records = _only(records, "credit_note")
    net, tax = _net_and_tax(records, -1)
    return _money_rows(
        records, context, _first(records, "effective_at", "created"), net, tax,
        invoice_id=records["id"], kind="credit_note", subscription_id=None, due_at=None, paid_at=None, paid=None,
        credited_invoice_id=column(records, "invoice"),
    )  # fmt: skip


def every_invoice(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """Invoices and credit notes of a stream that has both."""
    return pd.concat([invoices(records, context), credit_notes(records, context)])


def invoice_lines(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per line. Its amount in Stripe is that before discounts and, where prices include it, with tax."""
    records = _issued(records)
    tax = _net_and_tax(records)[1]
    given = records.assign(issued=_issue(records), is_untaxed=tax.eq(0), line=column(records, "lines")).explode("line")
    given = given[given["line"].notna()]
    parent, period = member(given["line"], "parent"), member(given["line"], "period")
    issued, zone, currency = utc_from_seconds(given["issued"]), context.config.zone, given["currency"].str.upper()
    net = pd.Series([*map(_net, given["line"], given["is_untaxed"])], index=given.index, dtype=object)
    is_proration, first, last = member(parent, "proration"), member(period, "start"), member(period, "end")
    last = last.map(lambda at: at - 1, na_action="ignore").where(last.ne(first), last)  # the end is not served any more
    return core_rows(
        given, context, member(given["line"], "id"),
        line_id=member(given["line"], "id"), invoice_id=given["id"], subscription_id=member(parent, "subscription"),
        plan=member(given["line"], "price"), date_day=local_day(issued, zone),
        first_day=local_day(utc_from_seconds(first), zone), last_day=local_day(utc_from_seconds(last), zone),
        amount=major_units(net, currency, DIGITS), currency=currency,
        is_proration=is_proration, updated_at=utc(given["changed_at"]), is_deleted=False,
        is_recurring=member(parent, "type").eq("subscription_item_details") & ~is_proration.eq(True),
    )  # fmt: skip


# -- what a subscription brings in a month


def monthly(record: dict[str, Any]) -> Decimal | None:
    """In smallest units, discounts off and tax left out; None where the record does not tell it.

    What is on trial, paused, never started or ended brings nothing; what is charged by use is left out. A year has 12
    months, 52 weeks or 365 days. A coupon counts as long as it is in force, but not one that is for one invoice.
    """
    if record["status"] not in ("active", "past_due") or isinstance(record.get("pause_collection.behavior"), str):
        return Decimal(0)
    amounts: list[tuple[Decimal, Decimal]] = []  # what an item brings in a month, and how many months its term has
    with localcontext(prec=40):
        for item in record["items"]:
            if (item["price"].get("recurring") or {}).get("usage_type") == "metered":
                continue
            if (found := _item(item, bool(record.get("has_automatic_tax")), record.get("tax_rates") or [])) is None:
                return None
            if (amount := _reduced([found], item["discounts"], record["currency"])) is None:
                return None
            amounts.append((amount, found[1]))
        return _reduced(amounts, record["discounts"], record["currency"])


def _item(item: dict[str, Any], has_automatic_tax: bool, rates: list[dict[str, Any]]) -> tuple[Decimal, Decimal] | None:
    price, recurring = item["price"], item["price"].get("recurring") or {}
    unit, quantity = price.get("unit_amount_decimal"), item.get("quantity")
    months = MONTHS.get(recurring.get("interval", ""))
    is_taxed = (has_automatic_tax and price.get("tax_behavior") == "inclusive") or any(
        rate.get("inclusive") for rate in item["tax_rates"] or rates
    )
    if price.get("billing_scheme") != "per_unit" or is_taxed or unit is None or quantity is None or months is None:
        return None
    if packed := price.get("transform_quantity"):
        whole, rest = divmod(quantity, packed["divide_by"])
        quantity = whole + (1 if rest and packed["round"] == "up" else 0)
    term = months * recurring["interval_count"]
    return Decimal(unit) * quantity / term, term


def _reduced(amounts: list[tuple[Decimal, Decimal]], discounts: list[dict[str, Any]], currency: str) -> Decimal | None:
    """What is left of amounts by month; each with the months of its term, in which an amount is taken off once."""
    left, terms = sum((amount for amount, _ in amounts), Decimal(0)), {term for _, term in amounts}
    for discount in discounts:
        coupon = discount["coupon"]
        if coupon.get("duration") == "once":
            continue
        if not coupon or coupon.get("applies_to"):
            return None
        if coupon.get("percent_off") is not None:
            left -= left * Decimal(str(coupon["percent_off"])) / 100
        elif coupon.get("currency") == currency and len(terms) == 1:
            left -= Decimal(coupon["amount_off"]) / terms.copy().pop()
        elif terms:
            return None
    return max(left, Decimal(0))


def _exact(amounts: list[Decimal | None], currency: pd.Series) -> pd.Series:
    """Parts of a smallest unit as units, to the millionth."""
    found = [
        None if amount is None else format(round(amount.scaleb(-DIGITS.get(code, 2)), 6), "f")
        for amount, code in zip(amounts, currency, strict=True)
    ]
    return pd.Series(found, index=currency.index, dtype=object)


def _plans(items: list[dict[str, Any]]) -> str | None:
    return ", ".join(sorted(item["price"]["id"] for item in items)) or None


def _quantity(items: list[dict[str, Any]]) -> int | None:
    found = [item["quantity"] for item in items if item.get("quantity") is not None]
    return sum(found) if found else None


# -- what all have


def _only(records: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Those of one kind; what cannot be told apart is refused."""
    return records[records["object"].eq(kind) & ~column(records, "deleted").eq(True)]


def _issued(records: pd.DataFrame) -> pd.DataFrame:
    """Invoices that are no draft."""
    found = _only(records, "invoice")
    require(found, "status")
    return found[found["status"].ne("draft")]


def _issue(records: pd.DataFrame) -> pd.Series:
    return _first(records, "effective_at", "status_transitions.finalized_at")


def _first(records: pd.DataFrame, path: str, other: str) -> pd.Series:
    """What is at one path, else at the other."""
    values = column(records, path)
    return values.where(values.notna(), column(records, other))


def _rows(records: pd.DataFrame, context: MappingContext, day: pd.Series, **columns: Any) -> pd.DataFrame:
    stamps = {
        "updated_at": utc(records["changed_at"]),
        "date_day": local_day(utc_from_seconds(day), context.config.zone),
    }
    return core_rows(records, context, records["id"], **stamps, **columns)


def _money_rows(
    records: pd.DataFrame, context: MappingContext, issued: pd.Series, amount: pd.Series, tax: pd.Series, *,
    paid: pd.Series | None, **columns: Any,
) -> pd.DataFrame:  # fmt: skip
    currency = column(records, "currency").str.upper()
    return _rows(
        records, context, issued, customer_id=column(records, "customer"), status=column(records, "status"),
        issued_at=utc_from_seconds(issued), amount=major_units(amount, currency, DIGITS),
        tax=major_units(tax, currency, DIGITS), currency=currency, is_deleted=False,
        amount_paid=None if paid is None else major_units(paid, currency, DIGITS), **columns,
    )  # fmt: skip


def _net_and_tax(records: pd.DataFrame, sign: int = 1) -> tuple[pd.Series, pd.Series]:
    """Amount without tax, and tax; both unknown where neither is told. What is no number will fail as an amount."""
    told = zip(*(column(records, name) for name in ("total", "total_excluding_tax", "total_taxes")), strict=True)
    apart = [_apart(sign, *each) for each in told]
    found = pd.DataFrame(apart, columns=["net", "tax"], index=records.index, dtype=object)
    return found["net"], found["tax"]


def _apart(sign: int, total: Any, net: Any, taxes: Any) -> tuple[Any, Any]:
    if not isinstance(total, int):
        return f"total {total}", None
    if net is None or net != net:  # NaN
        net = total - sum(tax["amount"] for tax in taxes) if isinstance(taxes, list) else None
    return (sign * net, sign * (total - net)) if isinstance(net, int | float) else (net, None)


def _net(line: dict[str, Any], is_untaxed: bool) -> int | None:
    """None where it may have taxes that are not told. `is_untaxed`: its invoice has none."""
    if line.get("taxes") is None and not is_untaxed:
        return None
    credits_ = [each for each in line["pretax_credit_amounts"] if each["type"] == "credit_balance_transaction"]
    inclusive = [tax for tax in line.get("taxes") or () if tax["tax_behavior"] == "inclusive"]
    off = sum(each["amount"] for part in (line["discount_amounts"], credits_, inclusive) for each in part)
    amount: int = line["amount"] - off
    return amount
