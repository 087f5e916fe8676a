"""Chargebee's records as rows of the core tables: frame in, frame out, by docs/semantics.md.

Money is a whole number of hundredths of a unit, and of units in currencies that have no smaller ones; what a
subscription brings in a month Chargebee tells itself.
"""

from __future__ import annotations

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

# Of ISO 4217 those without a minor unit; all others have two digits at Chargebee, also those that have three.
NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
DIGITS = dict.fromkeys(NO_DECIMALS.split(), 0)
BRINGS = ("active", "non_renewing")
GIVEN_UP = "write_off"  # an invoice that is given up gets a credit note; it was invoiced all the same


def customers(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per customer; a person's name is not kept."""
    email = column(records, "email")
    return _rows(
        records, context, column(records, "created_at"),
        customer_id=records["id"], email_hash=email, email_domain=email_domain(email), domain=None,
        name=column(records, "company"), country=column(records, "billing_address.country"),
        currency=column(records, "preferred_currency_code"),
        created_at=utc_from_seconds(column(records, "created_at")),
    )  # fmt: skip


def subscriptions(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per subscription. `cancelled_at` may be to come; one that was moved to another entity lives on there."""
    require(records, "status", "customer_id")
    status, trial = records["status"], column(records, "trial_end")
    start, over = (pd.to_numeric(values, errors="coerce") for values in (column(records, "started_at"), trial))
    start = start.where(start.notna(), pd.to_numeric(column(records, "start_date"), errors="coerce"))
    paid_from = start.where(~(over > start), over)
    cancelled = column(records, "cancelled_at")
    ended = cancelled.where(status.eq("cancelled"), None)
    is_never = pd.to_numeric(ended, errors="coerce") <= paid_from
    is_bringing, currency = status.isin(BRINGS), column(records, "currency_code")
    mrr = major_units(column(records, "mrr").where(is_bringing, 0), currency, DIGITS)
    plan = column(records, "subscription_items").map(_plan, na_action="ignore")
    quantity = column(records, "subscription_items").map(_quantity, na_action="ignore")
    return _rows(
        records, context, paid_from,
        subscription_id=records["id"], customer_id=records["customer_id"], status=status, mrr=mrr, currency=currency,
        plan=plan.where(plan.notna(), column(records, "plan_id")),
        quantity=quantity.where(quantity.notna(), column(records, "plan_quantity")),
        cancel_reason=_first(records, "cancel_reason_code", "cancel_reason"),
        created_at=utc_from_seconds(column(records, "created_at")),
        started_at=utc_from_seconds(paid_from).where(~is_never, None), trial_ends_at=utc_from_seconds(trial),
        canceled_at=utc_from_seconds(cancelled), ended_at=utc_from_seconds(ended),
        ended_day=local_day(utc_from_seconds(ended), context.config.zone),
    ).assign(is_deleted=_deleted(records) | status.eq("transferred"))  # fmt: skip


def invoices(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per invoice that was issued, on its date. `amount` has discounts, and no tax."""
    records = _issued(records)
    net = _less(column(records, "total"), column(records, "tax"))
    return _money_rows(
        records, context, net, column(records, "tax"), invoice_id=records["id"], kind="invoice",
        credited_invoice_id=None, due_at=utc_from_seconds(column(records, "due_date")),
        paid_at=utc_from_seconds(column(records, "paid_at")), paid=column(records, "amount_paid"),
    )  # fmt: skip


def credit_notes(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per credit note, negative; without those by which an invoice is given up."""
    require(records, "status", "reason_code")
    records = records[records["reason_code"].ne(GIVEN_UP)]
    tax = column(records, "taxes").map(lambda taxes: sum(each["amount"] for each in taxes), na_action="ignore")
    return _money_rows(
        records, context, _less(tax, column(records, "total")), _less(0, tax), invoice_id=records["id"],
        kind="credit_note", credited_invoice_id=column(records, "reference_invoice_id"), due_at=None, paid_at=None,
        paid=None,
    )  # fmt: skip


def invoice_lines(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per line. Its amount in Chargebee is that before discounts and, where prices include it, with tax."""
    records = _issued(records)
    given = records.assign(line=column(records, "line_items")).explode("line")
    given = given[given["line"].notna()]
    line, zone, currency = given["line"], context.config.zone, column(given, "currency_code")
    first, last = member(line, "date_from"), member(line, "date_to")
    last = last.map(lambda at: at - 1, na_action="ignore").where(last.ne(first), last)
    is_inclusive = column(given, "price_type").eq("tax_inclusive")
    net = [_net(cell, inclusive) for cell, inclusive in zip(line, is_inclusive, strict=True)]
    mode = member(line, "proration_mode")
    return core_rows(
        given, context, member(line, "id"),
        line_id=member(line, "id"), invoice_id=given["id"], subscription_id=member(line, "subscription_id"),
        plan=member(line, "entity_id"), date_day=local_day(utc_from_seconds(given["date"]), zone),
        first_day=local_day(utc_from_seconds(first), zone), last_day=local_day(utc_from_seconds(last), zone),
        amount=major_units(pd.Series(net, index=given.index, dtype=object), currency, DIGITS), currency=currency,
        is_proration=mode.notna().astype(object).where(mode.notna(), None),  # of others it is not told
        updated_at=utc(given["changed_at"]), is_deleted=_deleted(given),
        is_recurring=member(line, "entity_type").isin(("plan_item_price", "addon_item_price", "plan", "addon"))
        & mode.isna(),
    )  # fmt: skip


# -- what all have


def _issued(records: pd.DataFrame) -> pd.DataFrame:
    """Invoices that are not pending any more."""
    require(records, "status", "date")
    return records[records["status"].ne("pending")]


def _first(records: pd.DataFrame, path: str, other: str) -> pd.Series:
    values = column(records, path)
    return values.where(values.notna(), column(records, other))


def _deleted(records: pd.DataFrame) -> pd.Series:
    return column(records, "deleted").eq(True)


def _rows(records: pd.DataFrame, context: MappingContext, day: pd.Series, **columns: Any) -> pd.DataFrame:
    stamps = {
        "updated_at": utc(records["changed_at"]),
        "date_day": local_day(utc_from_seconds(day), context.config.zone),
    }
    return core_rows(records, context, records["id"], is_deleted=_deleted(records), **stamps, **columns)


def _money_rows(
    records: pd.DataFrame, context: MappingContext, amount: pd.Series, tax: pd.Series, *, paid: pd.Series | None,
    **columns: Any,
) -> pd.DataFrame:  # fmt: skip
    issued, currency = column(records, "date"), column(records, "currency_code")
    return _rows(
        records, context, issued, customer_id=column(records, "customer_id"), issued_at=utc_from_seconds(issued),
        status=column(records, "status").replace({"voided": "void"}), currency=currency,
        amount=major_units(amount, currency, DIGITS), tax=major_units(tax, currency, DIGITS),
        subscription_id=column(records, "subscription_id"),
        amount_paid=None if paid is None else major_units(paid, currency, DIGITS), **columns,
    )  # fmt: skip


def _less(one: Any, other: pd.Series) -> pd.Series:
    """The difference of whole numbers; unknown where one is, and text, which is refused, where one is no number."""
    ones = one if isinstance(one, pd.Series) else pd.Series(one, index=other.index)
    found = [_minus(a, b) for a, b in zip(ones, other, strict=True)]
    return pd.Series(found, index=other.index, dtype=object)


def _minus(one: Any, other: Any) -> Any:
    if any(each is None or each != each for each in (one, other)):  # NaN
        return None
    return one - other if all(isinstance(each, int | float) for each in (one, other)) else f"{one} less {other}"


def _net(line: dict[str, Any], is_inclusive: bool) -> int | None:
    if line.get("amount") is None or (is_inclusive and line.get("tax_amount") is None):
        return None
    net: int = line["amount"] - (line.get("discount_amount") or 0) - (line["tax_amount"] if is_inclusive else 0)
    return net


def _plan(items: list[dict[str, Any]]) -> str | None:
    plans = [item["item_price_id"] for item in items if item.get("item_type") == "plan"]
    return ", ".join(sorted(plans)) or None


def _quantity(items: list[dict[str, Any]]) -> int | None:
    found = [item["quantity"] for item in items if item.get("item_type") == "plan" and item.get("quantity") is not None]
    return sum(found) if found else None
