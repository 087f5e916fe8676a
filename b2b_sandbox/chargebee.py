"""A twin of Chargebee's API v2, Product Catalog 2.0, as far as billing goes: what `billing.py` makes of the world.

Each record of a list is within a member of its kind's name, what is null is left out, and offsets are tokens. From the
official SDK (PyPI chargebee 3.29.0) and https://apidocs.chargebee.com/docs/api, read 2026-12-01; messages of errors as
its documents and public clients show them.
"""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from b2b_sandbox import tokens
from b2b_sandbox.billing import TAX, customers
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, asked_by, page, route

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from decimal import Decimal

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.billing import Customer, Invoice, Line, Subscription
    from b2b_sandbox.world import World

SORTED_BY = {
    "customer": ("created_at", "updated_at"), "subscription": ("created_at", "updated_at"),
    "invoice": ("date", "updated_at"), "credit_note": ("date",),
}  # fmt: skip
SHOWN_LINES = 300
Lists = dict[str, list[Shown]]


def routes(world: World, per_minute: int = 100_000, shown_lines: int = SHOWN_LINES) -> list[BaseRoute]:
    """The paths of one site. `per_minute` calls are let in; an invoice comes with `shown_lines` of its lines."""
    lists = Shapes(world, lists_at)
    calls = Meter(per_minute, 60.0)

    def enter(request: Request) -> dict[str, str]:
        scheme, _, word = request.headers.get("authorization", "").partition(" ")
        name = base64.b64decode(word).decode().partition(":")[0] if scheme == "Basic" else ""
        if name != tokens.PRIVATE_APP_TOKEN:
            raise Refused(_error(401, "Sorry, authentication failed. Invalid api key", "api_authentication_failed", ""))
        if not calls.take():
            raise Refused(_throttled(None, False))
        return {}

    def listed(call: Call, kind: str) -> Shown:
        rows = lists()[kind] if call.query("include_deleted") == "true" else [
            row for row in lists()[kind] if not row.get("deleted")
        ]  # fmt: skip
        if between := call.query("updated_at[between]"):
            since, until = _bounds(between)
            rows = [row for row in rows if since <= row.get("updated_at", 0) <= until]
        for direction in ("asc", "desc"):
            if by := call.query(f"sort_by[{direction}]"):
                if by not in SORTED_BY[kind]:
                    raise Refused(_wrong(f"sort_by[{direction}]"))
                rows = sorted((row for row in rows if by in row), key=lambda row: (row[by], row["id"]))
                rows = rows[::-1] if direction == "desc" else rows
        limit = call.query("limit", "10")
        if not limit.isdecimal() or not 1 <= int(limit) <= 100:
            raise Refused(_wrong("limit"))
        try:
            shown, cursor = page(rows, call.query("offset"), int(limit))
        except ValueError:
            raise Refused(_wrong("offset")) from None
        found: Shown = {"list": [{kind: _with_lines(row, shown_lines)} for row in shown]}
        return found | ({"next_offset": cursor} if cursor else {})

    def invoice(call: Call) -> Shown:
        found = next((row for row in lists()["invoice"] if row["id"] == call.path("id")), None)
        if found is None:
            raise Refused(_error(404, f"{call.path('id')} not found", "resource_not_found"))
        limit = int(call.query("line_items_limit", str(shown_lines)))
        return {"invoice": _with_lines(found, limit, int(call.query("line_items_offset", "0")))}

    at = partial(route, world, enter=enter)
    found = [at(f"/api/v2/{kind}s", partial(listed, kind=kind)) for kind in SORTED_BY]
    return [*found, at("/api/v2/invoices/{id}", invoice)]


def _with_lines(row: Shown, limit: int, start: int = 0) -> Shown:
    """A record with so many of its lines, and from where on there are more."""
    if "sub_total" not in row or "line_items" not in row:
        return row
    lines = row["line_items"]
    more = {"line_items_next_offset": str(start + limit)} if len(lines) > start + limit else {}
    return row | {"line_items": lines[start : start + limit]} | more


def _bounds(text: str) -> tuple[int, int]:
    try:
        since, until = json.loads(text)
        return int(since), int(until)
    except (ValueError, TypeError):
        raise Refused(_wrong("updated_at")) from None


# -- what it makes of the world


def lists_at(connection: sqlite3.Connection, now: int) -> Lists:
    found: Lists = {kind: [] for kind in SORTED_BY}
    for customer in customers(connection, now, "chargebee"):
        found["customer"].append(_customer(customer))
        found["subscription"].append(_subscription(customer, customer.subscription, now // 1000))
        for bill in customer.invoices:
            found["invoice"].append(_invoice(customer, bill))
            found["credit_note"] += _credit_notes(customer, bill)
    return found


def _shown(record: Shown) -> Shown:
    """What is null is left out."""
    return {name: value for name, value in record.items() if value is not None}


def _customer(customer: Customer) -> Shown:
    updated = customer.deleted or customer.created
    return _shown({
        "id": _id(customer), "first_name": "Kim", "last_name": "Lee", "email": customer.email, "phone": "+4930000000",
        "company": customer.company, "auto_collection": "on", "net_term_days": 0, "created_at": customer.created,
        "taxability": "taxable", "updated_at": updated, "resource_version": updated * 1000,
        "locale": "de", "pii_cleared": "active", "channel": "web", "deleted": bool(customer.deleted),
        "preferred_currency_code": customer.currency, "object": "customer", "billing_address": {
            "first_name": "Kim", "line1": "Hauptstr. 1", "city": "Berlin", "country": customer.country,
            "validation_status": "not_validated", "object": "billing_address",
        }, "invoice_notes": "Call before noon", "promotional_credits": 0, "refundable_credits": 0,
        "cf_notes": "a field of our own",
    })  # fmt: skip


def _subscription(customer: Customer, its: Subscription, now: int) -> Shown:
    status = "in_trial" if its.trial and its.trial > now else "non_renewing" if its.asked_to_end else "active"
    status = "cancelled" if its.ended else "paused" if its.paused else status
    monthly = its.plan.price * its.quantity / its.plan.months
    return _shown({
        "id": f"{_id(customer)}S", "billing_period": its.plan.months, "billing_period_unit": "month",
        "customer_id": _id(customer), "status": status, "currency_code": customer.currency, "created_at": its.created,
        "started_at": its.created, "activated_at": its.starts if its.starts <= now else None, "trial_start":
            its.created if its.trial else None, "trial_end": its.trial, "cancelled_at": its.ended or its.ends,
        "cancel_reason_code": "Too expensive" if its.asked_to_end else None, "pause_date": its.paused,
        "updated_at": max(its.changes), "resource_version": max(its.changes) * 1000, "has_scheduled_changes": False,
        "channel": "web", "due_invoices_count": 0, "mrr": _cents(monthly), "exchange_rate": 1.0, "deleted": False,
        "base_currency_code": "EUR", "object": "subscription", "subscription_items": [{
            "item_price_id": f"{its.plan.name}-{customer.currency}", "item_type": "plan", "quantity": its.quantity,
            "unit_price": _cents(its.plan.price), "amount": _cents(its.plan.price * its.quantity), "free_quantity": 0,
            "object": "subscription_item",
        }, {
            "item_price_id": f"calls-{customer.currency}", "item_type": "addon", "metered_quantity": "12",
            "free_quantity": 0, "object": "subscription_item",
        }],
    })  # fmt: skip


def _invoice(customer: Customer, bill: Invoice) -> Shown:
    """Every second customer has prices with tax."""
    total, updated, is_inclusive = bill.net + bill.tax, max(bill.changes), _is_inclusive(customer)
    status = "paid" if bill.paid else "payment_due" if bill.issued else "pending"
    status = "voided" if bill.voided else "not_paid" if bill.lost else status
    lines = [part for number, each in enumerate(bill.lines) for part in _lines(customer, bill, number, each)]
    return _shown({
        "id": f"{_id(customer)}-{bill.number}", "customer_id": _id(customer), "subscription_id": f"{_id(customer)}S",
        "recurring": True, "status": status, "price_type": "tax_inclusive" if is_inclusive else "tax_exclusive",
        "date": bill.issued or bill.created, "due_date": bill.due, "net_term_days": 0, "exchange_rate": 1.0,
        "total": _cents(total), "amount_paid": _cents(total) if bill.paid else 0, "amount_adjusted": 0,
        "write_off_amount": _cents(total) if bill.lost else 0, "credits_applied": 0, "paid_at": bill.paid,
        "amount_due": 0 if bill.paid or bill.voided or bill.lost else _cents(total), "voided_at": bill.voided,
        "updated_at": updated, "resource_version": updated * 1000, "deleted": False, "object": "invoice",
        "generated_at": bill.created, "first_invoice": bill.number == 0, "has_advance_charges": False,
        "currency_code": customer.currency, "base_currency_code": "EUR", "is_gifted": False, "term_finalized": True,
        "tax": _cents(bill.tax), "sub_total": _cents(total if is_inclusive else bill.net), "round_off_amount": 0,
        "line_items": lines, "taxes": [{"object": "tax", "name": "VAT", "amount": _cents(bill.tax)}],
        "notes": [{"note": "Call before noon"}], "billing_address": {"first_name": "Kim", "country": customer.country},
    })  # fmt: skip


def _lines(customer: Customer, bill: Invoice, number: int, line: Line) -> Iterator[Shown]:
    """A line of the plan; of a large quantity one more for the seats that are beyond."""
    is_inclusive, parts = _is_inclusive(customer), 2 if line.quantity > 5 and not line.is_proration else 1
    for part in range(parts):
        net, off, tax = (
            _cents(value) // parts + (_cents(value) % parts if part == 0 else 0)
            for value in (line.amount, line.discount, line.tax)
        )
        yield _shown({
            "id": f"li_{_id(customer)}{bill.number:03}{number}{part}", "subscription_id": f"{_id(customer)}S",
            "date_from": line.since, "date_to": line.until, "unit_amount": _cents(line.plan.price),
            "quantity": line.quantity, "amount": net + tax if is_inclusive else net, "pricing_model": "per_unit",
            "is_taxed": True, "tax_amount": tax, "tax_rate": float(TAX * 100), "object": "line_item",
            "customer_id": _id(customer), "description": f"{line.plan.name} for Kim", "discount_amount": off,
            "item_level_discount_amount": 0, "metered": False, "is_percentage_pricing": False,
            "proration_mode": "delta" if line.is_proration else None, "entity_type": "plan_item_price",
            "entity_id": f"{line.plan.name}-{customer.currency}",
        })  # fmt: skip


def _credit_notes(customer: Customer, bill: Invoice) -> Iterator[Shown]:
    """The one over what was too much, and, of an invoice that was given up, that over all of it."""
    if credit := bill.credit:
        yield _credit_note(customer, bill, "A", credit.at, credit.net, credit.tax, credit.voided, "waiver")
    if bill.lost:
        yield _credit_note(customer, bill, "W", bill.lost, bill.net, bill.tax, None, "write_off")


def _credit_note(
    customer: Customer, bill: Invoice, suffix: str, at: int, net: Decimal, tax: Decimal, voided: int | None, reason: str
) -> Shown:
    is_inclusive = _is_inclusive(customer)
    return _shown({
        "id": f"CN-{_id(customer)}-{bill.number}{suffix}", "customer_id": _id(customer), "date": at,
        "subscription_id": f"{_id(customer)}S", "reference_invoice_id": f"{_id(customer)}-{bill.number}",
        "type": "refundable" if bill.paid else "adjustment", "reason_code": reason, "exchange_rate": 1.0,
        "status": "voided" if voided else "refund_due" if bill.paid else "adjusted", "voided_at": voided,
        "price_type": "tax_inclusive" if is_inclusive else "tax_exclusive", "total": _cents(net + tax),
        "amount_allocated": 0, "amount_refunded": 0, "amount_available": 0, "generated_at": at,
        "updated_at": voided or at, "resource_version": (voided or at) * 1000, "deleted": False,
        "object": "credit_note", "create_reason_code": "Waiver", "currency_code": customer.currency,
        "sub_total": _cents(net + tax if is_inclusive else net), "round_off_amount": 0, "fractional_correction": 0,
        "taxes": [{"object": "tax", "name": "VAT", "amount": _cents(tax)}], "customer_notes": "We are sorry",
    })  # fmt: skip


def _is_inclusive(customer: Customer) -> bool:
    return customer.number % 2 == 0


def _cents(amount: Decimal) -> int:
    return round(amount * 100)


def _id(customer: Customer) -> str:
    return f"AzZ{customer.number:x}"


# -- what goes wrong, in Chargebee's words


def _error(status: int, message: str, code: str, kind: str = "invalid_request", **more: Any) -> Response:
    typed = {"type": kind} if kind else {}
    old = {"error_code": code, "error_msg": message, "http_status_code": status}
    return JSONResponse({"message": message, **typed, "api_error_code": code, **more, **old}, status)


def _wrong(parameter: str) -> Response:
    return _error(400, f"{parameter} : wrong value", "param_wrong_value", param=parameter)


def _throttled(wait: int | None, daily: bool) -> Response:
    message = "Sorry, access has been blocked temporarily due to request count exceeding acceptable limits."
    answer = _error(429, message, "api_request_limit_exceeded", "operation_failed")
    if wait is not None:
        answer.headers["Retry-After"] = str(wait)
    return answer


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "Sorry, something went wrong.", "internal_error", "operation_failed"),
    cursor=asked_by("offset"),
    repeat=lambda cursor, answer: answer.update(next_offset=cursor),
    rows=("list",),
)
