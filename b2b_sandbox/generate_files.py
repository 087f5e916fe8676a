"""Files that people export by hand: the finance department's costs and the trade shows' lead lists.

`costs_YYYY-MM.csv`, one file per month, replaced as costs come in (visible on the 4th, 11th, 18th and 25th of the month
and, complete, on the 5th of the next). Windows-1252, `;`, one header line, the last line is a total to be left out
(`Document` is `Total`):
    Document    text, the id of the cost
    Category    agency, tools, salaries_sales, salaries_marketing, content, event
    Channel     paid_search, events, ... or empty
    Supplier    text
    From, To    first and last day, both included, dd.mm.yyyy
    Amount      "1.234,56 €": the currency is EUR

`event_leads_YYYY-MM-DD.csv`, one file per trade show, named by its day, visible two days later. UTF-8, `,`:
    Badge       text, the id of the lead within all files
    Date        mm/dd/yyyy
    Name        text, first and last
    E-mail      in any case, blanks around it now and then
    Company, Country, Event     text
    Source      `Trade Show`: the channel is `events`
Some of its people are in the CRMs too, under the same e-mail.
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

from b2b_sandbox.generate_base import DAY, HOUR, Plan, Rows, midnight
from b2b_sandbox.generate_names import COUNTRIES, FIRST, HOSTILE, LAST, ascii_slug, company

COST_COLUMNS = ["Document", "Category", "Channel", "Supplier", "From", "To", "Amount"]
LEAD_COLUMNS = ["Badge", "Date", "Name", "E-mail", "Company", "Country", "Event", "Source"]
EVENTS = ["SaaS Expo", "Data Days", 'Growth "Summit"', "Cloud & Code"]
TRADE_SHOW = (75, 20)  # every so many days, first on this day of the world


def euro_text(amount: Decimal) -> str:
    return f"{amount:,.2f}".translate(str.maketrans(",.", ".,")) + " €"


def costs_of_month(plan: Plan, month: date) -> Iterator[tuple[int, list[str], Decimal]]:
    """Day of the month on which a cost is booked, its cells, its amount. More leads mean a larger company."""
    rng = plan.rng(month, "costs")
    last = month.replace(day=monthrange(month.year, month.month)[1])
    scale = Decimal(round(plan.leads_per_day * 30))

    def amount(per_lead: float) -> Decimal:
        return round(scale * Decimal(round(per_lead * rng.uniform(0.9, 1.1), 4)), 2)

    whole = (f"{month:%d.%m.%Y}", f"{last:%d.%m.%Y}")
    plain = [
        (3, "tools", "", "CRM <licences>", 4.0, whole),
        (3, "tools", "", "E-mail platform", 1.7, whole),
        (9, "agency", "paid_search", "Kraus & Söhne Media", 7.0, whole),
        (16, "content", "organic_search", "=Freelance Writers", 4.5, whole),
        (23, "content", "", "Studio; Video", 2.5, (f"{month + timedelta(days=9):%d.%m.%Y}",) * 2),
        (24, "salaries_marketing", "", "Payroll", 24.0, whole),
        (24, "salaries_sales", "", "Payroll", 40.0, whole),
    ]
    if month.month % 3 == 1:  # a quarter's licence, booked at its start
        end = (month + timedelta(days=92)).replace(day=1) - timedelta(days=1)
        plain.append((2, "tools", "", "Data provider", 5.0, (f"{month:%d.%m.%Y}", f"{end:%d.%m.%Y}")))
    for day in range(1, last.day + 1):
        if plan.is_every(month.replace(day=day), *TRADE_SHOW):
            held_on = month.replace(day=day)
            held = (f"{held_on:%d.%m.%Y}", f"{min(held_on + timedelta(days=2), last):%d.%m.%Y}")
            plain.append((min(day + 5, last.day), "event", "events", "Fair & Booth GmbH", 18.0, held))
    for number, (booked, category, channel, supplier, per_lead, (first, end_day)) in enumerate(plain, 1):
        cost = amount(per_lead)
        cells = [f"{month:%Y%m}-{number:03d}", category, channel, supplier, first, end_day, euro_text(cost)]
        yield booked, cells, cost
    # A correction of an invoice, booked after the month is over.
    credit = -round(scale * Decimal("0.07"), 2)
    yield 99, [f"{month:%Y%m}-900", "agency", "paid_search", "Kraus & Söhne Media", *whole, euro_text(credit)], credit


def write_costs(plan: Plan, day: date, rows: Rows) -> None:
    """On the days of an export: the month's costs that are booked by then."""
    if day.day in (4, 11, 18, 25):
        month, booked_by = day.replace(day=1), day.day
    elif day.day == 5:
        month, booked_by = (day.replace(day=1) - timedelta(days=1)).replace(day=1), 99
    else:
        return
    if booked_by == 99 and (month.year, month.month) < (plan.start.year, plan.start.month):
        return
    costs = [(cells, amount) for booked, cells, amount in costs_of_month(plan, month) if booked <= booked_by]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(COST_COLUMNS)
    writer.writerows(cells for cells, _ in costs)
    total = sum((amount for _, amount in costs), Decimal(0))
    writer.writerow(["Total", "", "", "", "", "", euro_text(total)])
    content = text.getvalue().encode("windows-1252")
    rows["file_drop"].append((f"costs_{month:%Y-%m}.csv", midnight(day) + 16 * HOUR, content))


def write_event_leads(plan: Plan, day: date, rows: Rows, connection: sqlite3.Connection) -> None:
    """Two days after a trade show: its lead list, some of them people that HubSpot had before."""
    held = day - timedelta(days=2)
    if not plan.is_every(held, *TRADE_SHOW):
        return
    rng = plan.rng(held, "event_leads")
    event = f"{EVENTS[held.toordinal() // TRADE_SHOW[0] % len(EVENTS)]} {held.year}"
    # Not those that are merged away some day: whoever reads HubSpot later never learns their address.
    known = connection.execute(
        "select payload from record_version r where vendor = 'hubspot' and object = 'contacts' and version = 1"
        " and modified_at between ? and ? and not exists (select 1 from record_version m where m.vendor = r.vendor"
        " and m.object = r.object and m.id = r.id and m.is_gone) order by modified_at, id",
        (midnight(held) - 30 * DAY, midnight(held) + DAY),
    ).fetchall()
    people = []
    for (payload,) in rng.sample(known, min(len(known), round(plan.leads_per_day * 0.4))):
        contact = json.loads(payload)
        name = f"{contact['firstname']} {contact['lastname']}".replace("\0", "")
        people.append((name, contact["email"] or "", contact["company"], contact["country"]))
    for number in range(round(plan.leads_per_day * 1.2)):
        first, last = rng.choice(FIRST), rng.choice(LAST)
        name, domain = company(rng, held.toordinal() * 1000 + number)
        country = rng.choices(COUNTRIES, [c[4] for c in COUNTRIES])[0][0]
        shown = rng.choice(HOSTILE).replace("\0", "") if rng.random() < 0.02 else f"{first} {last}"
        people.append((shown, f"{ascii_slug(first)}.{ascii_slug(last)}@{domain}", name.replace("\0", ""), country))
    rng.shuffle(people)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LEAD_COLUMNS)
    for number, (name, email, firm, country) in enumerate(people, 1):
        shown = f" {email.upper()} " if rng.random() < 0.1 else email
        badge = f"{held:%Y%m%d}-{number:04d}"
        writer.writerow([badge, f"{held:%m/%d/%Y}", name, shown, firm, country, event, "Trade Show"])
    name = f"event_leads_{held}.csv"
    rows["file_drop"].append((name, midnight(day) + 15 * HOUR, text.getvalue().encode()))


def write_day(plan: Plan, day: date, rows: Rows, connection: sqlite3.Connection) -> None:
    write_costs(plan, day, rows)
    write_event_leads(plan, day, rows, connection)
