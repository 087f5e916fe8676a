"""Companies and their people from the first click to the signature, as HubSpot and Salesforce come to show them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from math import pi, sin

from b2b_sandbox import generate_email
from b2b_sandbox.generate_base import (
    DAY,
    HOUR,
    MINUTE,
    Plan,
    Record,
    Rows,
    after,
    awake,
    day_of,
    daytime,
    hubspot_time,
    midnight,
    poisson,
    salesforce_id,
)
from b2b_sandbox.generate_base import salesforce_time as sf_time
from b2b_sandbox.generate_deals import Crm, Opportunity, owner_id, owner_number, user_id, write_opportunity
from b2b_sandbox.generate_names import USERS
from b2b_sandbox.generate_people import (
    LATER_SOURCES,
    LEAD_SOURCE,
    Person,
    contact_properties,
    draw_company,
    draw_person,
    drill_downs,
    quarter_of,
)

NEW, WORKING, RECYCLED = "Open - Not Contacted", "Working - Contacted", "Closed - Not Converted"
CONVERTED = "Closed - Converted"
IMPORT = (60, 20)  # a bulk import every so many days, first on this day of the world
IMPORT_REACH = 20  # it updates contacts created in so many days before it
CAMPAIGN_TYPES = [
    "Webinar", "Email", "Advertisement", "Partners", "Referral Program", "Conference", "Trade Show", "Other",
]  # fmt: skip


@dataclass
class Lead:
    """One person's way: when it reaches which stage, and its records."""

    person: Person
    mql: int | None = None
    sql: int | None = None
    opens: str = ""  # an opportunity: at the "conversion", "later", "directly" from a lead, or none
    contact: Record | None = None  # HubSpot
    lead: Record | None = None  # Salesforce
    lead_since: int = 0
    status: str = ""
    sf_contact: str | None = None
    changes: int = 0  # LeadHistory rows so far


def leads_on(plan: Plan, day: date, rng: random.Random) -> int:
    """Few at weekends, a slow swing over the year, and chance."""
    week = 0.4 if day.weekday() >= 5 else 1.24
    return poisson(rng, plan.leads_per_day * week * (1 + 0.15 * sin(2 * pi * plan.index(day) / 120)))


def write_day(plan: Plan, day: date, rows: Rows) -> None:
    """All companies that first appear on a day, with everything that ever becomes of them."""
    rng = plan.rng(day, "leads")
    wanted, number = leads_on(plan, day, rng), (day.toordinal() - date(2015, 1, 1).toordinal()) * 5_000
    while wanted > 0:
        size = rng.choices([1, 2, 3], [78, 16, 6])[0]
        write_company(plan, rng, rows, number, day, min(size, wanted))
        wanted, number = wanted - size, number + 1
    for _ in range(poisson(rng, plan.leads_per_day * 0.018)):
        write_without_lead(plan, rng, rows, number, day)
        number += 1
    if day.day == 1 or day == plan.start:
        write_campaigns(rng, rows, day)


def write_start(plan: Plan, rows: Rows) -> None:
    """The people of sales: users in Salesforce, owners in HubSpot."""
    rng, at = plan.rng(plan.start, "users"), midnight(plan.start) + 7 * HOUR
    for number, (first, last) in enumerate(USERS):
        user = Record("salesforce", "User", user_id(number))
        email = f"{first}.{last}@ourcompany.example".lower()
        user.set(
            at, Id=user.id, FirstName=first, LastName=last, Name=f"{first} {last}", Username=email, Email=email,
            IsActive=True, CreatedDate=sf_time(at), CreatedById=user_id(0), LastModifiedById=user_id(0),
        )  # fmt: skip
        user.write(rows, rng)
        owner = Record("hubspot", "owner", owner_id(number))
        owner.set(
            at, id=owner.id, email=email, firstName=first, lastName=last, type="PERSON", userId=number + 1,
            createdAt=hubspot_time(at), archived=False, teams=[],
        )  # fmt: skip
        owner.write(rows, rng)


def campaign_id(day: date, kind: str) -> str:
    return salesforce_id("701", (day.year * 12 + day.month) * 10 + CAMPAIGN_TYPES.index(kind))


def write_campaigns(rng: random.Random, rows: Rows, day: date) -> None:
    """One campaign of each type per month."""
    at = midnight(day) + 7 * HOUR
    for kind in CAMPAIGN_TYPES:
        record = Record("salesforce", "Campaign", campaign_id(day, kind))
        record.set(
            at, Id=record.id, Name=f"{kind} {day:%Y-%m} 'Q&A' <live>", Type=kind, Status="In Progress", IsActive=True,
            StartDate=day.isoformat(), EndDate=None, ParentId=None, CurrencyIsoCode="EUR", OwnerId=user_id(0),
            IsDeleted=False, CreatedDate=sf_time(at), CreatedById=user_id(0), LastModifiedById=user_id(0),
        )  # fmt: skip
        record.write(rows, rng)


def draw_way(rng: random.Random, person: Person) -> Lead:
    """Rolls the dice of the funnel."""
    if person.is_internal:
        return Lead(person)
    if rng.random() < 0.012:
        return Lead(person, opens="directly")
    better = {"referral": 1.25, "partner": 1.3, "events": 1.2, "offline": 0.6, "display": 0.6}.get(person.channel, 1.0)
    if rng.random() > 0.355 * better:
        return Lead(person)
    mql = awake(after(rng, person.created, 5) + 15 * MINUTE)
    if rng.random() > 0.46:
        return Lead(person, mql)
    sql = awake(after(rng, mql, 7) + 30 * MINUTE)
    if rng.random() > 0.60:
        return Lead(person, mql, sql)
    return Lead(person, mql, sql, "conversion" if rng.random() < 0.6 else "later")


def write_company(plan: Plan, rng: random.Random, rows: Rows, number: int, day: date, size: int) -> None:
    crm = Crm(rng, rows, draw_company(rng, number), owner_number(rng), plan.org_zone)
    created = daytime(rng, day)
    leads = []
    for k in range(size):
        at = created if k == 0 else after(rng, created, 6)
        way = draw_way(rng, draw_person(plan, rng, crm.company, number * 10 + k, at))
        start_records(crm, way)
        leads.append(way)
    opportunity: Opportunity | None = None
    for way in sorted(leads, key=lambda lead: lead.sql or 1 << 62):
        if way.sql is not None and (opportunity is not None or way.opens != "conversion"):
            convert(crm, way, opportunity)
        if way.opens and opportunity is None:
            opportunity = open_opportunity(crm, way)
        finish_records(plan, crm, way)
    if crm.account is not None:
        if opportunity and opportunity.won:
            crm.account.set(opportunity.won, Type="Customer - Direct")
        crm.account.write(rows, rng)


def start_records(crm: Crm, way: Lead) -> None:
    """The contact in HubSpot and the lead in Salesforce, each as it is created; a few people are only in one."""
    rng, person = crm.rng, way.person
    in_hubspot = way.opens == "directly" or rng.random() < (0.75 if person.channel == "offline" else 0.95)
    if in_hubspot:
        way.contact = Record("hubspot", "contacts", str(100_000_000 + person.number))
        way.contact.set(person.created, hs_object_id=way.contact.id, **contact_properties(person, owner_id(crm.owner)))
        first = rng.choices(["lead", "subscriber"], [9, 1])[0]
        way.contact.track(person.created, "lifecyclestage", first, "FORM")
        if way.mql is not None:
            way.contact.track(way.mql, "lifecyclestage", "marketingqualifiedlead", "AUTOMATION_PLATFORM")
            way.contact.set(way.mql, hs_lead_status="OPEN")
    if way.opens == "directly":
        return
    soon = rng.randrange(20, 400) * 1000
    if not in_hubspot or rng.random() < 0.3:
        start_lead(crm, way, awake(person.created + soon) if in_hubspot else person.created, NEW)
        working = None if way.mql is None else awake(way.mql + soon)
    elif way.mql is not None:
        is_new = rng.random() < 0.6
        start_lead(crm, way, awake(way.mql + soon), NEW if is_new else WORKING)
        working = after(rng, way.lead_since, 0.8) if is_new else None
    else:
        return
    if working is not None:
        lead_status(crm, way, working, WORKING)
    if way.sql is not None:
        way.sql = max(way.sql, awake((working or way.lead_since) + 5 * MINUTE))


def start_lead(crm: Crm, way: Lead, at: int, status: str) -> None:
    person, firm = way.person, way.person.company
    email = person.email
    way.lead_since, way.status = at, status
    if crm.rng.random() < 0.06:  # typed by hand
        email = crm.rng.choice([email.title(), email.upper(), f" {email}", f"{email} "])
    way.lead = crm.salesforce(
        "Lead", "00Q", person.number, at, FirstName=person.first, LastName=person.last,
        Name=f"{person.first} {person.last}", Company=firm.name, Email=email, Phone=person.phone, Country=firm.country,
        Region__c=firm.region, Status=status,
        LeadSource=LEAD_SOURCE.get(person.channel, "Web"), OwnerId=user_id(crm.owner), CurrencyIsoCode=firm.currency,
        Industry=firm.industry, IsConverted=False, ConvertedDate=None, ConvertedAccountId=None, ConvertedContactId=None,
        ConvertedOpportunityId=None, MasterRecordId=None, gclid__c=person.visit["hs_google_click_id"],
        **{f"{name}__c": person.visit.get(name) for name in ("utm_source", "utm_medium", "utm_campaign")},
    )  # fmt: skip


def lead_status(crm: Crm, way: Lead, at: int, status: str) -> None:
    assert way.lead is not None
    way.lead.set(at, Status=status)
    write_history(crm, way, at, "Status", way.status, status)
    way.status = status


def write_history(crm: Crm, way: Lead, at: int, field: str, old: str | None, new: str | None) -> None:
    assert way.lead is not None
    row = Record("salesforce", "LeadHistory", salesforce_id("017", way.person.number * 20 + way.changes))
    way.changes += 1
    row.set(
        at, Id=row.id, LeadId=way.lead.id, Field=field, DataType="Text", OldValue=old, NewValue=new,
        IsDeleted=False, CreatedDate=sf_time(at), CreatedById=user_id(crm.owner),
    )  # fmt: skip
    row.write(crm.rows, crm.rng)


def open_opportunity(crm: Crm, way: Lead) -> Opportunity:
    """The company's first opportunity: made by the conversion of the lead, or later, tied to it by a contact role."""
    rng, rows = crm.rng, crm.rows
    hubspot = way.contact.id if way.contact else None
    if way.opens == "conversion":
        assert way.sql is not None
        created = way.sql
        opportunity = write_opportunity(crm, created, "New Business", contact=hubspot)
        convert(crm, way, opportunity)
    else:
        created = after(rng, way.sql or way.person.created, 5)
        if way.sql is None:
            sf_contact(crm, way, created)
        opportunity = write_opportunity(crm, created, "New Business", contact=hubspot)
    assert way.sf_contact is not None
    role = crm.role(opportunity, 0, way.sf_contact, created, primary=rng.random() < 0.85)
    role.write(rows, rng)
    if way.contact is not None:
        way.contact.track(awake(created + 2 * MINUTE), "lifecyclestage", "opportunity", "CRM_UI")
        way.contact.set(awake(created + 2 * MINUTE), hs_lead_status="OPEN_DEAL")
        if opportunity.won:
            way.contact.track(awake(opportunity.won + 2 * MINUTE), "lifecyclestage", "customer", "AUTOMATION_PLATFORM")
    if opportunity.won and rng.random() < 0.2:
        later = after(rng, opportunity.won, 45)
        more = write_opportunity(crm, later, "Existing Business", contact=hubspot, chance_won=0.5)
        crm.role(more, 0, way.sf_contact, more.created, primary=True).write(rows, rng)
    if opportunity.won and rng.random() < 0.7:
        due = awake(opportunity.won + 335 * DAY)
        renewal = write_opportunity(crm, due, "Renewal", contact=hubspot, chance_won=0.9)
        crm.role(renewal, 0, way.sf_contact, renewal.created, primary=True).write(rows, rng)
    return opportunity


def sf_contact(crm: Crm, way: Lead, at: int) -> str:
    """The person as a Salesforce contact; a few are entered twice and merged later."""
    person, rng = way.person, crm.rng
    fields: dict[str, object] = {
        "AccountId": crm.account_id(at),
        "FirstName": person.first,
        "LastName": person.last,
        "Name": f"{person.first} {person.last}",
        "Email": person.email,
        "Phone": person.phone,
        "MasterRecordId": None,
        "OwnerId": user_id(crm.owner),
        "MailingCountry": person.company.country,
    }
    contact = crm.salesforce("Contact", "003", person.number, at, **fields)
    contact.write(crm.rows, rng)
    way.sf_contact = contact.id
    if rng.random() < 0.03:
        twin = crm.salesforce("Contact", "003", 2_000_000_000 + person.number, at, **(fields | {"Email": None}))
        twin.end(after(rng, at, 20), "deleted", IsDeleted=True, MasterRecordId=contact.id)
        twin.write(crm.rows, rng)
        way.sf_contact = twin.id  # roles keep the id that was merged away
    return contact.id


def convert(crm: Crm, way: Lead, opportunity: Opportunity | None) -> None:
    """Salesforce's lead conversion: to a contact and an account, and into the opportunity if it is open then."""
    assert way.sql is not None
    assert way.lead is not None
    at = way.sql
    contact = sf_contact(crm, way, at)
    is_open = opportunity is not None and opportunity.created <= at < (opportunity.closed or 1 << 62)
    into = opportunity.id if opportunity and is_open else None
    way.lead.set(
        at, IsConverted=True, ConvertedDate=crm.day(at), ConvertedContactId=contact,
        ConvertedAccountId=crm.account_id(at), ConvertedOpportunityId=into,
    )  # fmt: skip
    lead_status(crm, way, at, CONVERTED)
    write_history(crm, way, at, "leadConverted", None, None)
    if opportunity and is_open and opportunity.created < at:
        crm.role(opportunity, way.person.number % 10 + 1, contact, at, primary=False).write(crm.rows, crm.rng)
    if way.contact is not None:
        way.contact.track(awake(at + MINUTE), "lifecyclestage", "salesqualifiedlead", "INTEGRATION")
        way.contact.set(awake(at + MINUTE), hs_lead_status="CONNECTED")


def finish_records(plan: Plan, crm: Crm, way: Lead) -> None:
    """What else happens to the records: visits, mailings, imports, recycling, merges, deletions."""
    rng, person = crm.rng, way.person
    if way.lead is not None:
        if way.mql is not None and way.sql is None and rng.random() < 0.25:
            recycle(crm, way)
        write_member(crm, way)
        if not (plan.rough and purge_lead(crm, way)):
            end_lead(crm, way)
        way.lead.write(crm.rows, rng)
    if way.contact is None:
        return
    contact, at = way.contact, person.created
    is_merged_away = rng.random() < 0.025 and merge_contacts(crm, way)
    for _ in range(0 if is_merged_away else rng.choices([0, 1, 2], [65, 25, 10])[0]):
        at = after(rng, at, 20)
        source = rng.choice(LATER_SOURCES)
        campaign = f"li-{quarter_of(at)}-abm" if source == "PAID_SOCIAL" else None
        details = drill_downs(source, campaign, "LinkedIn")
        contact.set(
            at, hs_latest_source=source, hs_latest_source_timestamp=hubspot_time(at),
            hs_latest_source_data_1=details[0], hs_latest_source_data_2=details[1],
        )  # fmt: skip
    days_to_import = (IMPORT[1] - plan.index(day_of(at := person.created))) % IMPORT[0]
    if 0 < days_to_import <= IMPORT_REACH and rng.random() < 0.8:
        imported = midnight(day_of(at) + timedelta(days=days_to_import)) + 14 * HOUR
        contact.set(imported, region=person.company.region, import_batch=f"import-{day_of(imported)}")
    if not contact.ends and way.sql is None and not way.opens and rng.random() < 0.012:
        contact.end(after(rng, person.created, 30), "deleted")
    is_nobody_else = not is_merged_away and not contact.ends and way.lead is None and way.mql is None and not way.opens
    if plan.rough and is_nobody_else and rng.random() < 0.35:
        contact.end(after(rng, person.created, 20), "gone")  # deleted for privacy: in no list, not even the archive
    if not is_merged_away and rng.random() < 0.9:
        until = contact.ends[0] if contact.ends else 1 << 62
        generate_email.write_mailbox(rng, crm.rows, person.email, person.created, until)
    contact.write(crm.rows, rng)


def recycle(crm: Crm, way: Lead) -> None:
    """Sales gives up, marketing tries again: the same stages are entered a second time."""
    assert way.lead is not None
    back = after(crm.rng, max(way.lead_since, *(at for at, fields in way.lead.changes if "Status" in fields)), 10)
    again = after(crm.rng, back, 20)
    lead_status(crm, way, back, RECYCLED)
    lead_status(crm, way, again, WORKING)
    if way.contact is not None:
        way.contact.track(awake(back + MINUTE), "lifecyclestage", "lead", "INTEGRATION")
        way.contact.track(awake(again + MINUTE), "lifecyclestage", "marketingqualifiedlead", "INTEGRATION")


def purge_lead(crm: Crm, way: Lead) -> bool:
    """Now and then a lead that led nowhere is deleted for good: it never lies in the recycle bin that readers see."""
    assert way.lead is not None
    if way.contact is not None or way.sql is not None or crm.rng.random() > 0.9:
        return False
    way.lead.end(after(crm.rng, way.lead_since, 8), "gone")
    return True


def end_lead(crm: Crm, way: Lead) -> None:
    """A few Salesforce leads are entered twice and merged, a few are deleted, some of them after their conversion."""
    assert way.lead is not None
    rng, chance = crm.rng, crm.rng.random()
    if chance < 0.02:
        since = after(rng, way.lead_since, 3)
        merged = after(rng, since, 6)
        if way.sql is None or merged < way.sql:
            twin = Record("salesforce", "Lead", salesforce_id("00Q", 2_000_000_000 + way.person.number))
            twin.set(since, **way.lead.changes[0][1] | {"Id": twin.id, "Status": NEW, "CreatedDate": sf_time(since)})
            twin.end(merged, "deleted", IsDeleted=True, MasterRecordId=way.lead.id)
            way.lead.set(merged, Description="merged")
            twin.write(crm.rows, rng)
    elif chance < 0.034:
        last = max(at for at, _ in way.lead.changes)
        way.lead.end(after(rng, last, 20), "deleted", IsDeleted=True)


def write_member(crm: Crm, way: Lead) -> None:
    """A membership in one of the month's campaigns; after a conversion it names the contact too."""
    assert way.lead is not None
    rng = crm.rng
    if rng.random() > (0.5 if way.person.channel in {"events", "offline"} else 0.12):
        return
    at = after(rng, way.lead_since, 5)
    kind = rng.choices(CAMPAIGN_TYPES, [5, 3, 1, 1, 1, 2, 3, 1])[0]
    member = crm.salesforce(
        "CampaignMember", "00v", way.person.number, at, CampaignId=campaign_id(day_of(at), kind), LeadId=way.lead.id,
        ContactId=None, Status="Sent", HasResponded=False, FirstRespondedDate=None, Type="Lead",
    )  # fmt: skip
    if rng.random() < 0.65:
        responded = at if rng.random() < 0.5 else after(rng, at, 4)
        date_known = None if rng.random() < 0.05 else crm.day(responded)
        member.set(responded, Status="Responded", HasResponded=True, FirstRespondedDate=date_known)
    if way.sql is not None:
        contact = next(f["ConvertedContactId"] for _, f in way.lead.changes if f.get("ConvertedContactId"))
        member.set(max(way.sql, at), ContactId=contact)
    if rng.random() < 0.04:
        member.end(after(rng, at, 15), "deleted", IsDeleted=True)
    member.write(crm.rows, rng)


def merge_contacts(crm: Crm, way: Lead) -> bool:
    """The person signed up twice with two addresses. True if the older contact is the one merged away.

    The contact that stays keeps the oldest create date, the furthest stage, and the other's address as an additional
    one.
    """
    assert way.contact is not None
    rng, person, older = crm.rng, way.person, way.contact
    newer = Record("hubspot", "contacts", str(500_000_000 + person.number))
    since = after(rng, person.created, 4)
    merged = after(rng, since, 10)
    email = f"{person.number}.{person.email}" if rng.random() < 0.5 else person.email.replace("@", ".private@")
    own = contact_properties(person, owner_id(crm.owner)) | {"createdate": hubspot_time(since), "email": email}
    newer.set(since, hs_object_id=newer.id, **own)
    newer.track(since, "lifecyclestage", "lead", "FORM")
    older_goes = way.lead is None and way.mql is None and not way.opens and rng.random() < 0.5
    stays, goes = (newer, older) if older_goes else (older, newer)
    if way.mql is None and not way.opens and rng.random() < 0.5:
        qualified = awake(since + (merged - since) // 2)
        goes.track(qualified, "lifecyclestage", "marketingqualifiedlead", "CRM_UI")
        stays.track(merged, "lifecyclestage", "marketingqualifiedlead", "CONTACTS_MERGE")
    other = person.email if older_goes else email
    stays.set(merged, hs_merged_object_ids=goes.id, hs_additional_emails=other, createdate=hubspot_time(person.created))
    goes.end(merged, "gone")
    newer.write(crm.rows, rng)
    return older_goes


def write_without_lead(plan: Plan, rng: random.Random, rows: Rows, number: int, day: date) -> None:
    """Opportunities that no lead led to: renewals of older customers, and what sales found by itself."""
    crm = Crm(rng, rows, draw_company(rng, number), owner_number(rng), plan.org_zone)
    created, is_renewal = daytime(rng, day), rng.random() < 0.5
    way = Lead(draw_person(plan, rng, crm.company, number * 10, created))
    kind, chance = ("Renewal", 0.9) if is_renewal else ("New Business", 0.3)
    has_account = rng.random() < 0.85
    opportunity = write_opportunity(crm, created, kind, contact=None, with_account=has_account, chance_won=chance)
    if has_account and rng.random() < 0.7:
        contact = sf_contact(crm, way, created)
        crm.role(opportunity, 0, contact, created, primary=rng.random() < 0.7).write(rows, rng)
    if crm.account is not None:
        crm.account.write(rows, rng)
