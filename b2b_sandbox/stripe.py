"""A twin of Stripe's API, version 2026-10-28.endive, as far as billing goes: what `billing.py` makes of the world.

Lists newest first, by the id of the last object seen; at most ten lines with an invoice; events of 30 days, whose
objects are as they were in the account's older version; ids in place of what is not expanded. From the official SDK
(PyPI stripe 16.1.0) and https://docs.stripe.com/api, read 2026-12-01; messages of errors as public clients quote them.
"""

from __future__ import annotations

import base64
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import JSONResponse, Response

from b2b_sandbox import tokens
from b2b_sandbox.billing import DAY, PLANS, TAX, customers
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, asked_by, route

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from decimal import Decimal

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.billing import Customer, Invoice, Line, Subscription
    from b2b_sandbox.world import World

VERSIONS = ("2026-10-28.endive",)
KEPT = 30 * DAY  # of events
SHOWN_LINES = 10
SPLIT = 5  # of a larger quantity an invoice has a line for each unit
ACCOUNT = "acct_1SandboxOurCompany"
ITS_EVENTS_ARE_OF = "2020-08-27"  # the account's own version
EXPANDED = {"customer", "discounts", "items.data.discounts", "applies_to"}
BOUNDS: dict[str, Callable[[int, int], bool]] = {
    "gt": lambda at, bound: at > bound, "gte": lambda at, bound: at >= bound,
    "lt": lambda at, bound: at < bound, "lte": lambda at, bound: at <= bound,
}  # fmt: skip
PARAMETERS = {"limit", "starting_after", "ending_before", *(f"created[{bound}]" for bound in BOUNDS)}


class Books(NamedTuple):
    """Objects by kind, newest first, and events; what is deleted is in `gone`."""

    lists: dict[str, list[Shown]]
    events: list[Shown]
    gone: dict[str, Shown]


def routes(world: World, per_second: int = 100_000, shown_lines: int = SHOWN_LINES) -> list[BaseRoute]:
    """The paths of one account. `per_second` calls are let in; an invoice comes with `shown_lines` of its lines."""
    books = Shapes(world, partial(books_at, shown_lines=shown_lines))
    calls = Meter(per_second, 1.0)

    def enter(request: Request) -> dict[str, str]:
        if key_of(request) not in (tokens.PRIVATE_APP_TOKEN, KEY):
            raise Refused(_error(401, "Invalid API Key provided: rk_live_****wn"))
        version = request.headers.get("stripe-version", VERSIONS[-1])
        if version not in VERSIONS:
            raise Refused(_error(400, f"Invalid Stripe API version: {version}"))
        if request.headers.get("stripe-account", ACCOUNT) != ACCOUNT:
            message = "The provided key 'rk_live_****wn' does not have access to that account, or it does not exist."
            raise Refused(_error(403, message, "account_invalid"))
        if not calls.take():
            raise Refused(_throttled(None, False))
        return {"Stripe-Version": version, "Request-Id": "req_sandbox"}

    def listed(call: Call, kind: str) -> Shown:
        rows = books().lists[kind]
        if kind == "subscription":
            status = call.query("status")
            rows = [row for row in rows if (status in ("all", row["status"]) or (not status and not row["ended_at"]))]
        if kind == "invoice" and (status := call.query("status")):
            rows = [row for row in rows if row["status"] == status]
        return _page(call, rows, "/v1/" + kind + "s", {"status", "customer"})

    def one(call: Call, kind: str) -> Shown:
        known = {row["id"]: row for row in books().lists[kind]} | books().gone
        if (found := known.get(call.path("id"))) is None:
            raise Refused(_error(404, f"No such {kind}: '{call.path('id')}'", "resource_missing", param="id"))
        return _expanded(call, found, "")

    def lines(call: Call) -> Shown:
        (found,) = (row for row in books().lists["invoice"] if row["id"] == call.path("id"))
        return _page(call, found["all_lines"], f"/v1/invoices/{found['id']}/lines", set(), key="")

    def events(call: Call) -> Shown:
        pattern = call.query("type")
        begins, since = pattern.removesuffix("*"), call.now // 1000 - KEPT
        fits = [
            each for each in books().events
            if each["created"] >= since and (each["type"].startswith(begins) if "*" in pattern else
                                             not pattern or each["type"] == pattern)
        ]  # fmt: skip
        return _page(call, fits, "/v1/events", {"type"})

    def coupon(call: Call) -> Shown:
        if call.path("id") != COUPON["id"]:
            raise Refused(_error(404, f"No such coupon: '{call.path('id')}'", "resource_missing", param="coupon"))
        return COUPON

    at = partial(route, world, enter=enter)
    found: list[BaseRoute] = [at("/v1/account", lambda call: ITSELF), at("/v1/events", events)]
    for kind in ("customer", "subscription", "invoice", "credit_note"):
        found.append(at(f"/v1/{kind}s", partial(listed, kind=kind)))
        found.append(at(f"/v1/{kind}s/{{id}}", partial(one, kind=kind)))
    return [*found, at("/v1/invoices/{id}/lines", lines), at("/v1/coupons/{id}", coupon)]


KEY = f"rk_live_{tokens.PRIVATE_APP_TOKEN}"
ITSELF = {
    "id": ACCOUNT, "object": "account", "country": "DE", "default_currency": "eur", "type": "standard",
    "settings": {"dashboard": {"display_name": "Our Company", "timezone": "Europe/Berlin"}},
}  # fmt: skip
COUPON = {
    "id": "PARTNER20", "object": "coupon", "percent_off": 20.0, "amount_off": None, "currency": None,
    "duration": "forever", "duration_in_months": None, "name": "Partner", "valid": True, "times_redeemed": 3,
    "created": 0, "livemode": True, "metadata": {}, "max_redemptions": None, "redeem_by": None,
}  # fmt: skip


def key_of(request: Request) -> str:
    """That of either scheme: Stripe takes the key as a bearer token, or as a user name without a password."""
    scheme, _, word = request.headers.get("authorization", "").partition(" ")
    return base64.b64decode(word).decode().partition(":")[0] if scheme == "Basic" else word


def _page(call: Call, rows: list[Shown], url: str, more: set[str], key: str = "data.") -> Shown:
    asked = {name for name in call.request.query_params if not name.startswith("expand[")}
    if unknown := sorted(asked - PARAMETERS - more):
        raise Refused(_error(400, f"Received unknown parameter: {unknown[0]}", "parameter_unknown", param=unknown[0]))
    limit = call.query("limit", "10")
    if not limit.isdecimal() or not 1 <= int(limit) <= 100:
        raise Refused(_error(400, "Invalid integer: limit", "parameter_invalid_integer", param="limit"))
    for name, fits in BOUNDS.items():
        if (bound := call.query(f"created[{name}]")) and not bound.isdecimal():
            raise Refused(_error(400, f"Invalid integer: {bound}", "parameter_invalid_integer", param="created"))
        rows = [row for row in rows if fits(row["created"], int(bound))] if bound else rows
    if after := call.query("starting_after"):
        ids = [row["id"] for row in rows]
        if after not in ids:
            raise Refused(_error(400, f"No such object: '{after}'", "resource_missing", param="starting_after"))
        rows = rows[ids.index(after) + 1 :]
    shown = [_expanded(call, row, key) for row in rows[: int(limit)]]
    return {"object": "list", "url": url, "has_more": len(rows) > len(shown), "data": shown}


def _expanded(call: Call, row: Shown, key: str) -> Shown:
    """What is expandable is an id, unless it is asked for; four levels deep at most."""
    given = [value for name, value in call.request.query_params.multi_items() if re.fullmatch(r"expand\[\d*\]", name)]
    asked = {value.removeprefix(key) for value in given}
    for value in given:
        if value.removeprefix(key) not in EXPANDED or value.count(".") > 3:
            message = f"This property cannot be expanded ({value})."
            raise Refused(_error(400, message, "property_cannot_be_expanded"))
    shown = {name: value for name, value in row.items() if name not in ("all_lines", "whole")}
    for name, (plain, whole) in row.get("whole", {}).items():
        shown[name] = whole if name in asked else plain
    return shown


# -- what it makes of the world


def books_at(connection: sqlite3.Connection, now: int, shown_lines: int) -> Books:
    lists: dict[str, list[Shown]] = {"customer": [], "subscription": [], "invoice": [], "credit_note": []}
    gone, events = dict[str, Shown](), list[Shown]()

    def tell(kind: str, at: int, shown: Shown) -> None:
        number = len(events)
        events.append({
            "id": f"evt_{at:x}{number:06x}", "object": "event", "api_version": ITS_EVENTS_ARE_OF, "created": at,
            "data": {"object": {**shown, "lines": None, "of_an_older_version": True}}, "livemode": True,
            "pending_webhooks": 0, "request": {"id": None, "idempotency_key": None}, "type": kind,
        })  # fmt: skip

    for customer in customers(connection, now, "stripe"):
        shown = _customer(customer)
        tell("customer.created", customer.created, shown)
        if customer.deleted:
            gone[shown["id"]] = {"id": shown["id"], "object": "customer", "deleted": True}
            tell("customer.deleted", customer.deleted, shown)
        else:
            lists["customer"].append(shown)
        its = customer.subscription
        subscription = _subscription(customer, its, shown, now // 1000)
        lists["subscription"].append(subscription)
        for at in its.changes:
            what = "created" if at == its.created else "deleted" if at == its.ended else "updated"
            tell(f"customer.subscription.{what}", at, subscription)
        for bill in customer.invoices:
            invoice = _invoice(customer, bill, shown_lines)
            lists["invoice"].append(invoice)
            said = {bill.voided: "voided", bill.paid: "paid", bill.lost: "marked_uncollectible"}
            for at in bill.changes:
                tell(f"invoice.{said.get(at, 'finalized' if at == bill.issued else 'created')}", at, invoice)
            if bill.credit:
                lists["credit_note"].append(note := _credit_note(customer, bill, invoice))
                for at in bill.credit.changes:
                    tell("credit_note.created" if at == bill.credit.at else "credit_note.voided", at, note)
    for rows in (*lists.values(), events):
        rows.sort(key=lambda row: (row["created"], row["id"]), reverse=True)
    return Books(lists, events, gone)


def _customer(customer: Customer) -> Shown:
    return {
        "id": _id("cus", customer), "object": "customer", "address": {
            "city": None, "country": customer.country, "line1": None, "line2": None, "postal_code": None, "state": None,
        }, "balance": 0, "business_name": customer.company, "created": customer.created,
        "currency": customer.currency.lower(), "default_source": None, "delinquent": False,
        "description": "Met at the fair, likes to be called in the morning", "discount": None,
        "email": customer.email, "individual_name": None, "invoice_prefix": f"{customer.number:08X}"[-8:],
        "livemode": True, "metadata": {"note": "x"}, "name": customer.company, "next_invoice_sequence": 1,
        "phone": "+49 30 000000", "preferred_locales": [], "shipping": None, "tax_exempt": "none", "test_clock": None,
    }  # fmt: skip


def _subscription(customer: Customer, its: Subscription, shown: Shown, now: int) -> Shown:
    status = "active" if any(bill.paid for bill in customer.invoices) else "past_due"
    status = "trialing" if its.trial and its.trial > now else "canceled" if its.ended else status
    item = {
        "id": _id("si", customer), "object": "subscription_item", "created": its.created, "discounts": [],
        "metadata": {}, "price": _price(customer, its), "quantity": its.quantity, "subscription": _id("sub", customer),
        "tax_rates": [], "current_period_start": its.starts, "current_period_end": its.starts,
    }  # fmt: skip
    discount = {
        "id": _id("di", customer), "object": "discount", "source": {"type": "coupon", "coupon": COUPON["id"]},
        "customer": shown["id"], "start": its.created, "end": None, "subscription": _id("sub", customer),
        "subscription_item": None, "invoice": None, "invoice_item": None, "promotion_code": None,
        "checkout_session": None,
    }  # fmt: skip
    reduced = [discount] if its.has_coupon else []
    whole_customer = {"id": shown["id"], "object": "customer", "deleted": True} if customer.deleted else shown
    at_term_end = bool(its.ends and its.asked_to_end and its.ends > its.asked_to_end)
    return {
        "id": _id("sub", customer), "object": "subscription", "application": None, "created": its.created,
        "automatic_tax": {"enabled": False, "disabled_reason": None, "liability": None},
        "billing_cycle_anchor": its.starts, "cancel_at": its.ends if at_term_end else None,
        "cancel_at_period_end": at_term_end, "canceled_at": its.asked_to_end, "cancellation_details": {
            "comment": "You were too expensive" if its.asked_to_end else None,
            "feedback": "too_expensive" if its.asked_to_end else None,
            "reason": "cancellation_requested" if its.asked_to_end else None,
        }, "collection_method": "charge_automatically", "currency": customer.currency.lower(),
        "customer": shown["id"], "days_until_due": None, "default_tax_rates": [TAX_RATE], "description": None,
        "discounts": [each["id"] for each in reduced], "ended_at": its.ended,
        "items": {"object": "list", "data": [item], "has_more": False, "url": "/v1/subscription_items"},
        "latest_invoice": None, "livemode": True, "metadata": {}, "pause_collection":
            {"behavior": "void", "resumes_at": None} if its.paused else None,
        "start_date": its.created, "status": status, "test_clock": None, "trial_end": its.trial,
        "trial_start": its.created if its.trial else None,
        "whole": {"customer": (shown["id"], whole_customer), "discounts": ([each["id"] for each in reduced], reduced)},
    }  # fmt: skip


TAX_RATE = {
    "id": "txr_1Vat", "object": "tax_rate", "active": True, "country": "DE", "display_name": "VAT", "inclusive": False,
    "percentage": float(TAX * 100), "created": 0, "livemode": True, "metadata": {}, "state": None, "tax_type": "vat",
}  # fmt: skip


def _price(customer: Customer, its: Subscription) -> Shown:
    month = {"interval": "month" if its.plan.months == 1 else "year", "interval_count": 1}
    return {
        "id": _price_of(its.plan.name), "object": "price", "active": True, "billing_scheme": "per_unit", "created": 0,
        "currency": customer.currency.lower(), "livemode": True, "lookup_key": None, "metadata": {}, "nickname": None,
        "product": f"prod_{its.plan.name}", "recurring": {**month, "meter": None, "trial_period_days": None,
                                                          "usage_type": "licensed"},
        "tax_behavior": "exclusive", "tiers_mode": None, "transform_quantity": None, "type": "recurring",
        "unit_amount": _cents(its.plan.price), "unit_amount_decimal": str(_cents(its.plan.price)),
    }  # fmt: skip


def _price_of(plan: str) -> str:
    return f"price_1{plan}{[each.name for each in PLANS].index(plan)}"


def _invoice(customer: Customer, bill: Invoice, shown_lines: int) -> Shown:
    identifier, total = f"{_id('in', customer)}{bill.number:03x}", bill.net + bill.tax
    status = "paid" if bill.paid else "open" if bill.issued else "draft"
    status = "void" if bill.voided else "uncollectible" if bill.lost else status
    lines = [line for number, each in enumerate(bill.lines) for line in _lines(customer, identifier, number, each)]
    return {
        "id": identifier, "object": "invoice", "account_country": "DE", "account_name": "Our Company",
        "amount_due": _cents(total), "amount_paid": _cents(total) if bill.paid else 0,
        "amount_remaining": 0 if bill.paid else _cents(total), "attempt_count": 1, "attempted": True,
        "billing_reason": "subscription_cycle" if bill.number else "subscription_create",
        "collection_method": "send_invoice" if bill.due else "charge_automatically", "created": bill.created,
        "currency": customer.currency.lower(), "customer": _id("cus", customer), "customer_email": customer.email,
        "customer_name": customer.company, "customer_address": None, "description": "Thank you", "discounts": [],
        "due_date": bill.due, "effective_at": bill.issued, "ending_balance": 0, "footer": None,
        "lines": {"object": "list", "data": lines[:shown_lines], "has_more": len(lines) > shown_lines,
                  "url": f"/v1/invoices/{identifier}/lines"},
        "livemode": True, "metadata": {}, "number": f"{customer.number:08X}-{bill.number:04}" if bill.issued else None,
        "parent": {"type": "subscription_details", "quote_details": None,
                   "subscription_details": {"metadata": {}, "subscription": _id("sub", customer)}},
        "starting_balance": 0, "status": status, "status_transitions": {
            "finalized_at": bill.issued, "marked_uncollectible_at": bill.lost, "paid_at": bill.paid,
            "voided_at": bill.voided,
        }, "subtotal": _cents(bill.net), "subtotal_excluding_tax": _cents(bill.net), "total": _cents(total),
        "total_excluding_tax": _cents(bill.net), "total_taxes": [_tax(bill.tax, bill.net)], "all_lines": lines,
        "total_discount_amounts": [], "total_pretax_credit_amounts": [],
    }  # fmt: skip


def _lines(customer: Customer, invoice: str, number: int, line: Line) -> Iterator[Shown]:
    parts = line.quantity if line.quantity > SPLIT and not line.is_proration else 1
    kind = "invoice_item_details" if line.is_proration else "subscription_item_details"
    for part in range(parts):
        amount, discount, tax = (
            _cents(value) // parts + (_cents(value) % parts if part == 0 else 0)
            for value in (line.amount, line.discount, line.tax)
        )
        details = {"proration": line.is_proration, "invoice_item": "ii_1" if line.is_proration else None,
                   "subscription": _id("sub", customer), "proration_details": None}  # fmt: skip
        off = [{"amount": discount, "discount": _id("di", customer)}] if discount else []
        yield {
            "id": f"il{invoice[2:]}{number:02x}{part:02x}", "object": "line_item", "amount": amount,
            "currency": customer.currency.lower(), "description": f"{line.quantity} x {line.plan.name}",
            "discount_amounts": off, "discountable": True, "discounts": [], "invoice": invoice, "livemode": True,
            "metadata": {}, "parent": {"type": kind, kind: details},
            "period": {"start": line.since, "end": line.until},
            "pretax_credit_amounts": [{**each, "type": "discount"} for each in off],
            "pricing": {"type": "price_details", "unit_amount_decimal": str(_cents(line.plan.price)),
                        "price_details": {"price": _price_of(line.plan.name), "product": f"prod_{line.plan.name}"}},
            "quantity": line.quantity // parts, "subtotal": amount, "taxes": [_tax_of(tax, amount - discount)],
        }  # fmt: skip


def _credit_note(customer: Customer, bill: Invoice, invoice: Shown) -> Shown:
    credit = bill.credit
    assert credit is not None
    total = _cents(credit.net + credit.tax)
    return {
        "id": f"{_id('cn', customer)}{credit.number:03x}", "object": "credit_note", "amount": total,
        "created": credit.at, "currency": invoice["currency"], "customer": invoice["customer"], "discount_amount": 0,
        "discount_amounts": [], "effective_at": credit.at, "invoice": invoice["id"],
        "livemode": True, "memo": "We are sorry", "metadata": {},
        "number": f"{invoice['number']}-CN-01", "reason": "order_change",
        "status": "void" if credit.voided else "issued", "subtotal": _cents(credit.net),
        "subtotal_excluding_tax": _cents(credit.net), "total": total,
        "total_excluding_tax": _cents(credit.net), "total_taxes": [_tax(credit.tax, credit.net)],
        "type": "post_payment" if bill.paid else "pre_payment", "voided_at": credit.voided, "refunds": [],
        "pretax_credit_amounts": [], "post_payment_amount": 0, "pre_payment_amount": total,
        "lines": {"object": "list", "data": [], "has_more": False, "url": "/v1/credit_notes"},
    }  # fmt: skip


def _tax(tax: Decimal, net: Decimal) -> Shown:
    return _tax_of(_cents(tax), _cents(net))


def _tax_of(tax: int, net: int) -> Shown:
    return {
        "amount": tax, "tax_behavior": "exclusive", "tax_rate_details": {"tax_rate": TAX_RATE["id"]},
        "taxability_reason": "standard_rated", "taxable_amount": net, "type": "tax_rate_details",
    }  # fmt: skip


def _cents(amount: Decimal) -> int:
    return int(amount * 100)


def _id(kind: str, customer: Customer) -> str:
    return f"{kind}_1{customer.number:x}"


# -- what goes wrong, in Stripe's words


def _error(status: int, message: str, code: str = "", **more: Any) -> Response:
    kind = "invalid_request_error" if status < 500 else "api_error"
    error = {"message": message, "type": kind, **({"code": code} if code else {}), **more}
    return JSONResponse({"error": error}, status, headers={"Request-Id": "req_sandbox"})


def _throttled(wait: int | None, daily: bool) -> Response:
    answer = _error(429, "Request rate limit exceeded. Learn more at https://stripe.com/docs/rate-limits", "rate_limit")
    answer.headers["Stripe-Rate-Limited-Reason"] = "global-rate"
    answer.headers["Stripe-Should-Retry"] = "false"
    if wait is not None:
        answer.headers["Retry-After"] = str(wait)
    return answer


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "An unknown error occurred"),
    cursor=asked_by("starting_after"),
    repeat=lambda cursor, answer: answer.update(data=[{**answer["data"][-1], "id": cursor}], has_more=True),
    rows=("data",),
)
