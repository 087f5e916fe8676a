"""The demo's company with what it bills: recurring revenue is that of the world."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import customer, invoice, invoice_line, subscription
from b2b_pipeline_tests.support.end_to_end import FIRST_UNTIL, START, assert_true, read_twice
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox.generate import make_world
from b2b_sandbox.truth_billing import METRICS

UNTIL = FIRST_UNTIL + timedelta(days=5)
FIRST = START + timedelta(days=6)  # the first day that is read; there are subscriptions of before
BILLING = ("stripe", "chargebee")
SETTINGS = f"""\
timezone: Europe/Berlin
currency: EUR
start_date: {FIRST}
system_of_record: files
sources: {{ecb: {{}}, {", ".join(f"{name}: {{}}" for name in BILLING)}}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read over all days, and again some days later, when invoices were paid, voided and credited."""
    folder = tmp_path_factory.mktemp("billing")
    days = (FIRST_UNTIL - START).days + 1
    world = make_world(folder / "world", until=FIRST_UNTIL, days=days, leads=150)
    (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    return read_twice(Installation(folder, world), FIRST, FIRST_UNTIL, UNTIL)


@pytest.mark.parametrize("by", [("day",), ("month",), ()])
def test_recurring_revenue_is_that_of_the_world(installed: Installation, shop: Pipeline, by: tuple[str, ...]) -> None:
    assert_true(installed, shop, UNTIL, by, names=[*METRICS], platforms=BILLING)


def test_lines_add_up_to_their_invoices(shop: Pipeline) -> None:
    lines = select(invoice_line.c.source, invoice_line.c.invoice_id, func.sum(invoice_line.c.amount).label("amount"))
    of_lines = {
        (row["source"], row["invoice_id"]): row["amount"]
        for row in shop.warehouse.rows(lines.group_by(invoice_line.c.source, invoice_line.c.invoice_id))
    }
    bills = select(invoice.c.source, invoice.c.invoice_id, invoice.c.amount).where(invoice.c.kind == "invoice")
    assert of_lines == {(row["source"], row["invoice_id"]): row["amount"] for row in shop.warehouse.rows(bills)} != {}


def test_what_began_before_the_first_day_is_there_and_what_was_invoiced_before_is_not(shop: Pipeline) -> None:
    early = [row for row in shop.warehouse.rows(select(subscription)) if row["date_day"] < FIRST]
    assert {row["source"] for row in early} == {*BILLING}
    assert min(row["date_day"] for row in shop.warehouse.rows(select(invoice))) >= FIRST


def test_every_subscription_and_invoice_is_of_a_customer(shop: Pipeline) -> None:
    known = {(row["source"], row["customer_id"]) for row in shop.warehouse.rows(select(customer))}
    for table in (subscription, invoice):
        of = select(table.c.source, table.c.customer_id)
        assert {tuple(row.values()) for row in shop.warehouse.rows(of)} <= known


def test_without_a_billing_system_nothing_is_known_of_invoices(shop: Pipeline) -> None:
    config = shop.config.model_copy(deep=True)
    for name in BILLING:
        del config.sources[name]
    answers = ask(shop.warehouse, config, [*METRICS], FIRST, UNTIL, [])
    assert {answer.metric.name: answer.value for answer in answers} == dict.fromkeys(METRICS)
