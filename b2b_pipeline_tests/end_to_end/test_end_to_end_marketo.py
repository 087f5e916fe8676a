"""A company that mails with Marketo and sells elsewhere: leads, e-mails, stages, touches and costs are its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase

import pytest
import time_machine
from sqlalchemy import func, select

from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import campaign, cost_ledger, identity_cluster, lead, touchpoint
from b2b_pipeline_tests.support.end_to_end import clock, inside, read_twice
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox.generate import make_world
from b2b_sandbox.marketo import PROGRAMS, Activity, Book, book_at

START, FIRST_UNTIL = date(2026, 4, 20), date(2026, 6, 1)
UNTIL = FIRST_UNTIL + timedelta(days=8)
SETTINGS = f"""\
currency: EUR
start_date: {START}
system_of_record: files
sources:
  marketo:
    options: {{currency: EUR}}
stages:
  marketo: {{marketingqualifiedlead: mql, salesqualifiedlead: sql}}
exclude:
  email_domains: [ourcompany.example]
  email_patterns: ["*+test*@*"]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read over all days, and again eight days later."""
    folder = tmp_path_factory.mktemp("marketo")
    world = make_world(folder / "world", until=FIRST_UNTIL, days=(FIRST_UNTIL - START).days + 1, leads=170, seed=5)
    (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    return read_twice(Installation(folder, world), START, FIRST_UNTIL, UNTIL)


@pytest.fixture(scope="module")
def book(installed: Installation) -> Book:
    with installed.world.connect() as connection:
        return book_at(connection, installed.world.now())


def numbers(installed: Installation, shop: Pipeline, name: str, by: str = "day") -> dict[str, int]:
    with time_machine.travel(clock(installed.world)):
        answers = [answer.as_json() for answer in ask(shop.warehouse, shop.config, [name], START, UNTIL, [by])]
    assert all(answer["complete"] for answer in answers), {answer["because"] for answer in answers}
    return {row["date"]: row["value"] for row in answers if row["value"]}


def day_of(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1000, UTC):%Y-%m-%d}"


def is_ours(email: str | None) -> bool:
    address = (email or "").strip().lower()
    return address.endswith("@ourcompany.example") or fnmatchcase(address, "*+test*@*")


def of(book: Book, *kinds: int) -> Iterable[Activity]:
    return (each for each in book.activities if each.kind in kinds and day_of(each.at) >= str(START))


def test_leads_are_those_that_are_there_each_once_on_the_day_they_were_made(
    installed: Installation, shop: Pipeline, book: Book
) -> None:
    """Of one address once: the earliest."""
    first: dict[str, str] = {}
    ours = {str(each["email"]).strip().lower() for each in book.leads.values() if is_ours(each["email"])}
    for number, each in book.leads.items():
        key = str(each["email"] or number).strip().lower()
        if key not in ours:
            first[key] = min(each["createdAt"][:10], first.get(key, "9"))
    expected = Counter(day for day in first.values() if day >= str(START))
    assert len(expected) > 20
    assert numbers(installed, shop, "leads") == expected


@pytest.mark.parametrize(("name", "kinds"), [
    ("email_sends", (6,)), ("email_deliveries", (7,)), ("email_open_rate", (10,)), ("email_click_rate", (11,)),
    ("email_bounce_rate", (8, 27)), ("email_unsubscribe_rate", (9,)),
])  # fmt: skip
def test_e_mails_count_once_a_recipient_on_the_day_of_the_send(
    installed: Installation, shop: Pipeline, book: Book, name: str, kinds: tuple[int, ...]
) -> None:
    sent: dict[tuple[int, int | None], str] = {}
    for each in of(book, 6):
        sent.setdefault((each.lead, each.about[0]), day_of(each.at))
    whom: dict[tuple[int, int | None], str] = {}
    for each in of(book, *kinds):
        if not (each.kind in (10, 11) and each.attributes["Is Bot Activity"]):
            pair = each.lead, each.about[0]
            whom.setdefault(pair, min(sent.get(pair, "9"), day_of(each.at)))
    expected = Counter(whom.values())
    with time_machine.travel(clock(installed.world)):
        answers = [each.as_json() for each in ask(shop.warehouse, shop.config, [name], START, UNTIL, ["day"])]
    assert {row["date"]: row["numerator"] for row in answers if row["numerator"]} == expected
    assert all(row["complete"] for row in answers)


def test_a_lead_came_into_a_stage_when_its_status_changed_to_it(
    installed: Installation, shop: Pipeline, book: Book
) -> None:
    """Not on the day on which it was made with it, which Marketo does not tell."""
    entered: dict[int, str] = {}
    for each in of(book, 13):
        known = book.leads.get(each.lead)
        if each.attributes["New Value"] == "marketingqualifiedlead" and known and not is_ours(known["email"]):
            entered.setdefault(each.lead, day_of(each.at))
    expected = Counter(entered.values())
    assert expected
    found = numbers(installed, shop, "mqls")
    assert sum(found.values()) == sum(expected.values())
    assert found == expected


def test_submissions_are_what_was_filled_out(installed: Installation, shop: Pipeline, book: Book) -> None:
    expected = Counter(day_of(each.at) for each in of(book, 2))
    assert expected
    assert numbers(installed, shop, "form_submissions") == expected


def test_clicks_of_people_and_successes_in_programs_are_touches(shop: Pipeline, book: Book) -> None:
    clicks = [each for each in of(book, 11) if not each.attributes["Is Bot Activity"]]
    reached = Counter(each.about[0] for each in of(book, 104) if each.attributes["Success"])
    query = select(touchpoint.c.channel, touchpoint.c.campaign_id, touchpoint.c.touch_type, func.count().label("n"))
    rows = shop.warehouse.rows(query.group_by(touchpoint.c.channel, touchpoint.c.campaign_id, touchpoint.c.touch_type))
    assert sum(row["n"] for row in rows if row["touch_type"] == "email_click") == len(clicks)
    responses = {row["campaign_id"]: row for row in rows if row["touch_type"] == "campaign_response"}
    assert {name: row["n"] for name, row in responses.items()} == {str(name): n for name, n in reached.items()}
    assert responses["1035"]["channel"] == "events"
    assert responses["1070"]["channel"] == "other", "a channel that nobody mapped"


def test_costs_of_a_month_are_spread_over_its_days_to_the_cent(shop: Pipeline) -> None:
    total = select(cost_ledger.c.campaign_id, cost_ledger.c.category, func.sum(cost_ledger.c.amount).label("amount"))
    found = shop.warehouse.rows(total.group_by(cost_ledger.c.campaign_id, cost_ledger.c.category))
    expected = {str(number): Decimal(sum(costs)) for number, _, _, _, _, costs in PROGRAMS if costs}
    assert {row["campaign_id"]: row["amount"] for row in found} == expected
    assert {row["campaign_id"]: row["category"] for row in found} == {"1035": "event", "1070": "content"}
    days = select(func.min(cost_ledger.c.date_day).label("first"), func.max(cost_ledger.c.date_day).label("last"))
    (span,) = shop.warehouse.rows(days)
    assert (span["first"], span["last"]) == (date(2026, 4, 1), date(2026, 5, 31))
    assert len(shop.warehouse.rows(select(campaign))) == len(PROGRAMS)


def test_merged_leads_are_one_person_and_deleted_ones_count_no_more(shop: Pipeline, book: Book) -> None:
    clusters = {row["record_key"]: row["person_key"] for row in shop.warehouse.rows(select(identity_cluster))}
    merges = [(each.lead, loser) for each in of(book, 32) for loser in json.loads(each.attributes["Merge IDs"])]
    assert merges
    for winner, loser in merges:
        assert clusters[f"marketo:lead:{loser}"] == clusters[f"marketo:lead:{winner}"]
    gone = {str(each.lead) for each in of(book, 37)}
    rows = shop.warehouse.rows(select(lead.c.lead_id).where(lead.c.is_deleted))
    assert gone
    assert {row["lead_id"] for row in rows} <= gone
    assert {row["lead_id"] for row in rows}


def test_nobody_s_name_or_address_is_in_landing(installed: Installation) -> None:
    with inside(installed) as pipeline:
        items = [
            item for stream in SOURCES["marketo"].streams for item in pipeline.landing.slices("marketo", stream.name)
        ]
        text = json.dumps([record for item in items for record in pipeline.landing.records(item)])
    assert "h1:" in text
    assert not [word for word in ("Ada", "firstName", "192.0.2", "Mozilla", "a:1:", "Cj0K") if word in text]
