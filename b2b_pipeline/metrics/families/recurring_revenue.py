"""Recurring revenue: what was invoiced and taken back, and the subscriptions that began, ended and are there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from sqlalchemy import ColumnElement

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import INVOICES, SUBSCRIPTIONS
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Aggregate, Family, Leg, Measure, Metric, Term, one
from b2b_pipeline.metrics.when import End
from b2b_pipeline.warehouse.tables import invoice, subscription

_IS_INVOICE = invoice.c.kind == "invoice"
_ISSUED = (Need("invoice", ("issued_at",)),)
_STARTED = Leg(
    SUBSCRIPTIONS, subscription.c.date_day, one(), needs=(Need("subscription", ("started_at",)),),
    dated=(Need("subscription", ("started_at",)),),
)  # fmt: skip
_ENDED = Leg(
    SUBSCRIPTIONS, subscription.c.ended_day, one(), subscription.c.ended_day.is_not(None),
    needs=(Need("subscription", ("ended_at",)),), dated=(Need("subscription", ("ended_at",)),),
)  # fmt: skip


def _invoiced(
    name: str, description: str, value: ColumnElement[Any], where: ColumnElement[bool] | None, fact: str,
    unit: Literal["money", "count"] = "count", **more: Any,
) -> Measure:  # fmt: skip
    needs = (Need("invoice", (fact,)),)
    return Measure(name, description, (Leg(INVOICES, invoice.c.date_day, value, where, needs, _ISSUED),), unit, **more)


def _metric(name: str, formula: str, unit: Any, kind: Linear, **more: Any) -> Metric:
    return Metric(name, formula, unit, kind, "revenue", "revenue operations", **more)


FAMILY = Family(
    name="recurring_revenue",
    title="Recurring revenue",
    description="Invoices and credit notes count on their date of issue, without tax and without those that were "
    "voided; subscriptions on the day they are first paid for, and on the day they end.",
    headline="revenue_invoiced",
    trailing=(28, 90),
    components=(
        _invoiced(
            "revenue_invoiced", "amount of invoices less credit notes on their date of issue, without tax",
            invoice.c.amount_reporting, None, "amount", "money", of="invoices and credit notes",
        ),
        _invoiced("invoices", "invoices on their date of issue", one(), _IS_INVOICE, "issued_at"),
        _invoiced(
            "customers_invoiced", "customers that an invoice was issued to",
            invoice.c.source + ":" + invoice.c.customer_id, _IS_INVOICE, "customer_id", aggregate=Aggregate.DISTINCT,
        ),
        Measure("new_subscriptions", "subscriptions on the day they are first paid for", (_STARTED,)),
        Measure("churned_subscriptions", "subscriptions that had been paid for, on the day they ended", (_ENDED,)),
        Measure(
            "active_subscriptions", "subscriptions that are paid for and have not ended",
            (_STARTED, replace(_ENDED, sign=-1)), aggregate=Aggregate.LEVEL,
        ),
    ),
    metrics=(
        _metric(
            "revenue_invoiced", "sum of invoices - sum of credit notes", "money", Linear({"revenue_invoiced": 1})
        ),
        _metric("invoices", "invoices issued", "count", Linear({"invoices": 1}), tier="diagnostic"),
        _metric(
            "customers_invoiced", "distinct customers that an invoice was issued to", "count",
            Linear({"customers_invoiced": 1}), tier="diagnostic",
        ),
        _metric(
            "average_customer_value", "revenue_invoiced / customers_invoiced", "money",
            Linear({"revenue_invoiced": 1}, over={"customers_invoiced": 1}),
            example=({"revenue_invoiced": "1200", "customers_invoiced": "8"}, "150"),
        ),
        _metric(
            "new_subscriptions", "subscriptions first paid for in the period", "count",
            Linear({"new_subscriptions": 1}),
        ),
        _metric(
            "churned_subscriptions", "subscriptions that ended in the period", "count",
            Linear({"churned_subscriptions": 1}),
        ),
        _metric(
            "active_subscriptions", "subscriptions paid for at the end of the period", "count",
            Linear({Term("active_subscriptions", when=End()): 1}),
        ),
    ),
)  # fmt: skip
